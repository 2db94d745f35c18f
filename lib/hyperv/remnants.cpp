// SPDX-License-Identifier: Apache-2.0
#include "hyperv/remnants.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"
#include "hyperv/value.hpp"

#include <boost/endian/conversion.hpp>

#include <algorithm>
#include <cstring>
#include <set>
#include <unordered_set>

namespace vdisk::hyperv {
namespace {

/// What Hyper-V fills the payload of a deleted entry with.
constexpr std::byte kFiller{0xFD};
/// Shown of a file object that nothing points to.
constexpr std::uint64_t kHead = 256;
/// Read at once of space without structure; an entry across the end of a piece is found by the overlap.
constexpr std::uint64_t kRemnantPiece = 4U << 20;
constexpr std::uint64_t kOverlap = 1U << 16;

bool is_filler(std::span<const std::byte> bytes) {
    return std::all_of(bytes.begin(), bytes.end(),
                       [](std::byte byte) { return byte == kFiller || byte == std::byte{0}; });
}

std::vector<std::byte> copy_of(std::span<const std::byte> bytes) {
    return {bytes.begin(), bytes.end()};
}

// Bytes that are searched, and where they come from.
struct Image {
    RemnantSource source;
    std::span<const std::byte> bytes;
    std::uint64_t file_offset = 0;        // of the first byte
    std::optional<std::uint16_t> table{}; // whose image it is
    std::uint32_t table_offset = 0;       // and from where in that table
    std::string how{};
};

struct Range {
    std::uint64_t start;
    std::uint64_t end;
};

class Collector {
public:
    explicit Collector(const Storage& storage) : storage_(storage) {}

    Result<std::vector<Remnant>> run() {
        know_live_keys();
        for (const KeyTable& table : storage_.key_tables().live) search_live_table(table);
        for (const KeyTable& table : storage_.key_tables().superseded)
            search({.source = RemnantSource::superseded_table,
                    .bytes = table.bytes,
                    .file_offset = table.offset,
                    .table = table.index,
                    .how = fmt::format("in key table {} of sequence {}, which another replaced", table.index,
                                       table.sequence)});
        VDISK_CHECK(search_before_replay());
        VDISK_CHECK(search_log());
        VDISK_CHECK(search_free_objects());
        VDISK_CHECK(search_unlisted_space());
        VDISK_CHECK(list_file_objects());
        return std::move(found_);
    }

private:
    // A key is the same if parent, name, type and value are. A node's data only counts its children.
    static std::uint64_t identity(const KeyEntry& entry) {
        const std::hash<std::string_view> hash;
        std::uint64_t sum = hash(entry.name);
        const auto mix = [&](std::uint64_t part) { sum = (sum ^ part) * 0x9E3779B97F4A7C15ULL + (sum >> 29); };
        mix(static_cast<std::uint64_t>(entry.type));
        mix((std::uint64_t{entry.parent.table} << 32) | entry.parent.offset);
        if (entry.type != KeyType::node) mix(hash(as_text(entry.data)));
        if (entry.pointer) mix(entry.pointer->offset * 31 + entry.pointer->size);
        return sum;
    }

    void know_live_keys() {
        for (KeyId id = 0; id < storage_.keys().size(); ++id) {
            live_.insert(identity(storage_.key(id).entry));
            by_place_.emplace(KeyPlace{storage_.table_of(id).index, storage_.key(id).entry.offset}, id);
            seen_.insert(storage_.table_of(id).offset + storage_.key(id).entry.offset);
        }
    }

    void search_live_table(const KeyTable& table) {
        const EntryWalk walk =
            walk_entries(table.bytes, kFirstEntry, {.damage = Damage::stop, .truncated = table.truncated});
        for (const KeyEntry& entry : walk.entries) {
            const std::size_t end = entry.offset + entry.stored_size;
            if (entry.type == KeyType::free) search_free_entry(table, entry, std::min(end, table.bytes.size()));
            else if (end <= table.bytes.size()) search_slack(table, entry.offset + entry.meaningful, end);
        }
        if (walk.end < table.bytes.size()) search_slack(table, walk.end, table.bytes.size());
    }

