// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/sparse.hpp"

#include "base/parse.hpp"
#include "base/zeros.hpp"
#include "disk/table_pieces.hpp"

#include <algorithm>

namespace vdisk::vmdk {
namespace {

constexpr std::uint64_t kLargestGrain = 16U << 20; // writers take 4 KiB to 64 KiB
constexpr std::uint64_t kLargestPacked = 2U << 20; // several are expanded at a time
constexpr std::uint64_t kMostGrainEntries = 65536; // writers: 512 or 4096
constexpr std::uint64_t kCowdEntries = 4096;
constexpr std::uint64_t kCowdHeaderBytes = 4 * kSector;
constexpr std::uint64_t kSeVersion = 0x200000001;
constexpr std::uint64_t kSeVolatileMagic = 0xCAFECAFE;
constexpr std::uint64_t kFooterReach = 64U << 10; // the footer is the second last sector; some pad their files

constexpr std::uint32_t kNewlines = 1, kRedundant = 2, kZeroedGrains = 4, kCompressed = 0x10000, kMarkers = 0x20000;
constexpr std::uint32_t kKnownIncompatible = kCompressed | kMarkers, kIncompatible = 0xFFFF0000;
constexpr std::uint16_t kDeflate = 1;

// Reads one kind of header into a Sparse, with `wrong` numbers named.
class HeaderReader {
public:
    HeaderReader(const ByteSource& file, const Limits& limits) : file_(file), limits_(limits) {}

    Result<Sparse> hosted();
    Result<Sparse> cowd();
    Result<Sparse> sesparse();

private:
    template<class Value> Error wrong(std::string_view field, Value value, std::string_view why = "") const {
        return fail(ErrorKind::corrupt, "{}: {} of the sparse extent is {}{}{}", file_.name(), field, value,
                    why.empty() ? "" : ", ", why);
    }

    Result<void> take_geometry(std::uint64_t capacity, std::uint64_t grain, std::uint64_t entries) {
        const auto size = checked_mul(capacity, kSector);
        if (!size || *size == 0) return wrong("the capacity", capacity);
        if (grain > kLargestGrain / kSector || !is_power_of_two(grain))
            return wrong("the grain size", grain, "which is no power of two up to 32768 sectors");
        if (entries > kMostGrainEntries || !is_power_of_two(entries))
            return wrong("the number of entries of a table", entries, "which is no power of two up to 65536");
        sparse_.disk_size = *size;
        sparse_.grain_size = grain * kSector;
        sparse_.table_entries = entries;
        if (sparse_.tables() > limits_.table_bytes / sparse_.entry_bytes())
            return fail(ErrorKind::limit_exceeded, "{}: the grain directory of {} entries is larger than {} bytes",
                        file_.name(), sparse_.tables(), limits_.table_bytes);
        return ok();
    }

    // Where the directory at a sector lies; nothing if it is not inside the file.
    std::optional<std::uint64_t> directory_at(std::uint64_t sector) const {
        const auto offset = checked_mul(sector, kSector);
        const auto length = checked_mul(sparse_.tables(), sparse_.entry_bytes());
        if (!offset || *offset == 0 || !length || !fits(*offset, *length, file_.size())) return std::nullopt;
        return offset;
    }

    void claim(std::uint64_t sector, std::uint64_t sectors) {
        const auto offset = checked_mul(sector, kSector);
        const auto length = checked_mul(sectors, kSector);
        if (offset && length && checked_add(*offset, *length))
            sparse_.structures.push_back({.offset = *offset, .length = *length});
    }

    Result<void> take_flags(const RawHostedHeader& raw);
    Result<void> take_descriptor(const RawHostedHeader& raw);
    Result<void> take_directories(const RawHostedHeader& raw);
    Result<std::optional<RawHostedHeader>> footer(const RawHostedHeader& header);
    Result<bool> leads_to_tables(std::uint64_t directory) const;

