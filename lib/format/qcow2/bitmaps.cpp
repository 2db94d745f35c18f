// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/bitmaps.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <bit>

namespace vdisk::qcow2 {
namespace {

constexpr std::uint8_t kDirtyTracking = 1; // the only type
constexpr std::uint16_t kMaxName = 1023;   // the specification's limit

struct RawBitmapsExtension {
    big_uint32_buf_t nb_bitmaps;
    big_uint32_buf_t reserved;
    big_uint64_buf_t bitmap_directory_size;
    big_uint64_buf_t bitmap_directory_offset;
};
static_assert(sizeof(RawBitmapsExtension) == 24);

struct RawBitmap {
    big_uint64_buf_t bitmap_table_offset;
    big_uint32_buf_t bitmap_table_size;
    big_uint32_buf_t flags;
    std::uint8_t type;
    std::uint8_t granularity_bits;
    big_uint16_buf_t name_size;
    big_uint32_buf_t extra_data_size;
};
static_assert(sizeof(RawBitmap) == 24);

struct BitmapEntry {
    Bitmap bitmap;
    std::uint64_t bytes = 0; ///< with its padding
};

Result<BitmapEntry> read_entry(const ByteSource& file, std::uint64_t at, std::uint64_t end) {
    VDISK_TRY(raw, read_struct<RawBitmap>(file, at, "bitmap directory entry"));
    const std::uint64_t extra = raw.extra_data_size.value();
    const std::uint64_t bytes = sizeof raw + extra + raw.name_size.value(); // far from 2^64
    if (!fits(at, bytes, end))
        return fail_at(at, ErrorKind::corrupt, "the entry at offset {} runs past the directory's end at {}", at, end);
    if (raw.granularity_bits > 63)
        return fail_at(at + 17, ErrorKind::corrupt, "granularity_bits is {}, must be at most 63", raw.granularity_bits);
    if (raw.name_size.value() > kMaxName)
        return fail_at(at + 18, ErrorKind::corrupt, "name_size is {}, must be at most {}", raw.name_size.value(),
                       kMaxName);
    VDISK_TRY(name, read_bytes(file, at + sizeof raw + extra, raw.name_size.value(), "bitmap's name"));
    return BitmapEntry{Bitmap{.name = std::string(reinterpret_cast<const char*>(name.data()), name.size()),
                              .table_offset = raw.bitmap_table_offset.value(),
                              .table_size = raw.bitmap_table_size.value(),
                              .flags = raw.flags.value(),
                              .type = raw.type,
                              .granularity_bits = raw.granularity_bits,
                              .extra_data_size = raw.extra_data_size.value()},
                       *align_up(bytes, 8)};
}

Result<void> read_directory(const ByteSource& file, const Extension& extension, const Limits& limits,
                            BitmapDirectory& directory) {
    if (extension.length < sizeof(RawBitmapsExtension))
        return fail_at(extension.offset, ErrorKind::corrupt, "the bitmaps extension has {} bytes, must be 24",
                       extension.length);
    VDISK_TRY(raw, read_struct<RawBitmapsExtension>(file, extension.offset, "bitmaps extension"));
    directory.offset = raw.bitmap_directory_offset.value();
    directory.size = raw.bitmap_directory_size.value();
    if (!fits(directory.offset, directory.size, file.size()))
        return fail_at(extension.offset, ErrorKind::corrupt,
                       "the bitmap directory has {} bytes at offset {} of a file of {}", directory.size,
                       directory.offset, file.size());
    std::uint64_t at = directory.offset;
    for (std::uint32_t i = 0; i < raw.nb_bitmaps.value(); ++i) {
        if (i >= limits.bitmaps)
            return fail_at(at, ErrorKind::limit_exceeded, "there are {} bitmaps, the limit is {}",
                           raw.nb_bitmaps.value(), limits.bitmaps);
        VDISK_TRY(entry, read_entry(file, at, directory.offset + directory.size));
        directory.bitmaps.push_back(std::move(entry.bitmap));
        at += entry.bytes;
    }
    return ok();
}

// Joins what touches, and passes on what is complete.
class Runs {
public:
    explicit Runs(const DirtyVisitor& visitor) : visitor_(visitor) {}

    Result<void> dirty(std::uint64_t offset, std::uint64_t length) {
        if (run_.length > 0 && run_.offset.value + run_.length == offset) {
            run_.length += length;
            return ok();
        }
        VDISK_CHECK(flush());
        run_ = {.offset = GuestOffset{offset}, .length = length};
        return ok();
    }

    Result<void> unreadable(std::uint64_t offset, std::uint64_t length, Error why) {
        VDISK_CHECK(flush());
        return visitor_({GuestOffset{offset}, length, std::make_shared<const Error>(std::move(why))});
    }