    Image image_of(const KeyTable& table, std::size_t start, std::size_t end, RemnantSource source,
                   std::string how) const {
        return {.source = source,
                .bytes = std::span(table.bytes).subspan(start, end - start),
                .file_offset = table.offset + start,
                .table = table.index,
                .table_offset = static_cast<std::uint32_t>(start),
                .how = std::move(how)};
    }

    // A free entry that still is what it was but for its type; else whatever its payload holds.
    void search_free_entry(const KeyTable& table, const KeyEntry& entry, std::size_t end) {
        const Image image = image_of(table, entry.offset, end, RemnantSource::free_entry,
                                     fmt::format("free entry of key table {}", table.index));
        for (auto type = KeyType::integer; type <= KeyType::node;
             type = static_cast<KeyType>(static_cast<int>(type) + 1)) {
            if (const auto was = read_entry_as(image.bytes, 0, image.bytes.size(), type)) {
                add(image, *was, 0);
                return search_behind(image, was->meaningful);
            }
        }
        const auto payload = image.bytes.subspan(std::min(kEntryHeader, image.bytes.size()));
        if (payload.empty() || is_filler(payload)) return;
        const std::size_t before = found_.size();
        search_behind(image, kEntryHeader);
        if (found_.size() == before) guess(image, payload, entry);
    }

    void search_behind(const Image& image, std::size_t start) {
        Image rest = image;
        rest.bytes = image.bytes.subspan(start);
        rest.file_offset += start;
        rest.table_offset += static_cast<std::uint32_t>(start);
        rest.how += ", behind its header";
        search(rest);
    }

    // The header was reset: a name up to its NUL and, if it looks like one, a string. What else it is can't be told.
    void guess(const Image& image, std::span<const std::byte> payload, const KeyEntry& entry) {
        Remnant remnant{.source = image.source,
                        .file_offset = image.file_offset,
                        .place = KeyPlace{*image.table, image.table_offset},
                        .sequence = entry.sequence};
        const std::string_view text = as_text(payload);
        const std::string_view name = text.substr(0, std::min(text.find('\0'), text.size()));
        const bool named =
            !name.empty() && name.size() < 255 && name.size() < text.size() && is_utf8(name) && printable(name) == name;
        auto value = payload.subspan(named ? name.size() + 1 : 0);
        if (named) remnant.name = name;
        if (const auto string = leading_string(value); named && string) {
            remnant.type = KeyType::string;
            value = *string;
        }
        remnant.value = copy_of(value);
        remnant.how = image.how + "; its header was reset: name and type are a guess";
        keep(std::move(remnant));
    }

    static std::optional<std::span<const std::byte>> leading_string(std::span<const std::byte> bytes) {
        std::uint32_t length = 0;
        if (bytes.size() < sizeof length) return std::nullopt;
        std::memcpy(&length, bytes.data(), sizeof length);
        length = boost::endian::little_to_native(length);
        bytes = bytes.subspan(sizeof length);
        if (length == 0 || length % 2 != 0 || length > bytes.size() || !decode_utf16(bytes.first(length)).exact)
            return std::nullopt;
        return bytes.first(length);
    }

    void search_slack(const KeyTable& table, std::size_t start, std::size_t end) {
        const Image image =
            image_of(table, start, end, RemnantSource::slack, fmt::format("slack of key table {}", table.index));
        if (is_filler(image.bytes)) return;
        const std::size_t before = found_.size();
        search(image);
        if (found_.size() > before) return;
        keep({.source = RemnantSource::slack,
              .file_offset = image.file_offset,
              .place = KeyPlace{table.index, image.table_offset},
              .value = copy_of(image.bytes),
              .how = "bytes behind a value, of an older and longer one or of none" + reading(image.bytes)});
    }

