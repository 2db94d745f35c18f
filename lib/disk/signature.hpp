// SPDX-License-Identifier: Apache-2.0
/// What a kind of file is known by, as data: magic bytes, where they stand, how large such a file is at least.
#pragma once

#include "io/byte_source.hpp"

#include <optional>

namespace vdisk {

/// Magic bytes and their place.
struct Signature {
    enum class From : std::uint8_t { start, end };

    std::string_view magic{};     ///< any bytes, never empty in a signature that is used
    std::uint64_t offset = 0;     ///< of the magic's first byte, counted from the file's start or back from its end
    std::uint64_t least_size = 0; ///< bytes that such a file has at least
    From from = From::start;
};

/// Whether a signature is there. In a compressed stream nobody knows where the end is before all of it was decoded.
enum class Sign : std::uint8_t { absent, present, unknown };

/// A file's first and last bytes, read once and asked by every signature. Immutable, thread-safe.
class FirstLook {
public:
    /// Bytes that are read from the start: as far as a signature may stand from there (ISO 9660: 32 KiB).
    static constexpr std::size_t kHeadBytes = 36864;
    /// Bytes that are read from the end: as far back as a signature may stand there.
    static constexpr std::size_t kTailBytes = 512;

    /// Of a source that can be read anywhere. Errors: `io`.
    [[nodiscard]] static Result<FirstLook> at(const ByteSource& source);

    /// Of a source's last bytes alone: what can't be read at its start does not matter. Such a look has no head().
    [[nodiscard]] static FirstLook at_end(const ByteSource& source);

    /// Of a stream of which only the first bytes are known.
    [[nodiscard]] static FirstLook at_start(std::vector<std::byte> head);

    /// Where the signature's place is beyond what was read, that is `absent`.
    [[nodiscard]] Sign look_for(const Signature& signature) const noexcept;

    [[nodiscard]] std::span<const std::byte> head() const noexcept { return head_; }
    /// Bytes of the file; nothing where they are not known.
    [[nodiscard]] const std::optional<std::uint64_t>& size() const noexcept { return size_; }

private:
    std::vector<std::byte> head_;
    std::vector<std::byte> tail_;
    std::optional<std::uint64_t> size_;
};

/// Whether a file's head is a text that begins with `start` (in lower case) in whatever case, blanks and a byte order
/// mark aside.
[[nodiscard]] bool begins_as_text(std::span<const std::byte> head, std::string_view start) noexcept;

/// Whether it is XML in which `element` ("<Envelope") stands.
[[nodiscard]] bool is_xml_with(std::span<const std::byte> head, std::string_view element) noexcept;

} // namespace vdisk
