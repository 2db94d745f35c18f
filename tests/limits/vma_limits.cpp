// SPDX-License-Identifier: Apache-2.0
#include "format/vma/vma.hpp"
#include "limits.hpp"
#include "open/open.hpp"
#include "vma_builder.hpp"

#include <atomic>
#include <bit>
#include <cstring>

namespace vdisk::test {
namespace {

constexpr std::uint64_t kMiB = 1U << 20;
constexpr std::size_t kExtent = 512;
constexpr std::size_t kSlots = 59;
constexpr std::uint32_t kMillion = 1'000'000;

// Which cluster the slot number `slot` of all has, and with which mask.
struct SlotOf {
    std::uint32_t cluster;
    std::uint16_t mask;
    std::uint8_t device = 1;
};
using Slots = std::function<SlotOf(std::uint64_t slot)>;

// An archive that is made while it is read, so that it may be of any size; counts what is read of it.
class MadeArchive final : public ByteSource {
public:
    MadeArchive(std::uint64_t device_size, std::uint64_t extents, std::uint16_t mask, Slots slots)
        : slots_(std::move(slots)) {
        VmaBuilder builder;
        builder.add_device(1, "drive-scsi0", device_size);
        header_ = builder.header();
        extent_bytes_ = kExtent + kSlots * 4096 * static_cast<std::size_t>(std::popcount(mask));
        size_ = header_.size() + extents * extent_bytes_;
    }

    std::uint64_t size() const noexcept override { return size_; }
    std::string_view name() const noexcept override { return "archive"; }
    Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
        const std::size_t wanted =
            offset >= size_ ? 0 : static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size_ - offset));
        for (std::size_t done = 0; done < wanted;) done += piece_at(offset + done, out.subspan(done, wanted - done));
        read_ += wanted;
        return wanted;
    }
    std::uint64_t bytes_read() const { return read_; }

private:
    static std::size_t copied(const Bytes& from, std::uint64_t at, std::span<std::byte> out) {
        const std::size_t count = std::min<std::size_t>(out.size(), from.size() - static_cast<std::size_t>(at));
        std::memcpy(out.data(), from.data() + at, count);
        return count;
    }

    std::size_t piece_at(std::uint64_t offset, std::span<std::byte> out) const {
        if (offset < header_.size()) return copied(header_, offset, out);
        const std::uint64_t number = (offset - header_.size()) / extent_bytes_;
        const std::uint64_t within = (offset - header_.size()) % extent_bytes_;
        if (within < kExtent) return copied(extent(number), within, out);
        const std::size_t count = std::min<std::size_t>(out.size(), static_cast<std::size_t>(extent_bytes_ - within));
        std::memset(out.data(), 1, count);
        return count;
    }

    Bytes extent(std::uint64_t number) const {
        Bytes bytes(kExtent);
        std::uint16_t blocks = 0;
        for (std::size_t i = 0; slots_ && i < kSlots; ++i) {
            const SlotOf slot = slots_(number * kSlots + i);
            VmaBuilder::put(bytes, 40 + 8 * i,
                            std::uint64_t{slot.mask} << 48 | std::uint64_t{slot.device} << 32 | slot.cluster);
            blocks = static_cast<std::uint16_t>(blocks + std::popcount(slot.mask));
        }
        std::memcpy(bytes.data(), "VMAE", 4);
        VmaBuilder::put(bytes, 6, blocks);
        std::memcpy(bytes.data() + 8, header_.data() + 8, 16);
        VmaBuilder::sum_extent(bytes, 0);
        return bytes;
    }

    Slots slots_;
    Bytes header_;
    std::size_t extent_bytes_ = 0;
    std::uint64_t size_ = 0;
    mutable std::atomic<std::uint64_t> read_{0};
};

// An archive of one device, and behind its header the same bytes over and over.
class RepeatedArchive final : public ByteSource {
public:
    // `made` of the header is what is repeated.
    RepeatedArchive(std::uint64_t size, const std::function<Bytes(const Bytes& header)>& made) : size_(size) {
        VmaBuilder builder;
        builder.add_device(1, "drive-scsi0", kMiB);
        header_ = builder.header();
        repeated_ = made(header_);
    }

    std::uint64_t size() const noexcept override { return size_; }
    std::string_view name() const noexcept override { return "archive"; }
    Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
        const std::size_t wanted =
            offset >= size_ ? 0 : static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size_ - offset));
        for (std::size_t done = 0; done < wanted;) {
            const bool head = offset + done < header_.size();
            const Bytes& from = head ? header_ : repeated_;
            const auto at =
                static_cast<std::size_t>(head ? offset + done : (offset + done - header_.size()) % repeated_.size());
            const std::size_t count = std::min(wanted - done, from.size() - at);
            std::memcpy(out.data() + done, from.data() + at, count);
            done += count;
        }
        read_ += wanted;
        return wanted;
    }
    std::uint64_t bytes_read() const { return read_; }