    // What the tail of an overwritten string says.
    static std::string reading(std::span<const std::byte> bytes) {
        while (bytes.size() >= 2 && bytes[bytes.size() - 1] == std::byte{0} && bytes[bytes.size() - 2] == std::byte{0})
            bytes = bytes.first(bytes.size() - 2);
        const Utf16Text text = decode_utf16(bytes);
        const bool legible = text.exact && !text.utf8.empty() && printable(text.utf8) == text.utf8;
        return legible ? fmt::format("; as text \"{}\"", text.utf8) : std::string();
    }

    // Every entry in the image whose checksum holds.
    void search(const Image& image) {
        std::uint64_t budget = search_budget(image.bytes.size());
        std::size_t at = 0;
        while (const auto entry = find_entry(image.bytes, at, budget)) {
            add(image, *entry, entry->offset);
            at = entry->offset + std::max(entry->meaningful, kEntryHeader);
        }
    }

    void add(const Image& image, const KeyEntry& entry, std::size_t at) {
        if (entry.type != KeyType::free && image.source != RemnantSource::free_entry && live_.contains(identity(entry)))
            return;
        Remnant remnant{.source = image.source,
                        .file_offset = image.file_offset + at,
                        .type = entry.type,
                        .sequence = entry.sequence,
                        .name = std::string(entry.name),
                        .value = copy_of(entry.data),
                        .pointer = entry.pointer,
                        .header_intact = true,
                        .checksum_good = true,
                        .how = image.how};
        if (image.table) remnant.place = KeyPlace{*image.table, image.table_offset + static_cast<std::uint32_t>(at)};
        find_parent(image, entry.parent, remnant);
        keep(std::move(remnant));
    }

    // By the live tree; an older image may have had another node there, but nodes rarely move.
    void find_parent(const Image& image, KeyPlace parent, Remnant& remnant) const {
        if (parent == KeyPlace{}) {
            remnant.parent_known = true;
            return;
        }
        const auto known = by_place_.find(parent);
        if (known != by_place_.end() && storage_.key(known->second).entry.type == KeyType::node) {
            remnant.parent_path = path_of(storage_, known->second);
            remnant.parent_known = true;
        } else if (image.table == parent.table && parent.offset >= image.table_offset) {
            name_gone_parent(image, parent.offset - image.table_offset, remnant);
        }
    }

    static void name_gone_parent(const Image& image, std::size_t at, Remnant& remnant) {
        if (at + kEntryHeader > image.bytes.size()) return;
        const KeyEntry parent = read_entry(image.bytes, at, image.bytes.size() - at);
        if (parent.type == KeyType::node && parent.faults.empty())
            remnant.how += fmt::format("; below a node \"{}\" that is gone", shown_name(parent.name));
    }

    void keep(Remnant remnant) {
        if (seen_.insert(remnant.file_offset).second) found_.push_back(std::move(remnant));
    }

    const KeyTable* table_at(std::uint64_t offset) const {
        for (const KeyTable& table : storage_.key_tables().live)
            if (offset >= table.offset && offset - table.offset < table.bytes.size()) return &table;
        return nullptr;
    }

    // The tables that the log wrote to, as they lie in the file.
    Result<void> search_before_replay() {
        if (!storage_.log_applied()) return ok();
        std::set<const KeyTable*> changed;
        for (const LogEntry& entry : storage_.log().pending)
            if (const KeyTable* table = table_at(entry.destination)) changed.insert(table);
        const ByteSource& raw = *storage_.raw_source();
        for (const KeyTable* table : changed) {
            if (table->offset >= raw.size()) continue;
            const std::uint64_t length = std::min<std::uint64_t>(table->bytes.size(), raw.size() - table->offset);
            VDISK_TRY(bytes, read_bytes(raw, table->offset, length, "key table"));
            for (const auto& [place, id] : by_place_)
                if (place.table == table->index) seen_.erase(table->offset + place.offset);
            search({.source = RemnantSource::before_replay,
                    .bytes = bytes,
                    .file_offset = table->offset,
                    .table = table->index,
                    .how = fmt::format("in key table {} before the log was applied", table->index)});
        }
        return ok();
    }

