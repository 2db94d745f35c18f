// SPDX-License-Identifier: Apache-2.0
#include "format/vhdx/log.hpp"

#include "base/crc32c.hpp"
#include "io/overlaid_source.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <optional>

namespace vdisk::vhdx {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kLeadingBytes = 8;      ///< of a page to be written, in its descriptor
constexpr std::uint64_t kTrailingBytes = 4;     ///< likewise, its last ones
constexpr std::uint64_t kMostWrites = 1U << 18; // a log of 1 GiB if none of them is of zeros

struct RawEntry {
    std::array<char, 4> signature; ///< "loge"
    little_uint32_buf_t checksum;  ///< of the whole entry
    little_uint32_buf_t length;
    little_uint32_buf_t tail; ///< where in the log the oldest entry is that is still to be replayed with this one
    little_uint64_buf_t sequence;
    little_uint32_buf_t descriptors;
    little_uint32_buf_t reserved;
    RawGuid log;
    little_uint64_buf_t flushed_end; ///< the file had at least as many bytes when this was written
    little_uint64_buf_t last_end;    ///< the file is to have as many
};
static_assert(sizeof(RawEntry) == 64);

/// "zero": zeros at a place; "desc": a page at a place, whose middle is the data page.
struct RawDescriptor {
    std::array<char, 4> signature;
    std::array<std::byte, kTrailingBytes> trailing;
    little_uint64_buf_t leading; ///< the page's first bytes; of zeros how many bytes
    little_uint64_buf_t offset;
    little_uint64_buf_t sequence;
};
static_assert(sizeof(RawDescriptor) == 32);

struct RawDataPage {
    std::array<char, 4> signature; ///< "data"
    little_uint32_buf_t sequence_high;
    std::array<std::byte, 4084> middle;
    little_uint32_buf_t sequence_low;
};
static_assert(sizeof(RawDataPage) == kPage);

constexpr std::uint64_t kPlacesInPage = kPage / sizeof(RawDescriptor);
constexpr std::uint64_t kPlacesOfEntry = sizeof(RawEntry) / sizeof(RawDescriptor); // that its header takes up

// A sound entry.
struct Entry {
    std::uint64_t page = 0; ///< its first
    std::uint64_t pages = 0;
    std::uint64_t tail = 0; ///< page
    std::uint64_t sequence = 0;
    std::uint64_t descriptors = 0;
    std::uint64_t descriptor_pages = 0;
    std::uint64_t flushed_end = 0;
    std::uint64_t last_end = 0;
};

class Log {
public:
    Log(SourcePtr file, const Header& header) : file_(std::move(file)), header_(header) {}

    Result<Replayed> replay() {
        VDISK_CHECK(read());
        VDISK_CHECK(find_entries());
        VDISK_TRY(active, find_active());
        std::vector<Overlay> writes;
        for (const Entry* entry : active) VDISK_CHECK(collect(*entry, active.back()->last_end, writes));
        return finish(*active.back(), active.size(), writes);
    }

    // Whether any page begins as an entry, of whatever log.
    Result<bool> has_traces() {
        VDISK_CHECK(read());
        for (std::uint64_t page = 0; page < pages(); ++page)
            if (starts_as(page, "loge")) return true;
        return false;
    }

private:
    Result<void> read() {
        VDISK_TRY(bytes, read_bytes(*file_, header_.log_offset, header_.log_length, "VHDX log"));
        bytes_ = std::move(bytes);
        return ok();
    }

    std::uint64_t pages() const { return bytes_.size() / kPage; }

    // The log is a ring: page numbers go on from its start behind its end.
    std::span<const std::byte> page_at(std::uint64_t page) const {
        return std::span(bytes_).subspan(static_cast<std::size_t>(page % pages() * kPage), kPage);
    }

    template<class Raw> Raw struct_at(std::uint64_t page, std::uint64_t within) const {
        Raw raw;
        std::memcpy(&raw, page_at(page).data() + within, sizeof raw);
        return raw;
    }

    bool starts_as(std::uint64_t page, std::string_view signature) const {
        return std::memcmp(page_at(page).data(), signature.data(), signature.size()) == 0;
    }

    Result<void> find_entries() {
        for (std::uint64_t page = 0; page < pages();) {
            VDISK_TRY(entry, entry_at(page));
            page += entry ? entry->pages : 1;
            if (!entry) continue;
            by_page_.emplace(entry->page, entries_.size());
            entries_.push_back(*entry);
        }
        return ok();
    }