    const ByteSource& file_;
    const Limits& limits_;
    Sparse sparse_;
};

Result<Sparse> HeaderReader::hosted() {
    VDISK_TRY(raw, read_struct<RawHostedHeader>(file_, 0, "sparse extent header"));
    sparse_.kind = Sparse::Kind::hosted;
    sparse_.version = raw.version.value();
    if (sparse_.version < 1 || sparse_.version > 3)
        return fail(ErrorKind::unsupported, "{}: the sparse extent has version {}, not 1 to 3", file_.name(),
                    sparse_.version);
    VDISK_CHECK(take_flags(raw));
    VDISK_CHECK(take_geometry(raw.capacity.value(), raw.grain_size.value(), raw.table_entries.value()));
    claim(0, 1);
    VDISK_CHECK(take_descriptor(raw));
    VDISK_CHECK(take_directories(raw));
    return std::move(sparse_);
}

Result<void> HeaderReader::take_flags(const RawHostedHeader& raw) {
    const std::uint32_t flags = raw.flags.value();
    if ((flags & kIncompatible & ~kKnownIncompatible) != 0)
        return fail(ErrorKind::unsupported, "{}: the sparse extent has flags {:#010x}, some of which are not known",
                    file_.name(), flags);
    if ((flags & kNewlines) != 0 && raw.newlines != std::array{'\n', ' ', '\r', '\n'})
        return fail(ErrorKind::corrupt, "{}: went through something that changed its line ends, as a text",
                    file_.name());
    sparse_.compressed = (flags & kCompressed) != 0;
    const std::uint16_t compression = raw.compression.value();
    if (compression > kDeflate) return wrong("the compression", compression, "which is not known");
    if (sparse_.compressed != (compression == kDeflate))
        return wrong("the compression", compression, "which its flags contradict");
    if (sparse_.compressed != ((flags & kMarkers) != 0))
        return fail(ErrorKind::unsupported,
                    "{}: the sparse extent has flags {:#010x}: grains are compressed and have "
                    "markers, or neither",
                    file_.name(), flags);
    if (sparse_.compressed && raw.grain_size.value() > kLargestPacked / kSector)
        return wrong("the grain size", raw.grain_size.value(), "too much for compressed grains");
    sparse_.zeroed_grains = (flags & kZeroedGrains) != 0;
    sparse_.unclean = raw.unclean != 0;
    if (raw.unclean > 1)
        sparse_.remarks.push_back(
            Remark::doubt(fmt::format("its header's mark of not being closed is {}", raw.unclean)));
    return ok();
}

Result<void> HeaderReader::take_descriptor(const RawHostedHeader& raw) {
    if (raw.descriptor_offset.value() == 0 && raw.descriptor_size.value() == 0) return ok();
    const auto length = checked_mul(raw.descriptor_size.value(), kSector);
    if (!length || *length > limits_.descriptor_bytes)
        return fail(ErrorKind::limit_exceeded, "{}: the embedded descriptor has {} sectors, the limit is {} bytes",
                    file_.name(), raw.descriptor_size.value(), limits_.descriptor_bytes);
    const auto offset = checked_mul(raw.descriptor_offset.value(), kSector);
    if (!offset || *length == 0) return wrong("the descriptor's place", raw.descriptor_offset.value());
    VDISK_TRY(bytes, read_bytes(file_, *offset, *length, "embedded descriptor"));
    // QEMU leaves room for one, and no text, in each extent of a disk in several files.
    if (!all_zeros(bytes)) sparse_.descriptor.emplace(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    claim(raw.descriptor_offset.value(), raw.descriptor_size.value());
    return ok();
}

// The header's copy near the end, of a file that was written from front to back.
Result<std::optional<RawHostedHeader>> HeaderReader::footer(const RawHostedHeader& header) {
    const std::uint64_t end = align_down(file_.size(), kSector);
    for (std::uint64_t at = end; at > kSector && end - at < kFooterReach; at -= kSector) {
        VDISK_TRY(raw, read_struct<RawHostedHeader>(file_, at - kSector, "footer"));
        const bool same = raw.magic == header.magic && raw.capacity.value() == header.capacity.value() &&
                          raw.grain_size.value() == header.grain_size.value() &&
                          raw.table_entries.value() == header.table_entries.value();
        if (same && raw.directory.value() != kInFooter) return std::optional(raw);
    }
    return std::optional<RawHostedHeader>();
}

// Whether each entry of a directory is none or leads to a place inside the file.
Result<bool> HeaderReader::leads_to_tables(std::uint64_t directory) const {
    bool sound = true;
    LostPieces lost; // what can't be read is an error when it is needed
    VDISK_CHECK(for_each_piece<little_uint32_buf_t>(
        file_, directory, sparse_.tables(), lost,
        [&](std::uint64_t /*first*/, std::span<const little_uint32_buf_t> entries) -> Result<void> {
            for (const little_uint32_buf_t& entry : entries)
                if (entry.value() != 0 && !fits(entry.value() * kSector, sparse_.table_bytes(), file_.size()))
                    sound = false;
            return ok();
        }));
    return sound;
}

Result<void> HeaderReader::take_directories(const RawHostedHeader& raw) {
    const bool has_redundant = (raw.flags.value() & kRedundant) != 0 && raw.redundant_directory.value() != 0;
    if (has_redundant && raw.redundant_directory.value() != raw.directory.value())
        sparse_.redundant = directory_at(raw.redundant_directory.value());
    sparse_.directory = directory_at(raw.directory.value());
    if (raw.directory.value() == kInFooter) {
        VDISK_TRY(found, footer(raw));
        if (found) sparse_.directory = directory_at(found->directory.value());
    }
    if (sparse_.compressed && sparse_.directory) {
        VDISK_TRY(sound, leads_to_tables(*sparse_.directory));
        if (!sound) sparse_.directory.reset();
    }
    if (has_redundant && !sparse_.redundant)
        sparse_.remarks.push_back(Remark::note("its redundant grain directory does not lie inside the file"));
    if (sparse_.directory) return ok();
    if (sparse_.redundant) {
        sparse_.remarks.push_back(
            Remark::note("is read by its redundant grain directory: the first is damaged or outside the file"));
        sparse_.directory = std::exchange(sparse_.redundant, std::nullopt);
        return ok();
    }
    if (!sparse_.compressed)
        return fail(ErrorKind::truncated,
                    "{}: the grain directory at sector {} does not lie inside the file of {} bytes", file_.name(),
                    raw.directory.value(), file_.size());
    return ok();
}

Result<Sparse> HeaderReader::cowd() {
    VDISK_TRY(raw, read_struct<RawCowdHeader>(file_, 0, "COWD header"));
    sparse_.kind = Sparse::Kind::cowd;
    sparse_.version = raw.version.value();
    if (sparse_.version != 1)
        return fail(ErrorKind::unsupported, "{}: the COWD extent has version {}, not 1", file_.name(), sparse_.version);
    VDISK_CHECK(take_geometry(raw.capacity.value(), raw.grain_size.value(), kCowdEntries));
    const std::uint64_t needed = sparse_.tables();
    const std::uint64_t there = raw.directory_entries.value();
    if (there < needed) return wrong("the number of grain tables", there, fmt::format("but the disk needs {}", needed));
    sparse_.directory = directory_at(raw.directory.value());
    if (!sparse_.directory || !fits(*sparse_.directory, there * 4, file_.size()))
        return fail(ErrorKind::truncated,
                    "{}: the grain directory of {} entries at sector {} does not lie inside the file of {} bytes",
                    file_.name(), there, raw.directory.value(), file_.size());
    const auto is_between = [](std::uint32_t value, std::uint32_t most) { return value > 0 && value <= most; };
    sparse_.own_disk =
        raw.cylinders.value() > 0 && is_between(raw.heads.value(), 255) && is_between(raw.sectors.value(), 63);
    sparse_.structures.push_back({.offset = 0, .length = kCowdHeaderBytes});
    return std::move(sparse_);
}

Result<Sparse> HeaderReader::sesparse() {
    VDISK_TRY(raw, read_struct<RawSeHeader>(file_, 0, "seSparse header"));
    sparse_.kind = Sparse::Kind::sesparse;
    sparse_.version = 2;
    if (raw.version.value() != kSeVersion || raw.flags.value() != 0)
        return fail(ErrorKind::unsupported,
                    "{}: the seSparse extent has version {:#x} and flags {:#x}, which are not known", file_.name(),
                    raw.version.value(), raw.flags.value());
    const auto entries = checked_mul(raw.table_size.value(), kSector / 8);
    VDISK_CHECK(take_geometry(raw.capacity.value(), raw.grain_size.value(), entries.value_or(0)));
    const std::uint64_t volatile_at = raw.volatile_header.offset.value();
    if (volatile_at > file_.size() / kSector) return wrong("the volatile header's sector", volatile_at);
    VDISK_TRY(state, read_struct<RawSeVolatileHeader>(file_, volatile_at * kSector, "volatile header"));
    if (state.magic.value() != kSeVolatileMagic) return wrong("the volatile header's magic", state.magic.value());
    if (state.replay_journal.value() != 0)
        return fail(
            ErrorKind::unsupported,
            "{}: was not closed, and its journal, whose format VMware never published, has to be replayed first: "
            "without it old data would be read",
            file_.name());
    sparse_.directory = directory_at(raw.directory.offset.value());
    const bool directory_fits = sparse_.directory && raw.directory.size.value() <= file_.size() / kSector &&
                                fits(*sparse_.directory, raw.directory.size.value() * kSector, file_.size()) &&
                                sparse_.tables() * 8 <= raw.directory.size.value() * kSector;
    if (!directory_fits)
        return fail(
            ErrorKind::truncated,
            "{}: the grain directory of {} sectors at sector {} does not lie inside the file of {} bytes, or is "
            "shorter than the disk needs",
            file_.name(), raw.directory.size.value(), raw.directory.offset.value(), file_.size());
    for (const auto& [field, part, place] : {std::tuple("the tables' sector", &raw.tables, &sparse_.tables_offset),
                                             std::tuple("the grains' sector", &raw.grains, &sparse_.grains_offset),
                                             std::tuple("the back map's sector", &raw.back_map, &sparse_.back_map)}) {
        if (part->offset.value() > file_.size() / kSector) return wrong(field, part->offset.value());
        *place = part->offset.value() * kSector;
    }
    claim(0, 1);
    for (const RawSePart* part :
         {&raw.volatile_header, &raw.journal_header, &raw.journal, &raw.free_bitmap, &raw.back_map})
        claim(part->offset.value(), part->size.value());
    return std::move(sparse_);
}

} // namespace

Result<Sparse> Sparse::parse(const ByteSource& file, const Limits& limits) {
    std::array<std::byte, 8> magic{};
    VDISK_TRY(got, file.read_at(0, magic));
    const std::string_view start(reinterpret_cast<const char*>(magic.data()), got);
    HeaderReader reader(file, limits);
    if (start.starts_with(kHostedMagic)) return reader.hosted();
    if (start.starts_with(kCowdMagic)) return reader.cowd();
    if (start.starts_with(kSeMagic)) return reader.sesparse();
    return fail(ErrorKind::not_this_format, "{}: is no sparse extent of a VMDK: the magic is missing", file.name());
}

bool begins_sparse(std::span<const std::byte> head) noexcept {
    const std::string_view start = as_text(head);
    return head.size() >= kSector &&
           (start.starts_with(kHostedMagic) || start.starts_with(kCowdMagic) || start.starts_with(kSeMagic));
}

std::string_view to_string(Sparse::Kind kind) noexcept {
    switch (kind) {
    case Sparse::Kind::hosted: return "sparse";
    case Sparse::Kind::cowd: return "COWD";
    case Sparse::Kind::sesparse: return "seSparse";
    }
    return "sparse";
}

} // namespace vdisk::vmdk