    Result<void> search_log() {
        const ReplayLog& log = storage_.log();
        if (!storage_.log_applied())
            for (const LogEntry& entry : log.pending)
                VDISK_CHECK(search_log_entry(entry, RemnantSource::pending_log_entry));
        for (const LogEntry& entry : log.leftovers)
            VDISK_CHECK(search_log_entry(entry, RemnantSource::stale_log_entry));
        const HeaderCopy* header = storage_.headers().current();
        if (header == nullptr) return ok();
        const auto end = checked_add(header->log_offset, header->log_size);
        return search_space({header->log_offset, end.value_or(header->log_offset)}, RemnantSource::log_region,
                            "in the log, in no entry's data");
    }

    Result<void> search_log_entry(const LogEntry& entry, RemnantSource source) {
        if (!entry.good()) return ok();
        VDISK_TRY(bytes, read_bytes(*storage_.raw_source(), entry.data_offset, entry.length, "replay log data"));
        Image image{.source = source,
                    .bytes = bytes,
                    .file_offset = entry.data_offset,
                    .how = fmt::format("replay log entry at offset {}, to offset {}", entry.offset, entry.destination)};
        if (const KeyTable* table = table_at(entry.destination)) {
            image.table = table->index;
            image.table_offset = static_cast<std::uint32_t>(entry.destination - table->offset);
        }
        search(image);
        return ok();
    }

    Result<void> search_free_objects() {
        for (const Object& object : storage_.objects().objects) {
            if (object.type != ObjectType::free) continue;
            const auto end = checked_add(object.offset, std::uint64_t{object.size});
            VDISK_CHECK(search_space({object.offset, end.value_or(object.offset)}, RemnantSource::free_object,
                                     fmt::format("in the free object at offset {}", object.offset)));
        }
        return ok();
    }

    // Space without structure of its own, which may hold images of key tables at multiples of the least alignment.
    Result<void> search_space(Range range, RemnantSource source, const std::string& how) {
        const ByteSource& raw = *storage_.raw_source();
        range.end = std::min(range.end, raw.size());
        for (const Range part : take_unsearched(range)) {
            for (std::uint64_t at = part.start; at < part.end; at += kRemnantPiece) {
                const std::uint64_t length = std::min(kRemnantPiece + kOverlap, part.end - at);
                VDISK_TRY(bytes, read_bytes(raw, at, length, "unused space"));
                search_pages({.source = source, .bytes = bytes, .file_offset = at, .how = how});
            }
        }
        return ok();
    }

    // Cuts `space` where a key table's header stands, so that what follows it has a place.
    void search_pages(const Image& space) {
        std::size_t start = 0;
        Image part = space;
        for (std::size_t at = 0; at < space.bytes.size(); ++at) {
            at +=
                static_cast<std::size_t>(align_down(space.file_offset + at + kDefaultAlignment - 1, kDefaultAlignment) -
                                         (space.file_offset + at));
            if (at >= space.bytes.size()) break;
            const auto header = read_key_table_header(space.bytes.subspan(at), space.file_offset + at);
            if (!header || !header->header_good) continue;
            part.bytes = space.bytes.subspan(start, at - start);
            search(part);
            part = space;
            part.file_offset += at;
            part.table = header->index;
            part.how += fmt::format(", in an image of key table {} of sequence {}", header->index, header->sequence);
            start = at;
        }
        part.bytes = space.bytes.subspan(start);
        search(part);
    }