private:
    std::uint64_t size_;
    Bytes header_;
    Bytes repeated_;
    mutable std::atomic<std::uint64_t> read_{0};
};

OpenContext context() {
    OpenContext context;
    context.caches = std::make_shared<Caches>(context.limits);
    context.references = std::make_shared<const References>("/nonexistent/image", ReferencePolicy::deny, Limits{});
    return context;
}

ImagePtr image_of(const DiskFile& file) {
    Layer layer = required(file.layer(0), "layer");
    return std::make_shared<const Image>(Image::Parts{.name = "disk",
                                                      .layout = std::move(layer.layout),
                                                      .sources = std::move(layer.sources),
                                                      .parent = nullptr,
                                                      .caches = std::make_shared<Caches>(Limits{})});
}

struct Archive {
    std::uint64_t device_size;
    std::uint64_t extents;
    std::uint16_t mask;
    Slots slots;
};

// Where `checked` is empty, the archive is refused by a limit.
LimitCase archive(const std::string& what, const Archive& archive,
                  const std::function<void(const DiskFile&)>& checked) {
    return {.name = "vma: " + what,
            .make = [](const Folder&) {},
            .check =
                [=](const Folder&) {
                    const auto source = std::make_shared<const MadeArchive>(archive.device_size, archive.extents,
                                                                            archive.mask, archive.slots);
                    const auto file = kVmaFormat.open(source, context());
                    require_at_most(source->bytes_read(), std::min(source->size(), 66560 * archive.extents) + 2 * kMiB,
                                    "bytes read");
                    if (!checked) return require_error(file, ErrorKind::limit_exceeded, "opening");
                    const std::uint64_t opened = source->bytes_read();
                    checked(*required(file, "opening"));
                    require_at_most(source->bytes_read() - opened, 4 * kMiB, "bytes read behind the opening");
                }};
}

void require_all_lost(const DiskFile& file) {
    require(file.disks()[0].facts["lost clusters"] == file.disks()[0].facts["clusters"], "not all clusters are lost");
    Bytes piece(4096);
    require_error(image_of(file)->read_at(0, piece), ErrorKind::corrupt, "reading");
}

void require_zeros(const DiskFile& file) {
    const ImagePtr image = image_of(file);
    Bytes piece(kMiB, std::byte{7});
    for (std::uint64_t part = 0; part < 8; ++part)
        require(required(image->read_at(image->size() / 8 * part, piece), "reading") == piece.size() &&
                    piece == Bytes(piece.size()),
                "what is stored as zeros is not");
}

void require_ones(const DiskFile& file) {
    Bytes piece(4096);
    require(required(image_of(file)->read_at(65536, piece), "reading") == piece.size() &&
                piece == Bytes(piece.size(), std::byte{1}),
            "wrong bytes");
}

void require_duplicates_unread(const DiskFile& file) {
    Bytes piece(4096);
    require_error(image_of(file)->read_at(7 * 65536, piece), ErrorKind::corrupt, "reading");
    const AuditReport report = required(file.audit({}), "audit");
    require(report.number_of(Severity::error) > 0, "the audit finds nothing");
}

constexpr std::uint64_t kLarge = std::uint64_t{1} << 48; // all clusters that there are numbers for

// What the search for extents meets behind damage: it reads nothing more than a few times.
LimitCase searched(const std::string& what, const std::function<Bytes(const Bytes& header)>& made) {
    return {.name = "vma: " + what,
            .make = [](const Folder&) {},
            .check =
                [=](const Folder&) {
                    const auto source = std::make_shared<const RepeatedArchive>(64 * kMiB, made);
                    const auto file = kVmaFormat.open(source, context());
                    require_at_most(source->bytes_read(), 4 * source->size(), "bytes read");
                    require_all_lost(*required(file, "opening"));
                }};
}

// The head of an extent's header. `bytes` must have room for it.
void put_head(Bytes& bytes, const Bytes& header, std::uint16_t blocks) {
    std::memcpy(bytes.data(), "VMAE", 4);
    VmaBuilder::put(bytes, 6, blocks);
    std::memcpy(bytes.data() + 8, header.data() + 8, 16);
}

