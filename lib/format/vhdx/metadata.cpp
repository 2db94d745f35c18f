// SPDX-License-Identifier: Apache-2.0
#include "format/vhdx/metadata.hpp"

#include "base/text.hpp"
#include "base/utf16.hpp"

#include <algorithm>
#include <map>
#include <memory>

namespace vdisk::vhdx {
namespace {

constexpr std::uint64_t kTableBytes = 64U << 10; // of the table; items lie behind it
constexpr std::uint64_t kLargestItem = kMiB;
constexpr std::uint64_t kLargestDisk = std::uint64_t{64} << 40;
constexpr std::uint32_t kLargestBlock = 256U << 20;
constexpr std::uint32_t kLocatorKeys = 64; // that are taken of a parent locator: five are known

struct RawItem {
    RawGuid id;
    little_uint32_buf_t offset; ///< from the region's start
    little_uint32_buf_t length;
    little_uint32_buf_t flags; ///< 1 a user's, 2 of the disk, 4 required
    little_uint32_buf_t reserved;
};
static_assert(sizeof(RawItem) == 32);

struct RawTable {
    std::array<char, 8> signature; ///< "metadata"
    little_uint16_buf_t reserved;
    little_uint16_buf_t count;
    std::array<std::byte, 20> unused;
    std::array<RawItem, 2047> items;
};
static_assert(sizeof(RawTable) == kTableBytes);

struct RawFileParameters {
    little_uint32_buf_t block_size;
    little_uint32_buf_t flags; ///< 1 leave blocks allocated, 2 has a parent
};

struct RawLocator {
    RawGuid type;
    little_uint16_buf_t reserved;
    little_uint16_buf_t count;
};
static_assert(sizeof(RawLocator) == 20);

struct RawLocatorEntry {
    little_uint32_buf_t key_offset; ///< from the item's start
    little_uint32_buf_t value_offset;
    little_uint16_buf_t key_length;
    little_uint16_buf_t value_length;
};
static_assert(sizeof(RawLocatorEntry) == 12);

enum class Kind : std::uint8_t { file_parameters, disk_size, disk_id, sector_size, physical_sector_size, locator };

struct KnownItem {
    std::string_view id;
    Kind kind;
    std::string_view name;
    std::uint64_t least; ///< bytes
};

constexpr std::array kItems{
    KnownItem{"caa16737-fa36-4d43-b3b6-33f0aa44e76b", Kind::file_parameters, "file parameters", 8},
    KnownItem{"2fa54224-cd1b-4876-b211-5dbed83bf4b8", Kind::disk_size, "virtual disk size", 8},
    KnownItem{"beca12ab-b2e6-4523-93ef-c309e000c746", Kind::disk_id, "virtual disk id", 16},
    KnownItem{"8141bf1d-a96f-4709-ba47-f233a8faab5f", Kind::sector_size, "logical sector size", 4},
    KnownItem{"cda348c7-445d-4471-9cc9-e9885251c556", Kind::physical_sector_size, "physical sector size", 4},
    KnownItem{"a8d35f2d-b30b-454d-abf7-d3d84834ab0c", Kind::locator, "parent locator", sizeof(RawLocator)},
};
constexpr std::string_view kVhdxLocator = "b04aefb7-d19e-4a81-b789-25b8e9445913";

const KnownItem* find_item(const Uuid& id) {
    const auto found = std::ranges::find(kItems, to_string(id), &KnownItem::id);
    return found == kItems.end() ? nullptr : &*found;
}

using Items = std::map<Kind, std::vector<std::byte>>;

class Reader {
public:
    Reader(const ByteSource& file, const Region& region, const Limits& limits)
        : file_(file), region_(region), limits_(limits) {}

    Result<Metadata> run() {
        VDISK_CHECK(read_items());
        VDISK_CHECK(read_numbers());
        VDISK_CHECK(check_numbers());
        VDISK_CHECK(read_parent());
        return std::move(metadata_);
    }

private:
    template<class... Args> Error broken(fmt::format_string<Args...> format, Args&&... args) const {
        return fail_at(region_.offset, ErrorKind::corrupt, "{}: {}", file_.name(),
                       fmt::format(format, std::forward<Args>(args)...));
    }

    Result<void> read_items() {
        auto table = std::make_unique<RawTable>();
        if (region_.length < sizeof *table) return broken("the metadata region has {} bytes", region_.length);
        VDISK_CHECK(read_exact(file_, region_.offset, std::as_writable_bytes(std::span(table.get(), 1))));
        if (std::string_view(table->signature.data(), 8) != "metadata")
            return broken("no metadata table at offset {}", region_.offset);
        if (table->count.value() > table->items.size())
            return broken("the metadata table has {} entries, may have {}", table->count.value(), table->items.size());
        for (const RawItem& raw : std::span(table->items).first(table->count.value())) VDISK_CHECK(take(raw));
        return ok();
    }

