// SPDX-License-Identifier: Apache-2.0
#include "format/vdi/audit.hpp"

#include "disk/table_pieces.hpp"
#include "format/vdi/layout.hpp"

#include <algorithm>

namespace vdisk::vdi {
namespace {

constexpr std::uint32_t kNobody = kBlockFree; // no map has an entry of that number: its size is 32 bits too

class MapAudit {
public:
    MapAudit(const Header& header, const ByteSource& file, AuditReport& report)
        : header_(header), file_(file), report_(report), disk_blocks_(div_ceil(header.disk_size, header.block_size)) {}

    Result<void> run(const Limits& limits, const Progress& progress) {
        const std::uint64_t room = file_.size() > header_.data_offset ? file_.size() - header_.data_offset : 0;
        const std::uint64_t there = div_ceil(room, header_.stride());
        if (there > limits.audit_bytes / sizeof(std::uint32_t))
            return fail(ErrorKind::limit_exceeded, "{}: has room for {} blocks, an audit takes at most {}",
                        file_.name(), there, limits.audit_bytes / sizeof(std::uint32_t));
        users_.assign(static_cast<std::size_t>(there), kNobody);
        check_header();
        LostPieces lost;
        VDISK_CHECK(read_map(progress, lost));
        lost.tell(report_);
        report_.facts["blocks named by the map"] = named_;
        report_.facts["blocks in the file"] = users_.size();
        if (!lost.none()) return ok();
        check_count();
        return find_leaks();
    }

private:
    void check_header() {
        if (header_.blocks < disk_blocks_)
            report_.add(Severity::error, "map-too-short",
                        {.guest = GuestOffset{std::uint64_t{header_.blocks} * header_.block_size}},
                        "the block map has {} entries, the disk needs {}: nothing behind can be read", header_.blocks,
                        disk_blocks_);
        if (header_.blocks > disk_blocks_)
            report_.add(Severity::note, "map-too-long", {.host = HostOffset{header_.map_offset}},
                        "the block map has {} entries, the disk needs {}", header_.blocks, disk_blocks_);
        if (header_.disk_size % 512 != 0)
            report_.add(Severity::note, "size", {}, "the virtual size {} is no whole number of sectors",
                        header_.disk_size);
        if (header_.has_parent() && header_.uuid_linkage.is_null())
            report_.add(Severity::error, "no-parent-uuid", {}, "a {} image, but it names no parent",
                        to_string(header_.type));
    }

    Result<void> read_map(const Progress& progress, LostPieces& lost) {
        const auto take = [&](std::uint64_t first, std::span<const little_uint32_buf_t> entries) -> Result<void> {
            VDISK_CHECK(tell(progress, first, header_.blocks));
            for (std::size_t i = 0; i < entries.size(); ++i)
                check_entry(static_cast<std::uint32_t>(first + i), entries[i].value());
            return ok();
        };
        return for_each_piece<little_uint32_buf_t>(file_, header_.map_offset, header_.blocks, lost, take);
    }

    void check_entry(std::uint32_t number, std::uint32_t index) {
        if (index == kBlockFree || index == kBlockZero) return;
        ++named_;
        const GuestOffset guest{std::uint64_t{number} * header_.block_size};
        if (number >= disk_blocks_)
            report_.add(Severity::note, "beyond-disk", {.host = entry_place(number)},
                        "map entry {} names block {} for bytes behind the disk's end", number, index);
        const auto host = data_offset_of(header_, index);
        const std::uint64_t needed =
            number < disk_blocks_ ? std::min<std::uint64_t>(header_.block_size, header_.disk_size - guest.value) : 0;
        if (!host || !fits(*host, needed, file_.size())) {
            report_.add(Severity::error, "past-end", {.host = entry_place(number), .guest = guest, .length = needed},
                        "map entry {} names block {}, which does not lie inside the file of {} bytes", number, index,
                        file_.size());
        }
        if (index >= users_.size()) return;
        std::uint32_t& user = users_[index];
        if (user == kNobody) user = number;
        else add_shared(user, number, {.host = HostOffset{*host}, .guest = guest, .length = needed});
    }

    // Both entries' places on the disk are in doubt.
    void add_shared(std::uint32_t user, std::uint32_t number, const Place& place) {
        const std::size_t before = report_.findings().size();
        report_.add(Severity::error, "shared-block", place, "map entries {} and {} both name the block at offset {}",
                    user, number, place.host->value);
        const std::uint64_t start = std::uint64_t{user} * header_.block_size;
        if (report_.findings().size() > before && start < header_.disk_size)
            report_.locate(before, {.offset = GuestOffset{start},
                                    .length = std::min<std::uint64_t>(header_.block_size, header_.disk_size - start)});
    }

    HostOffset entry_place(std::uint32_t number) const { return HostOffset{header_.map_offset + number * kEntryBytes}; }

    void check_count() {
        if (named_ != header_.blocks_allocated)
            report_.add(Severity::warning, "wrong-count", {}, "the header counts {} allocated blocks, the map names {}",
                        header_.blocks_allocated, named_);
    }

    // One finding a run of blocks: they are what a deletion or a crash leaves behind.
    Result<void> find_leaks() {
        for (std::size_t first = 0; first < users_.size(); ++first) {
            if (users_[first] != kNobody) continue;
            std::size_t end = first + 1;
            while (end < users_.size() && users_[end] == kNobody) ++end;
            const std::uint64_t start = header_.data_offset + first * header_.stride();
            const std::uint64_t length = std::min(header_.data_offset + end * header_.stride(), file_.size()) - start;
            report_.add(Severity::warning, "leaked", {.host = HostOffset{start}, .length = length},
                        "no map entry names blocks {} to {}: {} bytes at offset {}", first, end - 1, length, start);
            VDISK_CHECK(report_.leak(HostOffset{start}, length));
            first = end;
        }
        return ok();
    }

    const Header& header_;
    const ByteSource& file_;
    AuditReport& report_;
    std::uint64_t disk_blocks_;
    std::uint64_t named_ = 0;
    std::vector<std::uint32_t> users_; ///< by block in the file: the first map entry that names it
};

} // namespace

Result<void> audit_map(const Header& header, const ByteSource& file, const Limits& limits, const Progress& progress,
                       AuditReport& report) {
    return MapAudit(header, file, report).run(limits, progress);
}

} // namespace vdisk::vdi
