// SPDX-License-Identifier: Apache-2.0
#include "format/vma/scan.hpp"

#include "base/text.hpp"
#include "base/zeros.hpp"
#include "format/vma/search.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace vdisk::vma {
namespace {

// Read at once where headers follow each other closely: in the extents of an empty disk.
constexpr std::size_t kReadAhead = 64U << 10;
// And that only behind so many extents without damage: behind each damage what was read ahead is of no use.
constexpr std::size_t kInPlace = 16;

// A ForwardReader whose next bytes can be looked at before they are taken.
class Window {
public:
    explicit Window(ForwardReader& reader) : reader_(&reader) {}

    std::uint64_t position() const { return reader_->position() - (buffer_.size() - taken_); }

    /// Goes to any place of what the reader goes over; `source` must be that.
    void move_to(const ByteSource& source, std::uint64_t offset) {
        buffer_.clear();
        taken_ = 0;
        own_ = std::make_unique<SourceReader>(source, offset);
        reader_ = own_.get();
    }

    // At least `count` of the next bytes, fewer only at the end. Reads `ahead` bytes at once if it must read.
    Result<std::span<const std::byte>> peek(std::size_t count, std::size_t ahead) {
        if (buffer_.size() - taken_ < count) {
            auto filled = fill(std::max(count, ahead));
            // What is not needed yet may be what can't be read.
            if (filled.has_error() && ahead > count) filled = fill(count);
            VDISK_CHECK(filled);
        }
        return std::span<const std::byte>(buffer_).subspan(taken_);
    }

    // Moves on; returns by how much, less than asked only at the end.
    Result<std::uint64_t> skip(std::uint64_t count) {
        const std::uint64_t buffered = std::min<std::uint64_t>(count, buffer_.size() - taken_);
        taken_ += static_cast<std::size_t>(buffered);
        if (buffered == count) return count;
        VDISK_TRY(moved, reader_->skip(count - buffered));
        return buffered + moved;
    }

private:
    Result<void> fill(std::size_t count) {
        buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(taken_));
        taken_ = 0;
        const std::size_t had = buffer_.size();
        if (had >= count) return ok();
        buffer_.resize(count);
        auto got = reader_->read(std::span(buffer_).subspan(had));
        buffer_.resize(had + (got.has_value() ? got.value() : 0));
        if (got.has_error()) return std::move(got).error();
        return ok();
    }

    ForwardReader* reader_;
    std::unique_ptr<SourceReader> own_;
    std::vector<std::byte> buffer_;
    std::size_t taken_ = 0;
};

class Scanner {
public:
    Scanner(ForwardReader& reader, std::string_view name, const Header& header, const ScanOptions& options)
        : name_(name), header_(header), options_(options), window_(reader), total_(reader.size()),
          source_(reader.source()), judge_(header, name) {
        if (source_ != nullptr) search_.emplace(*source_, judge_, options.progress);
        device_of_.fill(-1);
        for (const Device& device : header.devices) add_device(device);
    }

    Result<Contents> run() {
        for (bool more = true; more;) {
            VDISK_TRY(found, next_extent());
            more = found;
            VDISK_CHECK(tell_progress());
        }
        contents_.size = total_.value_or(window_.position());
        if (contents_.unfinished) return std::move(contents_);
        for (std::size_t i = 0; i < devices_.size(); ++i) VDISK_CHECK(finish(i));
        return std::move(contents_);
    }

private:
    // A sound header, while what follows its data is not yet known.
    struct Pending {
        RawExtent extent;
        std::uint64_t number; // among the sound ones
        std::uint64_t at;     // offset of the header
        std::uint64_t there;  // bytes of data that the archive has
        std::array<bool, kSlots> readable;

        std::uint64_t data() const { return at + sizeof(RawExtent); }
        std::uint64_t end() const { return data() + std::uint64_t{extent.block_count.value()} * kBlockBytes; }
    };

    // What is where the next header should be, if that is no sound one.
    struct Trouble {
        enum class Kind : std::uint8_t {
            damaged,    // a header, but a damaged one
            blank,      // nothing to tell by: zeros, or what can't be read
            other,      // no header
            short_rest, // fewer bytes than a header has, up to the archive's end
            end         // the archive's end, or its data end before
        } kind;
        std::uint64_t at;
        std::uint64_t rest = 0; // short_rest: how many
        std::string what{};     // empty: there is nothing to say
    };

