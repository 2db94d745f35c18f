// SPDX-License-Identifier: Apache-2.0
/// Compressed streams (.zst, .gz, .lzo) as sources that can be read anywhere.
#pragma once

#include "base/limits.hpp"
#include "io/file_source.hpp"
#include "io/forward_reader.hpp"
#include "io/index_cache.hpp"
#include "io/progress.hpp"

#include <array>
#include <optional>

namespace vdisk {

enum class Compression : std::uint8_t { zstd, gzip, lzop };

/// A stable word for it: "zstd", "gzip", "lzop".
std::string_view to_string(Compression compression) noexcept;

/// What a stream is compressed with, by its magic bytes and never by its name; nothing if it is not compressed.
[[nodiscard]] Result<std::optional<Compression>> detect_compression(const ByteSource& packed);

/// Which bytes to hand out of those that a checksum speaks against.
enum class Unverified : std::uint8_t {
    refuse, ///< none: they are an error
    placed, ///< those that are in their place, although something in them is altered; the others are an error
    read,   ///< all that decodes, wherever it belongs
};
constexpr std::size_t kUnverifiedPolicies = 3;

/// What $VDISK_UNVERIFIED says: `refuse`, `read`, or `placed`, which is what it is if it is unset. Another word is a
/// `usage` error.
[[nodiscard]] Result<Unverified> unverified_from_environment();

/// Plain bytes by what vouches for them.
struct Vouched {
    std::uint64_t sound = 0;     ///< a checksum that was compared and holds
    std::uint64_t unchecked = 0; ///< nothing: there is no checksum, or it is cut off
    std::uint64_t altered = 0;   ///< a checksum says that something in them is altered; all are in their place
    std::uint64_t unplaced = 0;  ///< they decode, but may lie at other offsets
    std::uint64_t lost = 0;      ///< they can't be decoded
};

/// Says which plain bytes a stream has: a SHA-256 over the index, in which every segment has its checksum.
using StreamDigest = std::array<std::byte, 32>;

struct StreamStatistics {
    std::size_t segments = 0;
    std::uint64_t longest_segment = 0; ///< plain bytes: what a read in the worst place has to decode
    std::uint64_t index_size = 0;      ///< bytes of segments and windows
    std::uint64_t decoded = 0;         ///< plain bytes decoded for reads until now
    std::uint64_t ahead = 0;           ///< segments, or runs of them, decoded ahead of their reader
    std::uint64_t peak_bytes = 0;      ///< the most bytes of memory that decoded segments had at once
    bool cached = false;               ///< the index came from the cache
};

/// The plain bytes of a compressed stream. One pass over the stream is needed before they can be read: it finds the
/// size and the points at which decoding can start. What it learnt is kept in the index cache, and then no pass is
/// needed. Each segment is compared with what the pass saw whenever it is decoded.
///
/// index() must have succeeded before size(), read_at() or findings() are asked; from then on the object is immutable
/// and thread-safe.
class StreamSource final : public ByteSource {
public:
    /// Reads the first headers. Takes the index from the cache if a sound one is there. Errors: `unsupported` with the
    /// reason.
    [[nodiscard]] static Result<std::shared_ptr<StreamSource>> open(FilePtr packed, Compression compression,
                                                                    IndexCache cache, const Limits& limits,
                                                                    Unverified unverified = Unverified::placed);
    ~StreamSource() override;

    /// The first plain bytes, at most `count`, to see what the stream is; fewer if it is shorter or damaged, or has
    /// none near its start: looks at Limits::stream_look_bytes of it and no more.
    [[nodiscard]] Result<std::vector<std::byte>> head(std::size_t count) const;

    /// Whether the pass is done (now or in an earlier process).
    [[nodiscard]] bool indexed() const noexcept;

    /// Makes the pass, in which `scan` (may be empty) sees the plain bytes as they come, damaged streams included: what
    /// is wrong with the stream is a finding, and an error only for who reads there. `scan` has seen bytes by then that
    /// only the end of the pass shows to be doubtful: it must not keep them as good. `progress` counts compressed
    /// bytes. Call it once, and not if indexed(). Errors: `scan`'s own, `cancelled`, `io`.
    [[nodiscard]] Result<void> index(const ForwardScan& scan, const Progress& progress);

    /// Plain bytes, as far as that can be known of a stream that is cut off.
    [[nodiscard]] std::uint64_t size() const noexcept override;
    [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override;
    /// What read_at() refuses: what is lost, and what is doubtful where that is not to be read.
    [[nodiscard]] Readability readability(std::uint64_t offset, std::uint64_t wanted) const override;
    /// Segments are decoded ahead, by as many threads as Limits allows, if they are not too large to have so many.
    [[nodiscard]] std::uint64_t worth_preparing() const noexcept override;
    void prepare(std::uint64_t offset, std::uint64_t length) const override;
    /// In the compressed file, be it in parts.
    [[nodiscard]] Origin origin(std::uint64_t offset, std::uint64_t wanted) const override;
    [[nodiscard]] std::vector<const FileSource*> files() const override;
    /// As read_at(), whatever is doubtful: for metadata that have checksums of their own.
    [[nodiscard]] Result<std::size_t> read_doubtful_at(std::uint64_t offset, std::span<std::byte> out) const;
    /// What read_doubtful_at() refuses: what is lost.
    [[nodiscard]] Readability doubtful_readability(std::uint64_t offset, std::uint64_t wanted) const;
    [[nodiscard]] Unverified unverified() const noexcept;
    [[nodiscard]] std::string_view name() const noexcept override;

    [[nodiscard]] Compression compression() const noexcept;

    /// What is wrong with the stream, a line each; empty if all of it was found good. So many as Limits allows, and one
    /// that counts the rest.
    [[nodiscard]] std::vector<std::string> findings() const;
    /// How much of the stream what vouches for.
    [[nodiscard]] Vouched vouched() const;
    /// What a reader of the content has to know of it, in a few lines whatever the damage: how many bytes no checksum
    /// that holds covers, and how they are read. Empty if checksums cover all of it.
    [[nodiscard]] std::vector<std::string> remarks() const;
    [[nodiscard]] StreamStatistics statistics() const;
    /// Zeros without SHA-256 in the system.
    [[nodiscard]] StreamDigest digest() const;

private:
    class Parts;
    explicit StreamSource(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

/// The stream for a format that finds its parts by what they are and not by where they are: bytes of unknown place are
/// read too, unless the stream refuses all that is doubtful. Keeps the stream alive.
[[nodiscard]] SourcePtr by_content(std::shared_ptr<const StreamSource> stream);

/// Runs `scan` over all of `source` from its first byte: in the pass that `stream` needs anyway if it is still to be
/// made, else over the source as it is; over doubtful bytes of a stream in both cases. `stream` is the stream that
/// `source` is, or nullptr.
[[nodiscard]] Result<void> scan_forward(const ByteSource& source, StreamSource* stream, const ForwardScan& scan,
                                        const Progress& progress);

} // namespace vdisk
