// SPDX-License-Identifier: Apache-2.0
/// What a pass over an archive's extents found, and how the index cache keeps it.
#pragma once

#include "format/vma/cluster_map.hpp"
#include "io/index_cache.hpp"
#include "io/stream_source.hpp"

#include <string>
#include <vector>

namespace vdisk::vma {

/// What can be found on the way over an archive's extents. The numbers are kept in the index cache.
enum class Oddity : std::uint8_t {
    damaged_extent,   ///< its header can't be trusted
    skipped_bytes,    ///< what lies between it and the next sound one
    misplaced_data,   ///< bytes are missing or too many between it and the next sound one
    truncated,        ///< the archive ends inside an extent
    trailing_bytes,   ///< something else follows the last one
    unreadable_data,  ///< a cluster's data could not be read
    reserved_field,   ///< is not 0
    unknown_device,   ///< a slot names a device that is not in the table, or not with a size
    cluster_past_end, ///< a slot's cluster is beyond the end of its device
    block_past_end,   ///< a cluster has blocks stored beyond the end of its device
    memory_order,     ///< the clusters of a saved state are not in order
    memory_past_end,  ///< a saved state is longer than was announced
};
constexpr std::size_t kOddities = 12;

/// A stable word with static storage.
std::string_view to_string(Oddity oddity) noexcept;
Severity severity_of(Oddity oddity) noexcept;

/// The findings of a pass: of each kind all are counted, and the first are kept.
class Findings {
public:
    struct Kept {
        Oddity oddity;
        std::uint64_t offset; ///< in the archive
        std::string what;     ///< valid UTF-8
    };

    explicit Findings(std::size_t most_kept = Limits{}.audit_findings) : most_kept_(most_kept) {}

    /// Counts one and keeps it if there is room; the text is made only then.
    template<class... Args>
    void add(Oddity oddity, std::uint64_t offset, fmt::format_string<Args...> format, Args&&... args) {
        if (++counts_[static_cast<std::size_t>(oddity)] <= most_kept_)
            kept_.push_back({oddity, offset, fmt::format(format, std::forward<Args>(args)...)});
    }

    [[nodiscard]] const std::vector<Kept>& kept() const noexcept { return kept_; }
    [[nodiscard]] std::uint64_t count(Oddity oddity) const noexcept {
        return counts_[static_cast<std::size_t>(oddity)];
    }
    /// Adds all of them to `report`.
    void report_to(AuditReport& report) const;

    [[nodiscard]] std::string to_json() const;
    [[nodiscard]] static std::optional<Findings> from_json(std::string_view text);

private:
    std::size_t most_kept_;
    std::array<std::uint64_t, kOddities> counts_{};
    std::vector<Kept> kept_;
};

using Count = boost::endian::little_uint64_t; ///< as the index cache keeps it

/// From `units` * kAlignment behind the header on, data lie `bytes` further than the units say.
struct Shift {
    Count units = 0;
    Count bytes = 0; ///< fewer than kAlignment
};

/// Bytes of the archive.
struct ArchiveRange {
    Count offset = 0;
    Count length = 0; ///< > 0
    [[nodiscard]] std::uint64_t end() const noexcept { return offset + length; }
};

/// All that is known of an archive behind its header.
struct Contents {
    std::vector<Device> devices;  ///< the header's, then those that only the extents know
    std::vector<ClusterMap> maps; ///< one for each of them
    std::vector<Shift> shifts;    ///< ascending; before the first one nothing is shifted
    std::vector<Count>
        extents_with_data;               ///< where their headers are, ascending; of an archive as it is in a file alone
    std::vector<ArchiveRange> misplaced; ///< data that are read though they may be others: ascending, without overlaps
    std::vector<ArchiveRange> not_shown; ///< what belongs to no disk: ascending, without overlaps
    Findings findings;
    std::uint64_t extents = 0;   ///< sound ones
    std::uint64_t size = 0;      ///< bytes of the archive, uncompressed
    bool passing_errors = false; ///< the system could not read something: not to be kept for the next opening
    bool unfinished = false;     ///< the pass met damage that it can't get over: the rest means nothing

    /// How far the data at `units` are shifted.
    [[nodiscard]] std::uint64_t shift_at(std::uint64_t units) const noexcept;
    /// Where in the archive that is which a Run calls `units`.
    [[nodiscard]] std::uint64_t offset_of(const Header& header, std::uint64_t units) const noexcept {
        return header.size + units * kAlignment + shift_at(units);
    }
    /// Whether it is known of every cluster which header says what it is.
    [[nodiscard]] bool can_be_checked() const noexcept;
};

/// Whose contents they are: an archive with this header, and in a compressed file this stream.
struct Archived {
    const Header& header;
    StreamDigest stream{}; ///< zeros: it is not compressed
};

/// From the index cache: nothing unless all of it is there, sound, within `limits`, and of that archive. In a file that
/// is not compressed they are to be checked where they are used: MapCheck.
[[nodiscard]] std::optional<Contents> load_contents(const IndexCache& cache, const IndexKey& key,
                                                    const Archived& archived, const Limits& limits);

/// Into the index cache.
[[nodiscard]] Result<void> store_contents(const IndexCache& cache, const IndexKey& key, const Archived& archived,
                                          const Contents& contents);

/// The kind of these indexes, and of those made with ScanOptions::read_misplaced.
constexpr std::string_view kContentsKind = "vma-contents-3";
constexpr std::string_view kMisplacedContentsKind = "vma-contents-3-misplaced";

} // namespace vdisk::vma