    // How far an extent can be taken.
    struct Reach {
        std::uint64_t placed; // up to here its data are where the masks say
        std::uint64_t end;    // up to here there are bytes of it, perhaps
        enum class Behind : std::uint8_t {
            nothing, // of slots behind `placed` nothing is taken
            zeros,   // what they say of zeros is: the header is sound
        } behind;
    };

    struct Slot {
        std::uint64_t extent;
        std::uint64_t header; // where that is, in units
        std::size_t number;
        std::uint16_t mask;
        std::uint32_t cluster;
        std::uint64_t offset; // of its data in the archive
        std::uint64_t length; // of its data
        enum class Use : std::uint8_t { all, zeros, nothing } use;
    };

    // What a device's clusters are collected in.
    struct Collected {
        ClusterMapBuilder map{};
        std::uint64_t slots = 0;               // named by sound headers
        std::uint64_t next_memory_cluster = 0; // of a saved state
    };

    // What the system could not read just now it may read the next time.
    std::uint64_t units_of(std::uint64_t offset) const { return (offset - header_.size) / kAlignment; }

    void note_error(const Error& error) {
        if (error.kind == ErrorKind::io || (error.kind == ErrorKind::truncated && total_))
            contents_.passing_errors = true;
    }

    template<class... Args>
    void add_finding(Oddity oddity, std::uint64_t offset, fmt::format_string<Args...> format, Args&&... args) {
        contents_.findings.add(oddity, offset, format, std::forward<Args>(args)...);
    }

    Error map_too_large() const {
        return fail(ErrorKind::limit_exceeded, "{}: the map of its clusters needs more than {}", name_,
                    human_size(options_.limits.cluster_map_bytes));
    }

    Result<void> count_bytes(std::uint64_t bytes) {
        map_bytes_ += bytes;
        if (map_bytes_ > options_.limits.cluster_map_bytes) return map_too_large();
        return ok();
    }

    Result<void> tell_progress() const {
        if (!total_) return ok();
        return tell(options_.progress, std::min(window_.position(), *total_), *total_);
    }

    Result<bool> next_extent();
    Result<Trouble> trouble_of(const RawExtent& extent, std::uint64_t at, std::string wrong);
    Trouble short_rest(std::uint64_t at, std::span<const std::byte> rest) const;
    Result<bool> at_end(std::uint64_t at);
    Result<bool> get_over(const Trouble& trouble);
    Result<void> judge_pending(const Trouble& trouble, std::optional<std::uint64_t> next);
    bool ends_where_it_says(const Pending& pending, const Trouble& trouble, std::optional<std::uint64_t> next) const;
    Result<void> tell_trouble(const Trouble& trouble, std::optional<std::uint64_t> next);

    Result<bool> begin(const RawExtent& extent);
    Result<std::uint64_t> take_data(const RawExtent& extent, std::array<bool, kSlots>& readable);
    Result<std::uint64_t> read_data(std::uint64_t count, bool& readable);
    Result<void> settle();
    Result<void> settle_misplaced(std::uint64_t next);
    Result<void> take_slots(const Pending& pending, const Reach& reach);

    void add_device(const Device& device);
    std::size_t device_number(std::uint8_t id);
    bool complete() const;
    void count_slots(const RawExtent& extent);
    Result<void> note_shift(std::uint64_t at);
    Result<void> note_extent(const Pending& pending);
    Result<void> record(std::size_t device, const Slot& slot);
    Result<void> record_past_end(const Device& device, const Slot& slot);
    void check_order(std::size_t device, const Slot& slot);
    Result<void> add(std::size_t device, const Slot& slot);
    Result<void> not_shown(std::uint64_t offset, std::uint64_t length);
    Result<void> finish(std::size_t device);

    std::string_view name_;
    const Header& header_;
    const ScanOptions& options_;
    Window window_;
    std::optional<std::uint64_t> total_;
    const ByteSource* source_; // null in a pass over a stream, which can't go back
    ExtentJudge judge_;
    std::optional<ExtentSearch> search_;
    std::array<int, 256> device_of_; // by dev_id: the index of the device, -1: none
    std::vector<Collected> devices_; // as contents_.devices
    std::uint64_t map_bytes_ = 0;    // of what was collected and of the finished maps
    Contents contents_;
    std::optional<Pending> pending_;
    bool dense_ = false;       // the last extents had little data: the next one is read together with what follows
    std::size_t in_place_ = 0; // extents since the last damage
};

