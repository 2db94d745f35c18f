// SPDX-License-Identifier: Apache-2.0
#include "format/vma/scan.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace vdisk::vma {
namespace {

constexpr std::size_t kSlots = 59;
constexpr std::array<char, 4> kExtentMagic{'V', 'M', 'A', 'E'};
// Read at once where headers follow each other closely: in the extents of an empty disk, in a search.
constexpr std::size_t kReadAhead = 64U << 10;
// A search steps over what can't be read faster and faster, up to this.
constexpr std::uint64_t kMostStep = 1U << 20;

struct RawBlockInfo {
    big_uint16_buf_t mask;
    std::uint8_t reserved;
    std::uint8_t dev_id; // 0: the slot is not used
    big_uint32_buf_t cluster_num;
};

struct RawExtent {
    std::array<char, 4> magic;
    big_uint16_buf_t reserved;
    big_uint16_buf_t block_count; // stored blocks; they follow the header, slot by slot
    Uuid uuid;
    Md5 md5sum; // of this structure with this field zeroed; nothing covers the blocks
    std::array<RawBlockInfo, kSlots> blockinfo;
};
static_assert(sizeof(RawExtent) == 512 && alignof(RawExtent) == 1);

std::uint64_t blocks_in(std::uint16_t mask) {
    return static_cast<std::uint64_t>(std::popcount(mask));
}

std::uint64_t data_bytes(const RawBlockInfo& slot) {
    return slot.dev_id == 0 ? 0 : blocks_in(slot.mask.value()) * kBlockBytes;
}

// A ForwardReader whose next bytes can be looked at before they are taken.
class Window {
public:
    explicit Window(ForwardReader& reader) : reader_(reader) {}

    std::uint64_t position() const { return reader_.position() - (buffer_.size() - taken_); }

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
        VDISK_TRY(moved, reader_.skip(count - buffered));
        return buffered + moved;
    }

private:
    Result<void> fill(std::size_t count) {
        buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(taken_));
        taken_ = 0;
        const std::size_t had = buffer_.size();
        if (had >= count) return ok();
        buffer_.resize(count);
        auto got = reader_.read(std::span(buffer_).subspan(had));
        buffer_.resize(had + (got.has_value() ? got.value() : 0));
        if (got.has_error()) return std::move(got).error();
        return ok();
    }

    ForwardReader& reader_;
    std::vector<std::byte> buffer_;
    std::size_t taken_ = 0;
};

class Scanner {
public:
    Scanner(ForwardReader& reader, std::string_view name, const Header& header, const ScanOptions& options)
        : name_(name), header_(header), options_(options), window_(reader), total_(reader.size()),
          builders_(header.devices.size()), next_memory_cluster_(header.devices.size(), 0) {
        device_of_.fill(-1);
        for (std::size_t i = 0; i < header.devices.size(); ++i) device_of_[header.devices[i].id] = static_cast<int>(i);
    }

    Result<Contents> run() {
        for (bool more = true; more;) {
            VDISK_TRY(found, next_extent());
            more = found;
            VDISK_CHECK(tell_progress());
        }
        contents_.size = window_.position();
        for (std::size_t i = 0; i < builders_.size(); ++i) VDISK_CHECK(finish(i));
        return std::move(contents_);
    }

private:
    struct Slot {
        std::size_t number;
        std::uint16_t mask;
        std::uint32_t cluster;
        std::uint64_t offset; // of its data in the archive
        bool readable;
    };

    // What the system could not read just now it may read the next time.
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

    Result<void> finish(std::size_t device) {
        const std::uint64_t collected = builders_[device].bytes();
        auto map = builders_[device].finish(header_.devices[device].clusters(),
                                            options_.limits.cluster_map_bytes - map_bytes_);
        if (map.has_error()) return map_too_large();
        map_bytes_ += std::max(map.value().bytes(), collected) - collected;
        contents_.maps.push_back(std::move(map).value());
        return ok();
    }

    Result<void> tell_progress() const {
        if (!total_) return ok();
        return tell(options_.progress, std::min(window_.position(), *total_), *total_);
    }

    Result<bool> next_extent();
    Result<bool> end_of_archive(std::span<const std::byte> rest);
    Result<std::optional<std::string>> fault(const RawExtent& extent);
    Result<bool> search(std::uint64_t from);
    Result<bool> take(const RawExtent& extent);
    Result<std::uint64_t> take_data(const RawExtent& extent, std::array<bool, kSlots>& readable);
    Result<std::uint64_t> read_data(std::uint64_t count, bool& readable);
    Result<void> record(const RawBlockInfo& raw, const Slot& slot);
    void check_order(std::size_t device, const Slot& slot);
    Result<void> add(std::size_t device, const Slot& slot);