    // The entry that begins in a page, if all of it is sound. Its other pages don't begin as an entry does, so that no
    // page is looked at often.
    Result<std::optional<Entry>> entry_at(std::uint64_t page) {
        const auto raw = struct_at<RawEntry>(page, 0);
        const std::uint64_t length = raw.length.value();
        Entry entry{.page = page,
                    .pages = length / kPage,
                    .tail = raw.tail.value() / kPage,
                    .sequence = raw.sequence.value(),
                    .descriptors = raw.descriptors.value(),
                    .flushed_end = raw.flushed_end.value(),
                    .last_end = raw.last_end.value()};
        entry.descriptor_pages = div_ceil(entry.descriptors + kPlacesOfEntry, kPlacesInPage);
        const bool sound = std::memcmp(raw.signature.data(), "loge", 4) == 0 && length > 0 && length % kPage == 0 &&
                           entry.pages <= pages() && raw.tail.value() % kPage == 0 && entry.tail < pages() &&
                           Uuid::from_mixed(raw.log) == header_.log && entry.sequence > 0 &&
                           entry.descriptor_pages <= entry.pages && descriptors_are_sound(entry);
        if (!sound) return std::optional<Entry>();
        VDISK_TRY(sum, checksum_of(entry));
        if (sum != raw.checksum.value()) return std::optional<Entry>();
        return std::optional(entry);
    }

    RawDescriptor descriptor(const Entry& entry, std::uint64_t number) const {
        const std::uint64_t place = number + kPlacesOfEntry;
        return struct_at<RawDescriptor>(entry.page + place / kPlacesInPage,
                                        place % kPlacesInPage * sizeof(RawDescriptor));
    }

    static bool is_zero(const RawDescriptor& raw) { return std::memcmp(raw.signature.data(), "zero", 4) == 0; }

    bool descriptors_are_sound(const Entry& entry) const {
        std::uint64_t data = entry.page + entry.descriptor_pages;
        const std::uint64_t end = entry.page + entry.pages;
        for (std::uint64_t i = 0; i < entry.descriptors; ++i) {
            const RawDescriptor raw = descriptor(entry, i);
            if (raw.sequence.value() != entry.sequence || raw.offset.value() % kPage != 0) return false;
            if (is_zero(raw)) {
                if (raw.leading.value() % kPage != 0) return false;
                continue;
            }
            if (std::memcmp(raw.signature.data(), "desc", 4) != 0 || data >= end) return false;
            if (!data_page_is_sound(data++, entry.sequence)) return false;
        }
        return true;
    }

    bool data_page_is_sound(std::uint64_t page, std::uint64_t sequence) const {
        const auto raw = struct_at<RawDataPage>(page, 0);
        return std::memcmp(raw.signature.data(), "data", 4) == 0 && raw.sequence_high.value() == sequence >> 32 &&
               raw.sequence_low.value() == static_cast<std::uint32_t>(sequence);
    }

    // An entry may be longer than what is in it, so its length is no measure: all sums together have a budget.
    Result<std::uint32_t> checksum_of(const Entry& entry) {
        summed_ += entry.pages;
        if (summed_ > 8 * pages())
            return fail_at(header_.log_offset, ErrorKind::limit_exceeded,
                           "{}: the log has more entries one in the other than are looked at", file_->name());
        std::vector<std::byte> whole;
        whole.reserve(static_cast<std::size_t>(entry.pages * kPage));
        for (std::uint64_t i = 0; i < entry.pages; ++i) {
            const auto page = page_at(entry.page + i);
            whole.insert(whole.end(), page.begin(), page.end());
        }
        return crc32c_without_field(whole, offsetof(RawEntry, checksum));
    }

    // The entry that goes on where `entry` ends; nullptr if none does.
    const Entry* successor(const Entry& entry) const {
        const auto next = by_page_.find((entry.page + entry.pages) % pages());
        if (next == by_page_.end() || entry.sequence == ~std::uint64_t{0}) return nullptr;
        const Entry& found = entries_[next->second];
        return found.sequence == entry.sequence + 1 ? &found : nullptr;
    }

    // The entries to replay, in their order. A run of entries is complete if the tail of its last one lies in it; of
    // several the one that ends with the highest number holds.
    Result<std::vector<const Entry*>> find_active() const {
        std::vector<bool> follows(entries_.size());
        for (const Entry& entry : entries_)
            if (const Entry* const next = successor(entry))
                follows[static_cast<std::size_t>(next - entries_.data())] = true;
        std::vector<const Entry*> active;
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            if (follows[i]) continue;
            std::vector<const Entry*> run;
            for (const Entry* each = &entries_[i]; each != nullptr; each = successor(*each)) run.push_back(each);
            const auto tail = std::ranges::find(run, run.back()->tail, &Entry::page);
            if (tail == run.end()) continue;
            run.erase(run.begin(), tail);
            if (!active.empty() && active.back()->sequence == run.back()->sequence)
                return fail_at(header_.log_offset, ErrorKind::corrupt,
                               "{}: the log has two complete sequences that end with number {}", file_->name(),
                               run.back()->sequence);
            if (active.empty() || run.back()->sequence > active.back()->sequence) active = std::move(run);
        }
        if (active.empty())
            return fail_at(header_.log_offset, ErrorKind::corrupt,
                           "{}: the header says that the log {} is to be replayed, but it has no complete sequence of "
                           "entries: what the disk was can't be told",
                           file_->name(), to_string(header_.log));
        return active;
    }

