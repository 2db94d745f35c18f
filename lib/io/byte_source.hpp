// SPDX-License-Identifier: Apache-2.0
/// Bytes at offsets: what everything is read from.
#pragma once

#include "base/checked.hpp"
#include "base/error.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdisk {

/// What is known about reading from some offset on.
struct Readability {
    std::uint64_t length = 0;         ///< bytes that the answer holds for
    std::shared_ptr<const Error> why; ///< why none of them can be read; nullptr if nothing is known against it
};

class FileSource;

/// Where bytes of a source stand in the files of the system.
struct Origin {
    std::uint64_t length = 0;         ///< bytes that the answer holds for
    const FileSource* file = nullptr; ///< no file in parts, unless a stream; null: in none. Lives as long as the source
    std::uint64_t offset = 0;         ///< in `file`; if `decompressed`, in what that decompresses to
    bool decompressed = false;        ///< `file` is a compressed stream, in which the bytes do not stand as they are
    bool zeros = false;               ///< they stand nowhere and are zeros, as a log that is to be replayed makes them
};

/// A fixed number of bytes that can be read at any offset. No cursor and no visible state: every member is const and
/// may be called from several threads at once.
class ByteSource {
public:
    ByteSource() = default;
    ByteSource(const ByteSource&) = delete;
    ByteSource& operator=(const ByteSource&) = delete;
    virtual ~ByteSource() = default;

    /// Bytes in all.
    [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;

    /// Fills `out` from `offset`; returns how many bytes that were, fewer than asked only at the end of the source (0
    /// at or past it). On an error `out`'s content is unspecified and must not be used.
    [[nodiscard]] virtual Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const = 0;

    /// What is known, without reading, of the bytes from `offset`: the longest run with one answer, at most `wanted`
    /// bytes and not past the end of the source; of length 0 only if nothing is wanted or nothing is there. A read that
    /// touches a run with a reason is an error; one that does not may still fail, as any read may.
    [[nodiscard]] virtual Readability readability(std::uint64_t offset, std::uint64_t wanted) const;

    /// Where the bytes from `offset`, which must lie inside, stand: the longest run with one answer, of at most
    /// `wanted` bytes (> 0). Of a source that does not know, in no file.
    [[nodiscard]] virtual Origin origin(std::uint64_t offset, std::uint64_t wanted) const;

    /// How far ahead of one who reads in order prepare() is worth asking; 0 where nothing has to be made first.
    [[nodiscard]] virtual std::uint64_t worth_preparing() const noexcept { return 0; }

    /// Has the bytes from `offset` made ready in the background for reads that will come soon, where that is worth
    /// something; returns at once.
    virtual void prepare(std::uint64_t /*offset*/, std::uint64_t /*length*/) const {}

    /// The files of the system that origin() may name, in the order of their bytes.
    [[nodiscard]] virtual std::vector<const FileSource*> files() const { return {}; }

    /// What messages call it: usually the path.
    [[nodiscard]] virtual std::string_view name() const noexcept = 0;
};

using SourcePtr = std::shared_ptr<const ByteSource>;

/// Fills all of `out` from `offset`, or an error: `truncated` if the source ends before.
[[nodiscard]] Result<void> read_exact(const ByteSource& source, std::uint64_t offset, std::span<std::byte> out);

/// `length` bytes from `offset`. Checks the range against the source before it allocates. `what` names it in errors.
[[nodiscard]] Result<std::vector<std::byte>> read_bytes(const ByteSource& source, std::uint64_t offset,
                                                        std::uint64_t length, std::string_view what);

/// The same as text, of any bytes.
[[nodiscard]] Result<std::string> read_text(const ByteSource& source, std::uint64_t offset, std::uint64_t length,
                                            std::string_view what);

/// One on-disk structure (made of Boost.Endian buffers) at `offset`, read by copying bytes. `what` names it in errors.
template<class Struct>
[[nodiscard]] Result<Struct> read_struct(const ByteSource& source, std::uint64_t offset, std::string_view what) {
    static_assert(std::is_trivially_copyable_v<Struct> && alignof(Struct) == 1);
    Struct value;
    if (!fits(offset, sizeof value, source.size()))
        return fail_at(offset, ErrorKind::truncated, "{}: {} at offset {} needs {} bytes, but the file ends at {}",
                       source.name(), what, offset, sizeof value, source.size());
    VDISK_CHECK(read_exact(source, offset, std::as_writable_bytes(std::span(&value, 1))));
    return value;
}

} // namespace vdisk