    std::string_view name_;
    const Header& header_;
    const ScanOptions& options_;
    Window window_;
    std::optional<std::uint64_t> total_;
    Hasher hasher_{"MD5"};
    std::array<int, 256> device_of_; // by dev_id: the index of the device, -1: none
    std::vector<ClusterMapBuilder> builders_;
    std::uint64_t map_bytes_ = 0; // of what the builders and the finished maps hold
    std::vector<std::uint64_t> next_memory_cluster_;
    Contents contents_;
    std::vector<std::byte> buffer_;
    bool dense_ = true; // the last extent had little data: its successor is read together with what follows
};

// Whether there was one more, or damage in its place that was got over.
Result<bool> Scanner::next_extent() {
    const std::uint64_t at = window_.position();
    auto bytes = window_.peek(sizeof(RawExtent), dense_ ? kReadAhead : sizeof(RawExtent));
    if (bytes.has_error()) {
        if (bytes.error().kind == ErrorKind::cancelled) return std::move(bytes).error();
        note_error(bytes.error());
        add_finding(Oddity::damaged_extent, at, "extent {} can't be read: {}", contents_.extents, bytes.error().what);
        return search(at);
    }
    if (bytes.value().size() < sizeof(RawExtent)) return end_of_archive(bytes.value());
    RawExtent extent;
    std::memcpy(&extent, bytes.value().data(), sizeof extent);
    VDISK_TRY(wrong, fault(extent));
    if (!wrong) return take(extent);
    add_finding(Oddity::damaged_extent, at, "extent {}: {}", contents_.extents, *wrong);
    return search(at);
}

Result<bool> Scanner::end_of_archive(std::span<const std::byte> rest) {
    const std::uint64_t at = window_.position();
    if (rest.empty()) return false;
    const std::size_t compared = std::min(rest.size(), kExtentMagic.size());
    if (std::memcmp(rest.data(), kExtentMagic.data(), compared) == 0)
        add_finding(Oddity::truncated, at, "the archive is truncated: it ends {} bytes into the header of an extent",
                    rest.size());
    else add_finding(Oddity::trailing_bytes, at, "{} stray bytes follow the last extent", rest.size());
    VDISK_CHECK(window_.skip(rest.size()));
    return false;
}

// Why an extent's header can't be trusted, if it can't.
Result<std::optional<std::string>> Scanner::fault(const RawExtent& extent) {
    using Fault = std::optional<std::string>;
    if (extent.magic != kExtentMagic) return Fault("its magic is wrong");
    RawExtent unsummed = extent;
    unsummed.md5sum = {};
    hasher_.add_struct(unsummed);
    const auto md5 = hasher_.finish<sizeof(Md5)>();
    if (!md5) return md5_missing(name_);
    if (*md5 != extent.md5sum) return Fault("its checksum is wrong");
    if (extent.uuid != header_.uuid)
        return Fault(fmt::format("its uuid is {}: it is another archive's", uuid_text(extent.uuid)));
    std::uint64_t blocks = 0;
    for (const RawBlockInfo& slot : extent.blockinfo) blocks += data_bytes(slot) / kBlockBytes;
    if (blocks != extent.block_count.value())
        return Fault(
            fmt::format("block_count is {}, but its masks have {} blocks", extent.block_count.value(), blocks));
    return Fault();
}

// Goes on to the next header that can be trusted, behind a damaged one at `from`.
Result<bool> Scanner::search(std::uint64_t from) {
    std::uint64_t step = kAlignment;
    for (std::uint64_t steps = 0;; ++steps) {
        VDISK_TRY(moved, window_.skip(step));
        if (steps % 4096 == 0) VDISK_CHECK(tell_progress());
        auto bytes = window_.peek(sizeof(RawExtent), kReadAhead);
        if (bytes.has_error() && bytes.error().kind == ErrorKind::cancelled) return std::move(bytes).error();
        if (bytes.has_error()) note_error(bytes.error());
        if (bytes.has_error() && moved == step) {
            step = std::min(step * 2, kMostStep);
            continue;
        }
        step = kAlignment;
        if (bytes.has_error() || bytes.value().size() < sizeof(RawExtent)) {
            if (bytes.has_value()) VDISK_CHECK(window_.skip(bytes.value().size()));
            add_finding(Oddity::skipped_bytes, from, "no sound extent is found from here to the end, {} bytes on",
                        window_.position() - from);
            return false;
        }
        if (std::memcmp(bytes.value().data(), kExtentMagic.data(), kExtentMagic.size()) != 0) continue;
        RawExtent extent;
        std::memcpy(&extent, bytes.value().data(), sizeof extent);
        VDISK_TRY(wrong, fault(extent));
        if (wrong) continue;
        add_finding(Oddity::skipped_bytes, from, "{} bytes skipped up to the next sound extent",
                    window_.position() - from);
        return true;
    }
}