// Whether there was one more, or damage in its place that was got over.
Result<bool> Scanner::next_extent() {
    const std::uint64_t at = window_.position();
    if (pending_ && at < pending_->end()) return get_over({.kind = Trouble::Kind::end, .at = at});
    auto bytes = window_.peek(sizeof(RawExtent), dense_ ? kReadAhead : sizeof(RawExtent));
    if (bytes.has_error()) {
        if (bytes.error().kind == ErrorKind::cancelled) return std::move(bytes).error();
        note_error(bytes.error());
        return get_over({.kind = Trouble::Kind::blank,
                         .at = at,
                         .what = fmt::format("extent {} can't be read: {}", contents_.extents, bytes.error().what)});
    }
    if (bytes.value().empty()) return at_end(at);
    if (bytes.value().size() < sizeof(RawExtent)) return get_over(short_rest(at, bytes.value()));
    RawExtent extent;
    std::memcpy(&extent, bytes.value().data(), sizeof extent);
    VDISK_TRY(wrong, judge_.fault(extent));
    if (wrong) {
        VDISK_TRY(trouble, trouble_of(extent, at, std::move(*wrong)));
        return get_over(trouble);
    }
    VDISK_CHECK(settle());
    return begin(extent);
}

Result<Scanner::Trouble> Scanner::trouble_of(const RawExtent& extent, std::uint64_t at, std::string wrong) {
    const bool zeros = all_zeros(std::as_bytes(std::span(&extent, 1)));
    VDISK_TRY(header, judge_.is_header(extent));
    return Trouble{.kind = header  ? Trouble::Kind::damaged
                           : zeros ? Trouble::Kind::blank
                                   : Trouble::Kind::other,
                   .at = at,
                   .what = fmt::format("extent {}: {}", contents_.extents, wrong)};
}

Scanner::Trouble Scanner::short_rest(std::uint64_t at, std::span<const std::byte> rest) const {
    const std::size_t compared = std::min(rest.size(), kExtentMagic.size());
    const bool header = std::memcmp(rest.data(), kExtentMagic.data(), compared) == 0;
    return {.kind = Trouble::Kind::short_rest,
            .at = at,
            .rest = rest.size(),
            .what = header ? fmt::format("the archive is truncated: it ends {} bytes into the header of an extent",
                                         rest.size())
                           : std::string()};
}

// An archive that ends where an extent ends and has all clusters is whole. If some are missing, their extent may lie
// inside the data of the last one, from which as many bytes are missing as it has.
Result<bool> Scanner::at_end(std::uint64_t at) {
    if (pending_ && pending_->end() > pending_->data() && !complete())
        return get_over({.kind = Trouble::Kind::end, .at = at});
    VDISK_CHECK(settle());
    return false;
}

// Goes on to the next header that can be trusted, which may lie inside the data of the last extent: bytes of these may
// be missing.
Result<bool> Scanner::get_over(const Trouble& trouble) {
    if (source_ == nullptr) {
        contents_.unfinished = true;
        return false;
    }
    const std::uint64_t from = pending_ ? pending_->data() : trouble.at;
    in_place_ = 0;
    VDISK_TRY(next, search_->next(from));
    contents_.passing_errors = contents_.passing_errors || search_->met_passing_errors();
    VDISK_CHECK(judge_pending(trouble, next));
    VDISK_CHECK(tell_trouble(trouble, next));
    window_.move_to(*source_, next.value_or(source_->size()));
    return next.has_value();
}

// What becomes of the last extent whose data are followed by `trouble`, and then by a sound header at `next`.
Result<void> Scanner::judge_pending(const Trouble& trouble, std::optional<std::uint64_t> next) {
    if (!pending_) return ok();
    if (next && !ends_where_it_says(*pending_, trouble, next)) return settle_misplaced(*next);
    const Pending& pending = *pending_;
    if (const std::uint64_t end = pending.data() + pending.there; end < pending.end())
        add_finding(Oddity::truncated, end,
                    "the archive is truncated: it ends inside the data of extent {}; {} bytes of them are missing",
                    pending.number, pending.end() - end);
    return settle();
}