// A sound header of clusters that the device does not have; each slot claims `mask`.
Bytes sound_extent(const Bytes& header, std::uint16_t mask) {
    Bytes bytes(kExtent);
    for (std::size_t i = 0; i < kSlots; ++i)
        VmaBuilder::put(bytes, 40 + 8 * i, std::uint64_t{mask} << 48 | std::uint64_t{1} << 32 | (1000U + i));
    put_head(bytes, header, static_cast<std::uint16_t>(kSlots * static_cast<std::size_t>(std::popcount(mask))));
    VmaBuilder::sum_extent(bytes, 0);
    return bytes;
}

// Heads one behind the other: each is that of a header whose slots, which are the next ones' heads, have as many blocks
// as it says, so that its checksum is all that speaks against it.
Bytes false_heads(const Bytes& header) {
    constexpr std::size_t kHead = 24;
    Bytes head(kHead);
    put_head(head, header, 0);
    unsigned blocks = 0;
    for (std::size_t i = 0; i < kSlots; ++i) {
        const auto at = [&](std::size_t byte) { return std::to_integer<unsigned>(head[(40 + 8 * i + byte) % kHead]); };
        if (at(3) != 0) blocks += static_cast<unsigned>(std::popcount(at(0) << 8 | at(1)));
    }
    put_head(head, header, static_cast<std::uint16_t>(blocks));
    return head;
}

Bytes magics(const Bytes& /*header*/) {
    const std::string_view magic = "VMAE";
    const auto bytes = std::as_bytes(std::span(magic));
    return {bytes.begin(), bytes.end()};
}

LimitCase huge_header() {
    return {.name = "vma: a header of 2^32 - 1 bytes",
            .make =
                [](const Folder& folder) {
                    VmaBuilder builder;
                    builder.add_device(1, "drive-scsi0", 65536);
                    Bytes bytes = builder.header();
                    VmaBuilder::put(bytes, 56, ~std::uint32_t{0});
                    write_file(folder / "archive.vma", bytes, std::uint64_t{5} << 30);
                },
            .check =
                [](const Folder& folder) {
                    require_error(open_disk((folder / "archive.vma").string(), {}), ErrorKind::limit_exceeded,
                                  "opening");
                }};
}

} // namespace

std::vector<LimitCase> vma_limits() {
    const std::uint64_t clusters = std::uint64_t{kMillion} * kSlots;
    const auto zero = [](std::uint64_t slot) { return SlotOf{static_cast<std::uint32_t>(slot), 0}; };
    const auto scattered_zero = [](std::uint64_t slot) { return SlotOf{static_cast<std::uint32_t>(2 * slot), 0}; };
    const auto zero_again = [=](std::uint64_t slot) {
        return SlotOf{static_cast<std::uint32_t>(slot % (clusters / 2)), 0};
    };
    const auto all_in_one = [](std::uint64_t) { return SlotOf{7, 0}; };
    const auto stored_again = [](std::uint64_t) { return SlotOf{7, 1}; };
    const auto scattered = [](std::uint64_t slot) { return SlotOf{static_cast<std::uint32_t>(2 * slot + 1), 1}; };
    const auto backwards = [](std::uint64_t slot) { return SlotOf{~static_cast<std::uint32_t>(slot), 1}; };
    const auto unknown = [](std::uint64_t slot) { return SlotOf{static_cast<std::uint32_t>(slot), 0, 9}; };
    return {
        huge_header(),
        searched("the magic of an extent at every fourth byte", magics),
        searched("an extent's head at every 24th byte", false_heads),
        searched("sound extents, each inside the data of the one before",
                 [](const Bytes& header) { return sound_extent(header, 0xFFFF); }),
        searched("sound extents, each inside the few data of the one before",
                 [](const Bytes& header) { return sound_extent(header, 1); }),
        archive("a million extents without clusters", {kLarge, kMillion, 0, {}}, require_all_lost),
        archive("a million extents of a device that is not there", {kLarge, kMillion, 0, unknown}, require_all_lost),
        archive("a million extents of zero clusters in order", {clusters * 65536, kMillion, 0, zero}, require_zeros),
        archive("a million extents of zero clusters, each alone", {kLarge, kMillion, 0, scattered_zero}, {}),
        archive("a million extents of zero clusters, each twice", {clusters / 2 * 65536, kMillion, 0, zero_again}, {}),
        archive("a million extents of one zero cluster", {kLarge, kMillion, 0, all_in_one}, {}),
        archive("a thousand extents of one cluster that is stored", {kMiB, 1000, 1, stored_again},
                require_duplicates_unread),
        archive("as many clusters as fit, each alone", {kLarge, 82'000, 1, scattered}, require_ones),
        archive("more clusters than fit, each alone", {kLarge, kMillion, 1, scattered}, {}),
        archive("more clusters than fit, from the last to the first", {kLarge, kMillion, 1, backwards}, {})};
}

} // namespace vdisk::test