    Result<void> flush() {
        if (run_.length == 0) return ok();
        const DirtyRange done = std::exchange(run_, DirtyRange{});
        return visitor_(done);
    }

private:
    const DirtyVisitor& visitor_;
    DirtyRange run_{};
};

// One bitmap's data, cluster by cluster.
class Reader {
public:
    Reader(const ByteSource& file, const Header& header, const Bitmap& bitmap)
        : file_(file), cluster_size_(header.cluster_size()), disk_size_(header.size),
          granularity_bits_(bitmap.granularity_bits),
          covers_(std::uint64_t{1} << std::min(63U, header.cluster_bits + 3 + bitmap.granularity_bits)) {}

    /// Entries that a table for this disk has.
    std::uint64_t entries() const { return div_ceil(disk_size_, covers_); }

    Result<void> visit(const std::vector<std::uint64_t>& table, const DirtyVisitor& visitor) const {
        Runs runs(visitor);
        for (std::uint64_t i = 0; i < std::min<std::uint64_t>(entries(), table.size()); ++i)
            VDISK_CHECK(visit_entry(i * covers_, table[i], runs));
        return runs.flush();
    }

private:
    // What the entry describes: the disk from `start` on.
    Result<void> visit_entry(std::uint64_t start, std::uint64_t entry, Runs& runs) const {
        const std::uint64_t length = std::min(covers_, disk_size_ - start);
        const std::uint64_t host = entry & kBitmapOffsetMask;
        if (host == 0 && (entry & kBitmapAllOnes) == 0) return ok();
        if (host == 0) return runs.dirty(start, length);
        if (host % cluster_size_ != 0)
            return runs.unreadable(start, length,
                                   fail_at(host, ErrorKind::corrupt,
                                           "{}: bitmap table entry {:#x} is no multiple of the cluster size",
                                           file_.name(), entry));
        auto bits = read_bytes(file_, host, data_bytes(length), "bitmap data");
        if (bits.has_error()) return runs.unreadable(start, length, std::move(bits).error());
        return visit_bits(start, bits.value(), runs);
    }

    // Bytes of bitmap data that are about `length` bytes of the disk: the end of the last cluster may lie past the
    // file's end.
    std::uint64_t data_bytes(std::uint64_t length) const {
        return div_ceil(div_ceil(length, std::uint64_t{1} << granularity_bits_), 8);
    }

    Result<void> visit_bits(std::uint64_t start, std::span<const std::byte> bits, Runs& runs) const {
        const std::uint64_t granularity = std::uint64_t{1} << granularity_bits_;
        const std::uint64_t count = std::min<std::uint64_t>(bits.size() * 8, div_ceil(disk_size_ - start, granularity));
        for (std::uint64_t bit = 0; bit < count; ++bit) {
            const auto byte = std::to_integer<unsigned>(bits[bit / 8]);
            if ((byte >> bit % 8 & 1U) == 0) continue;
            const std::uint64_t at = start + (bit << granularity_bits_); // inside the disk
            VDISK_CHECK(runs.dirty(at, std::min(granularity, disk_size_ - at)));
        }
        return ok();
    }