// Whether an extent has all its data and no more, although no sound header follows them. A damaged one proves it as
// well. Where nothing is to be told by, the place of the next one has to be such that an extent fits in between.
bool Scanner::ends_where_it_says(const Pending& pending, const Trouble& trouble,
                                 std::optional<std::uint64_t> next) const {
    if (!next) return true;
    if (*next < pending.end()) return false;
    if (trouble.kind == Trouble::Kind::damaged) return true;
    const std::uint64_t between = *next - trouble.at;
    return trouble.kind == Trouble::Kind::blank && between > sizeof(RawExtent) &&
           (between - sizeof(RawExtent)) % kBlockBytes == 0 &&
           (between - sizeof(RawExtent)) / kBlockBytes <= kSlots * kBlocks;
}

// What is said of the bytes between the last extent and the next sound one, which no disk shows.
Result<void> Scanner::tell_trouble(const Trouble& trouble, std::optional<std::uint64_t> next) {
    if (next && *next <= trouble.at) return ok();
    const std::uint64_t end = next.value_or(source_->size());
    if (trouble.kind == Trouble::Kind::short_rest) {
        if (trouble.what.empty())
            add_finding(Oddity::trailing_bytes, trouble.at, "{} stray bytes follow the last extent", trouble.rest);
        else add_finding(Oddity::truncated, trouble.at, "{}", trouble.what);
    } else if (trouble.kind != Trouble::Kind::end) {
        add_finding(Oddity::damaged_extent, trouble.at, "{}", trouble.what);
        if (next)
            add_finding(Oddity::skipped_bytes, trouble.at, "{} bytes skipped up to the next sound extent",
                        end - trouble.at);
        else
            add_finding(Oddity::skipped_bytes, trouble.at, "no sound extent is found from here to the end, {} bytes on",
                        end - trouble.at);
    }
    return not_shown(trouble.at, end - trouble.at);
}

// Takes a sound header, moves over its data.
Result<bool> Scanner::begin(const RawExtent& extent) {
    const std::uint64_t at = window_.position();
    if (extent.reserved.value() != 0)
        add_finding(Oddity::reserved_field, at, "extent {}: its reserved field is {}, not 0", contents_.extents,
                    extent.reserved.value());
    pending_ = Pending{.extent = extent, .number = contents_.extents++, .at = at, .there = 0, .readable = {}};
    pending_->readable.fill(true);
    count_slots(extent);
    VDISK_CHECK(window_.skip(sizeof extent));
    VDISK_TRY(there, take_data(extent, pending_->readable));
    pending_->there = there;
    dense_ = ++in_place_ > kInPlace && extent.block_count.value() < kReadAhead / kBlockBytes;
    return true;
}

// Moves over an extent's data; returns how many bytes of them are there.
Result<std::uint64_t> Scanner::take_data(const RawExtent& extent, std::array<bool, kSlots>& readable) {
    if (!options_.read_data) return window_.skip(std::uint64_t{extent.block_count.value()} * kBlockBytes);
    std::uint64_t there = 0;
    for (std::size_t i = 0; i < kSlots; ++i) {
        const std::uint64_t length = data_bytes(extent.blockinfo[i]);
        VDISK_TRY(moved, read_data(length, readable[i]));
        there += moved;
        if (moved < length) break;
    }
    return there;
}

Result<std::uint64_t> Scanner::read_data(std::uint64_t count, bool& readable) {
    if (count == 0) return std::uint64_t{0};
    const std::uint64_t at = window_.position();
    auto bytes = window_.peek(static_cast<std::size_t>(count), static_cast<std::size_t>(count));
    if (bytes.has_error()) {
        if (bytes.error().kind == ErrorKind::cancelled) return std::move(bytes).error();
        readable = false;
        add_finding(Oddity::unreadable_data, at, "{}", bytes.error().what);
    }
    return window_.skip(count);
}

// The last extent's data are where its header says, as far as they go. Behind a cut nothing of it is taken, not even
// clusters without data.
Result<void> Scanner::settle() {
    if (!pending_) return ok();
    const Pending pending = *std::exchange(pending_, std::nullopt);
    const std::uint64_t end = pending.data() + pending.there;
    return take_slots(pending, {.placed = end, .end = end, .behind = Reach::Behind::nothing});
}