    // The parts of a range that were not searched before; they are from now on. Overlapping objects cost nothing twice.
    std::vector<Range> take_unsearched(Range range) {
        std::vector<Range> parts;
        std::uint64_t at = range.start;
        auto done = searched_.upper_bound(at); // ranges are apart: only the one before can reach beyond `at`
        if (done != searched_.begin()) --done;
        for (; done != searched_.end() && done->first < range.end; ++done) {
            if (done->second <= at) continue;
            if (done->first > at) parts.push_back({at, done->first});
            at = done->second;
        }
        if (at < range.end) parts.push_back({at, range.end});
        for (const Range part : parts) searched_.emplace(part.start, part.end);
        return parts;
    }

    void is_in_use(std::uint64_t offset, std::uint64_t length) {
        const auto end = checked_add(offset, length);
        if (end) (void)take_unsearched({offset, *end});
    }

    Result<void> search_unlisted_space() {
        const HeaderCopy* header = storage_.headers().current();
        is_in_use(0, kRootObjectTable + (header == nullptr ? kDefaultAlignment : header->alignment));
        for (const ObjectTable& table : storage_.objects().tables) is_in_use(table.offset, kDefaultAlignment);
        for (const KeyTable& table : storage_.key_tables().live) is_in_use(table.offset, table.bytes.size());
        for (const KeyTable& table : storage_.key_tables().superseded) is_in_use(table.offset, table.bytes.size());
        for (const Object& object : storage_.objects().objects)
            if (object.type == ObjectType::file_object) is_in_use(object.offset, object.size);
        for (const Key& key : storage_.keys())
            if (key.entry.pointer) is_in_use(key.entry.pointer->offset, key.entry.pointer->size);
        return search_space({0, storage_.raw_source()->size()}, RemnantSource::unlisted,
                            "in space that no object table lists");
    }

    Result<void> list_file_objects() {
        std::set<std::uint64_t> used;
        for (const Key& key : storage_.keys())
            if (key.entry.pointer) used.insert(key.entry.pointer->offset);
        for (const Object& object : storage_.objects().objects) {
            if (object.type != ObjectType::file_object || used.contains(object.offset) ||
                object.offset >= storage_.source()->size())
                continue;
            const std::uint64_t length =
                std::min<std::uint64_t>({kHead, object.size, storage_.source()->size() - object.offset});
            VDISK_TRY(bytes, read_bytes(*storage_.source(), object.offset, length, "file object"));
            keep({.source = RemnantSource::file_object,
                  .file_offset = object.offset,
                  .type = KeyType::array,
                  .value = bytes,
                  .pointer = FileObjectPointer{object.size, object.offset},
                  .how = fmt::format("file object of {} bytes that no key points to; its first bytes", object.size)});
        }
        return ok();
    }

    const Storage& storage_;
    std::unordered_set<std::uint64_t> live_;
    std::map<KeyPlace, KeyId> by_place_;
    std::unordered_set<std::uint64_t> seen_; // file offsets of what is live or found
    std::map<std::uint64_t, std::uint64_t> searched_;
    std::vector<Remnant> found_;
};

} // namespace

std::string_view to_string(RemnantSource source) noexcept {
    switch (source) {
    case RemnantSource::free_entry: return "free-entry";
    case RemnantSource::slack: return "slack";
    case RemnantSource::superseded_table: return "superseded-table";
    case RemnantSource::free_object: return "free-object";
    case RemnantSource::unlisted: return "unlisted";
    case RemnantSource::stale_log_entry: return "stale-log-entry";
    case RemnantSource::log_region: return "log-region";
    case RemnantSource::pending_log_entry: return "pending-log-entry";
    case RemnantSource::before_replay: return "before-replay";
    case RemnantSource::file_object: return "file-object";
    }
    return "unknown";
}

Result<std::vector<Remnant>> find_remnants(const Storage& storage) {
    return Collector(storage).run();
}

} // namespace vdisk::hyperv