Result<bool> Scanner::take(const RawExtent& extent) {
    const std::uint64_t at = window_.position();
    if (extent.reserved.value() != 0)
        add_finding(Oddity::reserved_field, at, "extent {}: its reserved field is {}, not 0", contents_.extents,
                    extent.reserved.value());
    VDISK_CHECK(window_.skip(sizeof extent));
    std::uint64_t offset = at + sizeof extent;
    std::array<bool, kSlots> readable;
    readable.fill(true);
    VDISK_TRY(there, take_data(extent, readable));
    const std::uint64_t end = offset + there;

    for (std::size_t i = 0; i < kSlots; ++i) {
        const RawBlockInfo& raw = extent.blockinfo[i];
        const std::uint64_t length = data_bytes(raw);
        // Behind a cut nothing of the extent is taken, not even clusters without data.
        const bool whole = offset + length <= end;
        if (raw.dev_id != 0)
            VDISK_CHECK(record(raw, {.number = i,
                                     .mask = raw.mask.value(),
                                     .cluster = raw.cluster_num.value(),
                                     .offset = offset,
                                     .readable = whole && readable[i]}));
        offset += length;
    }
    if (offset > end)
        add_finding(Oddity::truncated, end,
                    "the archive is truncated: it ends inside the data of extent {}; {} bytes of them are missing",
                    contents_.extents, offset - end);
    for (ClusterMapBuilder& builder : builders_) builder.end_extent();
    dense_ = extent.block_count.value() < kReadAhead / kBlockBytes;
    ++contents_.extents;
    return offset <= end;
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

Result<void> Scanner::record(const RawBlockInfo& raw, const Slot& slot) {
    const std::uint64_t at = slot.offset;
    const int index = device_of_[raw.dev_id];
    if (index < 0) {
        add_finding(Oddity::unknown_device, at, "extent {}, slot {}: is of device {}, which the archive does not have",
                    contents_.extents, slot.number, raw.dev_id);
        return ok();
    }
    const auto device_index = static_cast<std::size_t>(index);
    const Device& device = header_.devices[device_index];
    if (device.is_memory()) check_order(device_index, slot);
    if (slot.cluster >= device.clusters()) {
        // The machine runs on while its state is saved: what is saved may outgrow the size that was announced.
        add_finding(device.is_memory() ? Oddity::memory_past_end : Oddity::cluster_past_end, at,
                    "extent {}, slot {}: cluster {} is beyond the end of device '{}', which has {}", contents_.extents,
                    slot.number, slot.cluster, shown_name(device.name), device.clusters());
        return ok();
    }
    const std::uint64_t blocks = div_ceil(
        std::min<std::uint64_t>(device.size - std::uint64_t{slot.cluster} * kClusterBytes, kClusterBytes), kBlockBytes);
    if (std::uint32_t{slot.mask} >> blocks != 0)
        add_finding(Oddity::block_past_end, at,
                    "extent {}, slot {}: cluster {} has blocks stored beyond the end of device '{}'", contents_.extents,
                    slot.number, slot.cluster, shown_name(device.name));
    if (!slot.readable) return ok();
    return add(device_index, slot);
}

void Scanner::check_order(std::size_t device, const Slot& slot) {
    std::uint64_t& next = next_memory_cluster_[device];
    if (slot.cluster != next)
        add_finding(Oddity::memory_order, slot.offset, "extent {}, slot {}: cluster {} of '{}' comes where {} is due",
                    contents_.extents, slot.number, slot.cluster, shown_name(header_.devices[device].name), next);
    next = std::uint64_t{slot.cluster} + 1;
}

Result<void> Scanner::add(std::size_t device, const Slot& slot) {
    ClusterMapBuilder& builder = builders_[device];
    const std::uint64_t before = builder.bytes();
    if (slot.mask == 0) {
        builder.add_zero(slot.cluster);
    } else {
        const std::uint64_t units = (slot.offset - header_.size) / kAlignment;
        if (units > Run::kMostUnits)
            return fail_at(slot.offset, ErrorKind::limit_exceeded, "{}: data beyond 2 PiB", name_);
        builder.add_stored(Run(slot.cluster, slot.mask, units));
    }
    map_bytes_ += builder.bytes() - before;
    if (map_bytes_ > options_.limits.cluster_map_bytes) return map_too_large();
    return ok();
}

} // namespace

Result<Contents> scan(ForwardReader& reader, std::string_view name, const Header& header, const ScanOptions& options) {
    return Scanner(reader, name, header, options).run();
}

} // namespace vdisk::vma