// There are more or fewer bytes between the last extent's header and the next sound one, at `next`, than there should
// be. Where bytes came in or got lost is not to be known, so no block is sure to be where the masks say.
Result<void> Scanner::settle_misplaced(std::uint64_t next) {
    const Pending pending = *std::exchange(pending_, std::nullopt);
    const bool fewer = next < pending.end();
    add_finding(Oddity::misplaced_data, pending.data(), "extent {}: {} bytes {} between it and the next sound one: {}",
                pending.number, fewer ? pending.end() - next : next - pending.end(),
                fewer ? "are missing" : "too many are",
                options_.read_misplaced ? "some of its data are others" : "its data can't be placed");
    const std::uint64_t end = std::min(next, pending.end());
    if (options_.read_misplaced && end > pending.data()) {
        contents_.misplaced.push_back({pending.data(), end - pending.data()});
        VDISK_CHECK(count_bytes(sizeof(ArchiveRange)));
    }
    return take_slots(
        pending,
        {.placed = options_.read_misplaced ? end : pending.data(), .end = end, .behind = Reach::Behind::zeros});
}

Result<void> Scanner::take_slots(const Pending& pending, const Reach& reach) {
    VDISK_CHECK(note_shift(pending.at));
    VDISK_CHECK(note_extent(pending));
    const Slot::Use behind = reach.behind == Reach::Behind::zeros ? Slot::Use::zeros : Slot::Use::nothing;
    std::uint64_t offset = pending.data();
    std::uint64_t placed = offset; // the end of the data that are taken
    for (std::size_t i = 0; i < kSlots; ++i) {
        const RawBlockInfo& raw = pending.extent.blockinfo[i];
        const std::uint64_t length = data_bytes(raw);
        const bool whole = offset + length <= reach.placed;
        if (raw.dev_id != 0)
            VDISK_CHECK(record(device_number(raw.dev_id), {.extent = pending.number,
                                                           .header = units_of(pending.at),
                                                           .number = i,
                                                           .mask = raw.mask.value(),
                                                           .cluster = raw.cluster_num.value(),
                                                           .offset = offset,
                                                           .length = length,
                                                           .use = !whole                ? behind
                                                                  : pending.readable[i] ? Slot::Use::all
                                                                                        : Slot::Use::zeros}));
        offset += length;
        if (whole) placed = offset;
    }
    for (Collected& device : devices_) device.map.end_extent();
    return reach.end > placed ? not_shown(placed, reach.end - placed) : ok();
}

void Scanner::add_device(const Device& device) {
    device_of_[device.id] = static_cast<int>(devices_.size());
    devices_.emplace_back();
    contents_.devices.push_back(device);
}

// One that the device table does not list, or without a size, is found by what the archive has of it.
std::size_t Scanner::device_number(std::uint8_t id) {
    if (device_of_[id] < 0) add_device(header_.unlisted(id));
    return static_cast<std::size_t>(device_of_[id]);
}

void Scanner::count_slots(const RawExtent& extent) {
    for (const RawBlockInfo& slot : extent.blockinfo)
        if (slot.dev_id != 0) ++devices_[device_number(slot.dev_id)].slots;
}

// Whether there is a slot for each cluster.
bool Scanner::complete() const {
    for (std::size_t i = 0; i < devices_.size(); ++i)
        if (devices_[i].slots < contents_.devices[i].clusters()) return false;
    return true;
}

// Extents lie at multiples of 512 behind the header, and by how much they miss that changes at damage alone.
Result<void> Scanner::note_shift(std::uint64_t at) {
    const std::uint64_t bytes = (at - header_.size) % kAlignment;
    if (bytes == (contents_.shifts.empty() ? 0 : contents_.shifts.back().bytes.value())) return ok();
    contents_.shifts.push_back({Count((at - header_.size) / kAlignment), Count(bytes)});
    return count_bytes(sizeof(Shift));
}

// For whoever checks later whether data are an extent's.
Result<void> Scanner::note_extent(const Pending& pending) {
    if (pending.there == 0 || source_ == nullptr) return ok();
    contents_.extents_with_data.push_back(Count(pending.at));
    return count_bytes(sizeof(Count));
}