    // Headers and the log itself are never written by way of the log, nor is anything behind the end that it states.
    Result<void> check_place(const Overlay& write, std::uint64_t last_end) const {
        const auto end = checked_add(write.at, write.length);
        const std::uint64_t most = std::max(last_end, file_->size());
        const std::uint64_t log_end = header_.log_offset + header_.log_length;
        if (end && *end <= most && write.at >= kRegionsAt && (*end <= header_.log_offset || write.at >= log_end))
            return ok();
        return fail_at(header_.log_offset, ErrorKind::corrupt,
                       "{}: the log writes {} bytes at offset {}, where it may not", file_->name(), write.length,
                       write.at);
    }

    Result<void> collect(const Entry& entry, std::uint64_t last_end, std::vector<Overlay>& writes) const {
        if (entry.descriptors > kMostWrites || writes.size() > kMostWrites)
            return fail_at(header_.log_offset, ErrorKind::limit_exceeded,
                           "{}: the log has more than {} writes that are to be replayed", file_->name(), kMostWrites);
        std::uint64_t data = entry.page + entry.descriptor_pages;
        for (std::uint64_t i = 0; i < entry.descriptors; ++i) {
            const RawDescriptor raw = descriptor(entry, i);
            const std::uint64_t at = raw.offset.value();
            const Overlay whole{.at = at, .length = is_zero(raw) ? raw.leading.value() : kPage};
            VDISK_CHECK(check_place(whole, last_end));
            if (is_zero(raw)) {
                writes.push_back(whole);
                continue;
            }
            const std::uint64_t place = i + kPlacesOfEntry;
            const std::uint64_t from =
                in_file(entry.page + place / kPlacesInPage) + place % kPlacesInPage * sizeof(RawDescriptor);
            writes.push_back({.at = at, .length = kLeadingBytes, .from = from + offsetof(RawDescriptor, leading)});
            writes.push_back({.at = at + kLeadingBytes,
                              .length = sizeof(RawDataPage::middle),
                              .from = in_file(data++) + offsetof(RawDataPage, middle)});
            writes.push_back({.at = at + kPage - kTrailingBytes,
                              .length = kTrailingBytes,
                              .from = from + offsetof(RawDescriptor, trailing)});
        }
        return ok();
    }

    std::uint64_t in_file(std::uint64_t page) const { return header_.log_offset + page % pages() * kPage; }

    Replayed finish(const Entry& head, std::size_t count, const std::vector<Overlay>& writes) const {
        Replayed replayed{.source = overlaid(file_, writes, {.lost = head.flushed_end, .size = head.last_end}),
                          .entries = count};
        replayed.remarks.push_back(Remark::note(
            fmt::format("its log was replayed in memory: {} entries up to number {}", count, head.sequence)));
        if (head.flushed_end > file_->size())
            replayed.remarks.push_back(Remark::doubt(fmt::format(
                "was cut off: it had {} bytes when its log was written, it has {}", head.flushed_end, file_->size())));
        if (is_torn(head.page + head.pages, head.sequence + 1))
            replayed.remarks.push_back(Remark::note(fmt::format(
                "entry {} of its log is damaged or was never finished, and was not replayed", head.sequence + 1)));
        return replayed;
    }

    // Whether in a page an entry begins that would have gone on with the sequence.
    bool is_torn(std::uint64_t page, std::uint64_t sequence) const {
        const auto raw = struct_at<RawEntry>(page, 0);
        return starts_as(page, "loge") && Uuid::from_mixed(raw.log) == header_.log && raw.sequence.value() == sequence;
    }

    SourcePtr file_;
    const Header& header_;
    std::vector<std::byte> bytes_;
    std::vector<Entry> entries_; ///< the sound ones, by page
    std::map<std::uint64_t, std::size_t> by_page_;
    std::uint64_t summed_ = 0;
};

// The header that holds may be the older one, and the damaged one have said something else of the log.
Result<Remark> remark_of_damaged_copy(const SourcePtr& file, const Header& header, const Limits& limits) {
    bool log_in_use = !header.log.is_null();
    if (!log_in_use && header.log_length <= limits.log_bytes && header.log_length >= kPage &&
        fits(header.log_offset, header.log_length, file->size())) {
        VDISK_TRY(traces, Log(file, header).has_traces());
        log_in_use = traces;
    }
    return Remark{log_in_use ? Remark::Weight::doubt : Remark::Weight::note,
                  fmt::format("one of its headers is damaged; the one at offset {} was taken{}", header.offset,
                              log_in_use ? ", which may be the older one and say other things of the log" : "")};
}

} // namespace

Result<Replayed> replay_log(SourcePtr file, const Header& header, const Limits& limits) {
    std::vector<Remark> remarks;
    if (header.other_damaged) {
        VDISK_TRY(remark, remark_of_damaged_copy(file, header, limits));
        remarks.push_back(std::move(remark));
    }
    if (header.log.is_null()) return Replayed{.source = std::move(file), .remarks = std::move(remarks)};
    if (header.log_length > limits.log_bytes)
        return fail_at(header.offset, ErrorKind::limit_exceeded, "{}: the log has {} bytes, the limit is {}",
                       file->name(), header.log_length, limits.log_bytes);
    VDISK_TRY(replayed, Log(std::move(file), header).replay());
    replayed.remarks.insert(replayed.remarks.begin(), remarks.begin(), remarks.end());
    return std::move(replayed);
}

} // namespace vdisk::vhdx