    const ByteSource& file_;
    std::uint64_t cluster_size_;
    std::uint64_t disk_size_;
    std::uint32_t granularity_bits_;
    std::uint64_t covers_; ///< bytes of the disk that one table entry is about
};

Facts describe(const Bitmap& bitmap) {
    auto facts = Facts::object();
    facts["name"] = printable(bitmap.name);
    facts["granularity"] = std::uint64_t{1} << bitmap.granularity_bits;
    facts["in use"] = (bitmap.flags & kBitmapInUse) != 0;
    facts["auto"] = (bitmap.flags & kBitmapAuto) != 0;
    facts["flags"] = bitmap.flags;
    if (bitmap.type != kDirtyTracking) facts["type"] = bitmap.type;
    if (bitmap.extra_data_size != 0) facts["extra data bytes"] = bitmap.extra_data_size;
    return facts;
}

// Takes what reading the bitmap's stored data costs from `budget`; nothing if that is too much or the data are damaged.
std::optional<std::uint64_t> count_dirty(const ByteSource& file, const Header& header, const Bitmap& bitmap,
                                         const Limits& limits, std::uint64_t& budget) {
    const std::uint64_t table_bytes = std::uint64_t{bitmap.table_size} * sizeof(std::uint64_t);
    if (table_bytes > budget) return std::nullopt;
    budget -= table_bytes;
    const auto table = read_bitmap_table(file, bitmap, limits);
    if (table.has_error()) return std::nullopt;
    const auto stored = static_cast<std::uint64_t>(
        std::ranges::count_if(table.value(), [](std::uint64_t entry) { return (entry & kBitmapOffsetMask) != 0; }));
    const std::uint64_t cost = stored * header.cluster_size();
    if (cost > budget) return std::nullopt;
    budget -= cost;
    std::uint64_t bytes = 0;
    const auto visited =
        Reader(file, header, bitmap).visit(table.value(), [&](const DirtyRange& range) -> Result<void> {
            if (range.unreadable) return Error(*range.unreadable);
            bytes += range.length;
            return ok();
        });
    return visited.has_error() ? std::nullopt : std::optional(bytes);
}

std::vector<std::string> warnings_of(const Header& header, const Bitmap& bitmap, std::uint64_t entries) {
    std::vector<std::string> warnings;
    if ((header.autoclear_features & kBitmapsConsistent) == 0)
        warnings.emplace_back("a program that knows no bitmaps has written to the image since: it is out of date");
    if ((bitmap.flags & kBitmapInUse) != 0)
        warnings.emplace_back("it was in use and not saved at the end: it may lack the last changes");
    if (bitmap.table_size != entries)
        warnings.push_back(
            fmt::format("its table has {} entries, but the disk's size needs {}: it belongs to another size",
                        bitmap.table_size, entries));
    return warnings;
}

} // namespace

BitmapDirectory read_bitmaps(const ByteSource& file, const Header& header, const Limits& limits) {
    BitmapDirectory directory;
    const auto extension = std::ranges::find(header.extensions, kExtensionBitmaps, &Extension::type);
    if (extension == header.extensions.end()) return directory;
    if (auto read = read_directory(file, *extension, limits, directory); read.has_error())
        directory.damage = std::move(read).error().in(fmt::format("{}: bitmap directory", file.name()));
    return directory;
}

Result<std::vector<std::uint64_t>> read_bitmap_table(const ByteSource& file, const Bitmap& bitmap,
                                                     const Limits& limits) {
    const std::uint64_t bytes = std::uint64_t{bitmap.table_size} * sizeof(big_uint64_buf_t);
    if (bytes > limits.table_bytes)
        return fail(ErrorKind::limit_exceeded, "{}: bitmap '{}': its table has {} bytes, the limit is {}", file.name(),
                    shown_name(bitmap.name), bytes, limits.table_bytes);
    if (!fits(bitmap.table_offset, bytes, file.size()))
        return fail_at(bitmap.table_offset, ErrorKind::truncated,
                       "{}: bitmap '{}': its table has {} bytes at offset {} of a file of {}", file.name(),
                       shown_name(bitmap.name), bytes, bitmap.table_offset, file.size());
    std::vector<big_uint64_buf_t> raw(bitmap.table_size);
    VDISK_CHECK(read_exact(file, bitmap.table_offset, std::as_writable_bytes(std::span(raw))));
    std::vector<std::uint64_t> table(raw.size());
    std::ranges::transform(raw, table.begin(), &big_uint64_buf_t::value);
    return table;
}

Facts describe_bitmaps(const SourcePtr& file, const Header& header, const Limits& limits) {
    const BitmapDirectory directory = read_bitmaps(*file, header, limits);
    if (directory.bitmaps.empty() && !directory.damage) return nullptr;
    std::uint64_t budget = limits.table_bytes;
    auto list = Facts::array();
    for (const Bitmap& bitmap : directory.bitmaps) {
        auto facts = describe(bitmap);
        if (const auto bytes = count_dirty(*file, header, bitmap, limits, budget)) facts["dirty bytes"] = *bytes;
        list.push_back(std::move(facts));
    }
    if (directory.damage) list.push_back({{"error", directory.damage->what}});
    return list;
}

Result<DirtyBitmap> open_bitmap(const SourcePtr& file, const Header& header, std::string_view name,
                                const Limits& limits) {
    const BitmapDirectory directory = read_bitmaps(*file, header, limits);
    const auto found = std::ranges::find(directory.bitmaps, name, &Bitmap::name);
    if (found == directory.bitmaps.end()) {
        if (directory.damage) return Error(*directory.damage);
        return fail(ErrorKind::usage, "{}: has no bitmap '{}'", file->name(), shown_name(name));
    }
    const std::string context = fmt::format("{}: bitmap '{}'", file->name(), shown_name(name));
    if (found->type != kDirtyTracking)
        return fail(ErrorKind::unsupported, "{}: type is {}, known is 1", context, found->type);
    if (found->extra_data_size != 0 && (found->flags & kBitmapExtraCompatible) == 0)
        return fail(ErrorKind::unsupported, "{}: has {} bytes of extra data without which it must not be used", context,
                    found->extra_data_size);
    VDISK_TRY(table, read_bitmap_table(*file, *found, limits));
    DirtyBitmap opened{.facts = describe(*found),
                       .warnings = warnings_of(header, *found, Reader(*file, header, *found).entries()),
                       .visit = {}};
    opened.visit = [file, header, bitmap = *found, table = std::move(table)](const DirtyVisitor& visitor) {
        return Reader(*file, header, bitmap).visit(table, visitor);
    };
    return opened;
}

} // namespace vdisk::qcow2