Result<void> Scanner::record(std::size_t device_index, const Slot& slot) {
    Device& device = contents_.devices[device_index];
    if (!device.listed) {
        add_finding(Oddity::unknown_device, slot.offset,
                    "extent {}, slot {}: is of device {}, of which the device table has no size", slot.extent,
                    slot.number, device.id);
        device.size = std::max(device.size, (std::uint64_t{slot.cluster} + 1) * kClusterBytes);
    }
    if (device.is_memory()) check_order(device_index, slot);
    if (slot.cluster >= device.clusters()) return record_past_end(device, slot);
    const std::uint64_t blocks = div_ceil(
        std::min<std::uint64_t>(device.size - std::uint64_t{slot.cluster} * kClusterBytes, kClusterBytes), kBlockBytes);
    if (const std::uint32_t past = std::uint32_t{slot.mask} >> blocks; past != 0) {
        add_finding(Oddity::block_past_end, slot.offset,
                    "extent {}, slot {}: cluster {} has blocks stored beyond the end of device '{}'", slot.extent,
                    slot.number, slot.cluster, shown_name(device.name));
        const std::uint64_t length = static_cast<std::uint64_t>(std::popcount(past)) * kBlockBytes;
        if (slot.use == Slot::Use::all) VDISK_CHECK(not_shown(slot.offset + slot.length - length, length));
    }
    return slot.use == Slot::Use::nothing ? ok() : add(device_index, slot);
}

Result<void> Scanner::record_past_end(const Device& device, const Slot& slot) {
    // The machine runs on while its state is saved: what is saved may outgrow the size that was announced.
    add_finding(device.is_memory() ? Oddity::memory_past_end : Oddity::cluster_past_end, slot.offset,
                "extent {}, slot {}: cluster {} is beyond the end of device '{}', which has {}", slot.extent,
                slot.number, slot.cluster, shown_name(device.name), device.clusters());
    return slot.use == Slot::Use::all ? not_shown(slot.offset, slot.length) : ok();
}

void Scanner::check_order(std::size_t device, const Slot& slot) {
    std::uint64_t& next = devices_[device].next_memory_cluster;
    if (slot.cluster != next)
        add_finding(Oddity::memory_order, slot.offset, "extent {}, slot {}: cluster {} of '{}' comes where {} is due",
                    slot.extent, slot.number, slot.cluster, shown_name(contents_.devices[device].name), next);
    next = std::uint64_t{slot.cluster} + 1;
}

Result<void> Scanner::add(std::size_t device, const Slot& slot) {
    if (units_of(slot.offset) > Run::kMostUnits)
        return fail_at(slot.offset, ErrorKind::limit_exceeded, "{}: data beyond 2 PiB", name_);
    ClusterMapBuilder& builder = devices_[device].map;
    const std::uint64_t before = builder.bytes();
    if (slot.mask == 0) {
        builder.add_zero(slot.cluster, slot.header);
    } else if (slot.use == Slot::Use::zeros) {
        builder.add_partial({slot.cluster, slot.mask, 0, slot.header});
    } else {
        builder.add_stored(Run(slot.cluster, slot.mask, units_of(slot.offset)));
    }
    return count_bytes(builder.bytes() - before);
}

// Bytes that no disk shows; in ascending order.
Result<void> Scanner::not_shown(std::uint64_t offset, std::uint64_t length) {
    if (length == 0) return ok();
    const std::size_t before = contents_.not_shown.size();
    if (before > 0 && contents_.not_shown.back().end() == offset) contents_.not_shown.back().length += length;
    else contents_.not_shown.push_back({offset, length});
    return count_bytes((contents_.not_shown.size() - before) * sizeof(ArchiveRange));
}

Result<void> Scanner::finish(std::size_t device) {
    const std::uint64_t collected = devices_[device].map.bytes();
    auto map = devices_[device].map.finish(contents_.devices[device].clusters(),
                                           options_.limits.cluster_map_bytes - map_bytes_);
    if (map.has_error()) return map_too_large();
    map_bytes_ += std::max(map.value().bytes(), collected) - collected;
    contents_.maps.push_back(std::move(map).value());
    return ok();
}

} // namespace

Result<Contents> scan(ForwardReader& reader, std::string_view name, const Header& header, const ScanOptions& options) {
    return Scanner(reader, name, header, options).run();
}

} // namespace vdisk::vma