    Result<void> take(const RawItem& raw) {
        const Uuid id = Uuid::from_mixed(raw.id);
        const std::uint64_t offset = raw.offset.value();
        const std::uint64_t length = raw.length.value();
        const KnownItem* const known = (raw.flags.value() & 1) == 0 ? find_item(id) : nullptr;
        if (known == nullptr && (raw.flags.value() & 4) != 0)
            return fail(ErrorKind::unsupported, "{}: metadata item {} must be known to read the file, and is not",
                        file_.name(), to_string(id));
        if (known == nullptr) {
            metadata_.remarks.push_back(
                Remark::note(fmt::format("has a metadata item {} that is not known here", to_string(id))));
            return ok();
        }
        if (length < known->least || length > kLargestItem || offset < kTableBytes ||
            !fits(offset, length, region_.length))
            return broken("the {} of {} bytes at offset {} does not fit the metadata region", known->name, length,
                          offset);
        VDISK_TRY(bytes, read_bytes(file_, region_.offset + offset, length, known->name));
        if (!items_.emplace(known->kind, std::move(bytes)).second) return broken("the {} is there twice", known->name);
        return ok();
    }

    template<class Raw> Raw get(Kind kind) const {
        Raw raw{};
        if (const auto found = items_.find(kind); found != items_.end())
            std::copy_n(found->second.begin(), sizeof raw, std::as_writable_bytes(std::span(&raw, 1)).begin());
        return raw;
    }

    Result<void> read_numbers() {
        for (const KnownItem& item : kItems) {
            const bool needed =
                item.kind == Kind::file_parameters || item.kind == Kind::disk_size || item.kind == Kind::sector_size;
            if (needed && !items_.contains(item.kind)) return broken("the {} is missing", item.name);
        }
        const auto parameters = get<RawFileParameters>(Kind::file_parameters);
        metadata_.block_size = parameters.block_size.value();
        metadata_.leave_allocated = (parameters.flags.value() & 1) != 0;
        metadata_.has_parent = (parameters.flags.value() & 2) != 0;
        metadata_.disk_size = get<little_uint64_buf_t>(Kind::disk_size).value();
        metadata_.sector_size = get<little_uint32_buf_t>(Kind::sector_size).value();
        metadata_.physical_sector_size = get<little_uint32_buf_t>(Kind::physical_sector_size).value();
        metadata_.disk_id = Uuid::from_mixed(get<RawGuid>(Kind::disk_id));
        if ((parameters.flags.value() & ~3U) != 0)
            return broken("the file parameters have flags {:#x}, known are 1 and 2", parameters.flags.value());
        return ok();
    }

    Result<void> check_numbers() const {
        const Metadata& own = metadata_;
        if (!is_power_of_two(own.block_size) || own.block_size < kMiB || own.block_size > kLargestBlock)
            return broken("block size is {}, must be a power of two from {} to {}", own.block_size, kMiB,
                          kLargestBlock);
        if (own.sector_size != 512 && own.sector_size != 4096)
            return broken("logical sector size is {}, must be 512 or 4096", own.sector_size);
        if (own.disk_size > kLargestDisk || own.disk_size % own.sector_size != 0 || own.disk_size == 0)
            return broken("virtual disk size is {}, must be whole sectors of {} and at most {}", own.disk_size,
                          own.sector_size, kLargestDisk);
        if (own.has_parent != items_.contains(Kind::locator))
            return broken("it has a parent {}, but no parent {}", own.has_parent ? "by its flags" : "locator",
                          own.has_parent ? "locator" : "by its flags");
        return ok();
    }

    Result<void> read_parent() {
        const auto found = items_.find(Kind::locator);
        if (found == items_.end()) return ok();
        const auto raw = get<RawLocator>(Kind::locator);
        if (const Uuid type = Uuid::from_mixed(raw.type); to_string(type) != kVhdxLocator)
            return fail(ErrorKind::unsupported, "{}: the parent locator is of type {}, known is {} (VHDX)",
                        file_.name(), to_string(type), kVhdxLocator);
        const std::span<const std::byte> item = found->second;
        if (raw.count.value() > kLocatorKeys ||
            !fits(sizeof raw, raw.count.value() * sizeof(RawLocatorEntry), item.size()))
            return broken("the parent locator of {} bytes has {} entries", item.size(), raw.count.value());
        for (std::size_t i = 0; i < raw.count.value(); ++i) {
            RawLocatorEntry entry;
            std::copy_n(item.begin() + static_cast<std::ptrdiff_t>(sizeof raw + i * sizeof entry), sizeof entry,
                        std::as_writable_bytes(std::span(&entry, 1)).begin());
            VDISK_TRY(key, text(item, entry.key_offset.value(), entry.key_length.value()));
            VDISK_TRY(value, text(item, entry.value_offset.value(), entry.value_length.value()));
            metadata_.locator.emplace_back(std::move(key), std::move(value));
        }
        return ok();
    }

    Result<std::string> text(std::span<const std::byte> item, std::uint64_t offset, std::uint64_t length) const {
        if (!fits(offset, length, item.size()) || length > limits_.name_bytes * 2)
            return broken("an entry of the parent locator has {} bytes at offset {}, of {}", length, offset,
                          item.size());
        return decode_utf16(item.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(length))).utf8;
    }

    const ByteSource& file_;
    const Region& region_;
    const Limits& limits_;
    Items items_;
    Metadata metadata_;
};

} // namespace

Result<Metadata> Metadata::parse(const ByteSource& file, const Region& region, const Limits& limits) {
    return Reader(file, region, limits).run();
}

std::string_view Metadata::locator_value(std::string_view key) const noexcept {
    const auto found = std::ranges::find(locator, key, &LocatorEntry::first);
    return found == locator.end() ? std::string_view() : found->second;
}

std::uint64_t Metadata::bytes_of(std::uint64_t number) const noexcept {
    return std::min<std::uint64_t>(block_size, disk_size - number * block_size);
}

} // namespace vdisk::vhdx
