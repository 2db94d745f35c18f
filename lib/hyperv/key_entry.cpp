// SPDX-License-Identifier: Apache-2.0
#include "hyperv/key_entry.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"
#include "hyperv/checksum.hpp"

#include <boost/endian/buffers.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

namespace vdisk::hyperv {
namespace {

using namespace boost::endian;

struct KeyEntryRecord {
    little_uint8_buf_t type;
    little_uint8_buf_t flags;
    little_uint32_buf_t size;
    little_uint16_buf_t parent_table;
    little_uint32_buf_t parent_offset;
    little_uint32_buf_t checksum;
    little_uint32_buf_t sequence;
    little_uint8_buf_t name_length;
};
static_assert(sizeof(KeyEntryRecord) == kEntryHeader);

struct PointerRecord {
    little_uint32_buf_t size;
    little_uint64_buf_t offset;
};
static_assert(sizeof(PointerRecord) == 12);

constexpr std::size_t kNodeData = 12;
constexpr std::size_t kLengthPrefix = 4;

template<class Struct> Struct copy_of(std::span<const std::byte> bytes) {
    Struct value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

// Reads one entry from the bytes that it may use.
class EntryReader {
public:
    EntryReader(std::span<const std::byte> bytes, std::size_t at)
        : bytes_(bytes), record_(copy_of<KeyEntryRecord>(bytes)) {
        entry_.offset = static_cast<std::uint32_t>(at);
        entry_.type = static_cast<KeyType>(record_.type.value());
        entry_.flags = record_.flags.value();
        entry_.stored_size = record_.size.value();
        entry_.parent = {record_.parent_table.value(), record_.parent_offset.value()};
        entry_.checksum = record_.checksum.value();
        entry_.sequence = record_.sequence.value();
        entry_.meaningful = kEntryHeader;
    }

    KeyEntry read() {
        if (entry_.type == KeyType::free) return entry_;
        if (read_name() && read_data()) verify(bytes_.first(entry_.meaningful));
        return entry_;
    }

    KeyEntry read_as(KeyType type) {
        entry_.type = type;
        if (!read_name() || !read_data()) return entry_;
        std::vector<std::byte> copy(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(entry_.meaningful));
        copy[0] = static_cast<std::byte>(type);
        verify(copy);
        return entry_;
    }

private:
    std::span<const std::byte> rest() const { return bytes_.subspan(entry_.meaningful); }

    bool read_name() {
        const std::size_t length = record_.name_length.value();
        if (length > rest().size()) {
            entry_.faults.add(FindingKind::name_range);
            return false;
        }
        entry_.name = as_text(rest().first(length));
        entry_.meaningful += length;
        if (entry_.name.ends_with('\0')) entry_.name.remove_suffix(1);
        else entry_.faults.add(FindingKind::name_unterminated);
        if (!is_utf8(entry_.name)) entry_.faults.add(FindingKind::name_utf8);
        return true;
    }

    // False if the value does not fit, or is of a type whose extent is not known.
    bool read_data() {
        if (!is_defined(entry_.type)) {
            entry_.faults.add(FindingKind::unknown_key_type);
            entry_.data = rest();
            entry_.meaningful += entry_.data.size();
            return false;
        }
        return (entry_.flags & kFlagFileObject) != 0 && entry_.type != KeyType::node ? read_pointer() : read_inline();
    }

    bool read_pointer() {
        if (!take(sizeof(PointerRecord))) return false;
        const auto record = copy_of<PointerRecord>(entry_.data);
        entry_.pointer = {record.size.value(), record.offset.value()};
        entry_.data = {};
        return true;
    }

    bool read_inline() {
        switch (entry_.type) {
        case KeyType::integer:
        case KeyType::unsigned_integer:
        case KeyType::real: return take(8);
        case KeyType::boolean: return take(4);
        case KeyType::node: return take(kNodeData);
        case KeyType::string:
        case KeyType::array:
            if (!take(kLengthPrefix)) return false;
            return take(copy_of<little_uint32_buf_t>(entry_.data).value());
        case KeyType::free: break;
        }
        return false;
    }

    bool take(std::size_t length) {
        if (length > rest().size()) {
            entry_.faults.add(FindingKind::value_range);
            entry_.data = {};
            return false;
        }
        entry_.data = rest().first(length);
        entry_.meaningful += length;
        return true;
    }

    void verify(std::span<const std::byte> scope) {
        if (crc32_without_field(scope, offsetof(KeyEntryRecord, checksum)) != entry_.checksum)
            entry_.faults.add(FindingKind::entry_checksum);
    }

    std::span<const std::byte> bytes_;
    KeyEntryRecord record_;
    KeyEntry entry_;
};

// Whether the header at the start of `bytes` could be one, before anything is added up.
bool plausible(std::span<const std::byte> bytes) {
    const auto record = copy_of<KeyEntryRecord>(bytes);
    const auto type = static_cast<KeyType>(record.type.value());
    return type != KeyType::free && is_defined(type) && record.name_length.value() > 0 &&
           record.size.value() > kEntryHeader && record.size.value() <= bytes.size();
}

class TableWalker {
public:
    TableWalker(std::span<const std::byte> table, const WalkOptions& options)
        : table_(table), options_(options), budget_(search_budget(table.size())) {}

    EntryWalk run(std::size_t start) {
        walk_.end = start;
        while (!walk_.stopped_by && left() >= kEntryHeader) step();
        if (!walk_.stopped_by && left() > 0) walk_.stopped_by = FindingKind::table_tail;
        return std::move(walk_);
    }

private:
    std::size_t left() const { return table_.size() - std::min(walk_.end, table_.size()); }

    void step() {
        const std::size_t size = copy_of<KeyEntryRecord>(table_.subspan(walk_.end)).size.value();
        if (size < kEntryHeader || size > left()) return bad_size(size);
        walk_.entries.push_back(read_entry(table_, walk_.end, size));
        walk_.end += size;
    }

    void bad_size(std::size_t size) {
        if (options_.truncated && size > left()) return cut_entry();
        const FindingKind kind = size == 0 ? FindingKind::entry_size_zero : FindingKind::entry_size_bad;
        walk_.findings.push_back({kind, walk_.end, fmt::format("entry of {} bytes where {} are left", size, left())});
        if (options_.damage == Damage::search) return go_on_behind(kind);
        walk_.stopped_by = kind;
    }

    // The last entry of a table whose end is missing counts only if its checksum holds.
    void cut_entry() {
        const KeyEntry entry = read_entry(table_, walk_.end, left());
        if (entry.type != KeyType::free && entry.faults.empty()) walk_.entries.push_back(entry);
        walk_.stopped_by = FindingKind::key_table_truncated;
    }

    void go_on_behind(FindingKind kind) {
        KeyEntry entry = read_entry(table_, walk_.end, left());
        const bool whole =
            entry.type != KeyType::free && entry.placeable() && entry.has_value() && is_defined(entry.type);
        const auto next = find_entry(table_, walk_.end + (whole ? entry.meaningful : kEntryHeader), budget_);
        const std::size_t end = next ? next->offset : table_.size();
        if (whole) {
            entry.faults = checksum_holds_with_size(entry, end - walk_.end) ? FindingSet{} : entry.faults;
            entry.faults.add(kind);
            walk_.entries.push_back(entry);
        }
        walk_.end = end;
    }

    bool checksum_holds_with_size(const KeyEntry& entry, std::size_t size) const {
        std::vector<std::byte> copy(table_.begin() + entry.offset,
                                    table_.begin() + entry.offset + static_cast<std::ptrdiff_t>(entry.meaningful));
        const little_uint32_buf_t stored{static_cast<std::uint32_t>(size)};
        std::memcpy(copy.data() + offsetof(KeyEntryRecord, size), &stored, sizeof stored);
        return crc32_without_field(copy, offsetof(KeyEntryRecord, checksum)) == entry.checksum;
    }

    std::span<const std::byte> table_;
    const WalkOptions& options_;
    std::uint64_t budget_;
    EntryWalk walk_;
};

} // namespace

std::string_view to_string(KeyType type) noexcept {
    switch (type) {
    case KeyType::free: return "free";
    case KeyType::integer: return "int";
    case KeyType::unsigned_integer: return "uint";
    case KeyType::real: return "double";
    case KeyType::string: return "string";
    case KeyType::array: return "array";
    case KeyType::boolean: return "bool";
    case KeyType::node: return "node";
    }
    return "unknown";
}

bool is_defined(KeyType type) noexcept {
    return type >= KeyType::integer && type <= KeyType::node;
}

KeyEntry read_entry(std::span<const std::byte> table, std::size_t at, std::size_t extent) {
    return EntryReader(table.subspan(at, extent), at).read();
}

std::optional<KeyEntry> read_entry_as(std::span<const std::byte> table, std::size_t at, std::size_t extent,
                                      KeyType type) {
    KeyEntry entry = EntryReader(table.subspan(at, extent), at).read_as(type);
    if (!entry.faults.empty()) return std::nullopt;
    return entry;
}

EntryWalk walk_entries(std::span<const std::byte> table, std::size_t start, const WalkOptions& options) {
    return TableWalker(table, options).run(start);
}

std::optional<KeyEntry> find_entry(std::span<const std::byte> table, std::size_t from, std::uint64_t& budget) {
    for (std::size_t at = from; at + kEntryHeader <= table.size(); ++at) {
        const auto rest = table.subspan(at);
        if (!plausible(rest)) continue;
        const KeyEntry entry = read_entry(table, at, rest.size());
        if (entry.faults.empty() && entry.meaningful <= entry.stored_size) return entry;
        if (entry.meaningful > budget) return std::nullopt;
        budget -= entry.meaningful;
    }
    return std::nullopt;
}

} // namespace vdisk::hyperv
