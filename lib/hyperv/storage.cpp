// SPDX-License-Identifier: Apache-2.0
#include "hyperv/storage.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace vdisk::hyperv {
namespace {

// The text of Windows Server 2008 to 2012, in the encodings that it comes in.
bool is_xml(std::span<const std::byte> head) {
    const std::string_view text = as_text(head);
    using namespace std::string_view_literals;
    return text.starts_with("\xFF\xFE<\0"sv) || text.starts_with("\xFE\xFF\0<"sv) || text.starts_with("<\0?\0"sv) ||
           text.starts_with("<?xml"sv) || text.starts_with("\xEF\xBB\xBF<?xml"sv);
}

std::string version_text(std::uint32_t version) {
    return fmt::format("{:#06x} ({}.{})", version, version >> 8, version & 0xFF);
}

std::string_view describe(FindingKind kind) {
    if (kind == FindingKind::name_range) return "its name runs past the entry; it is left out";
    if (kind == FindingKind::name_unterminated) return "its name does not end with NUL";
    if (kind == FindingKind::name_utf8) return "its name is not UTF-8";
    if (kind == FindingKind::entry_checksum) return "checksum mismatch";
    if (kind == FindingKind::value_range) return "its value runs past the entry";
    if (kind == FindingKind::unknown_key_type) return "its type is not defined";
    return "the entry's size is impossible";
}

} // namespace

Result<StoragePtr> Storage::open(SourcePtr source, const ReadOptions& options) {
    const std::shared_ptr<Storage> storage(new Storage(std::move(source), options));
    VDISK_CHECK(storage->load());
    return StoragePtr(storage);
}

Result<void> Storage::load() {
    VDISK_TRY(headers, read_headers(*raw_));
    headers_ = headers;
    VDISK_CHECK(recognise());
    judge_headers(headers_, findings_);
    VDISK_CHECK(load_log());
    VDISK_CHECK(load_tables());
    for (std::uint32_t table = 0; table < tables_.live.size(); ++table) load_keys(table);
    judge_entries();
    tree_ = Tree::build(keys_, tables_.live, findings_);
    return ok();
}

Result<void> Storage::recognise() const {
    const auto name = printable(raw_->name());
    if (raw_->size() == 0) return fail(ErrorKind::not_this_format, "{}: empty file", name);
    std::array<std::byte, 16> head{};
    VDISK_TRY(got, raw_->read_at(0, head));
    if (is_xml(std::span(head).first(got)))
        return fail(ErrorKind::not_this_format,
                    "{}: not a HyperVStorage file but XML text, as Windows Server 2008 to 2012 configure machines with",
                    name);
    if (as_text(std::span(head).first(got)).starts_with("GUESTRTS"))
        return fail(ErrorKind::not_this_format,
                    "{}: not a HyperVStorage file but a guest state, which 'hvconfig guest-state' reads", name);
    if (const HeaderCopy* header = headers_.current()) {
        if (raw_->size() <= kRootObjectTable)
            return fail_at(kRootObjectTable, ErrorKind::truncated,
                           "{}: the file ends at {}, before the object table at offset {}", name, raw_->size(),
                           kRootObjectTable);
        if (header->version != kFormatVersion && !options_.best_effort)
            return fail_at(header->offset, ErrorKind::unsupported, "{}: format version {}; only {} is known", name,
                           version_text(header->version), version_text(kFormatVersion));
        return ok();
    }
    VDISK_TRY(has_table, has_root_object_table(*raw_));
    if (has_table) return ok();
    if (headers_.copies[0].signature_good || headers_.copies[1].signature_good)
        return fail_at(0, ErrorKind::corrupt,
                       "{}: no header copy with a good checksum, and no object table at offset {}", name,
                       kRootObjectTable);
    return fail(ErrorKind::not_this_format, "{}: not a HyperVStorage file", name);
}

Result<void> Storage::load_log() {
    const HeaderCopy* header = headers_.current();
    if (header == nullptr) return ok();
    if (header->version != kFormatVersion)
        findings_.add(FindingKind::format_version, header->offset, "format version {} is read as if it were {}",
                      version_text(header->version), version_text(kFormatVersion));
    const LogPlace place{
        .offset = header->log_offset, .header_size = header->log_header_size, .alignment = header->alignment};
    VDISK_TRY(log, read_replay_log(*raw_, place, findings_));
    log_ = std::move(log);
    if (options_.replay) source_ = replayed(raw_, log_);
    return ok();
}

Result<void> Storage::load_tables() {
    const HeaderCopy* header = headers_.current();
    VDISK_TRY(objects, read_object_tables(*source_, header == nullptr ? 0 : header->alignment, findings_));
    objects_ = std::move(objects);
    for (const Object& object : objects_.objects) {
        if (object.type != ObjectType::file_object) continue;
        std::uint32_t& size = file_objects_[object.offset];
        size = std::max(size, object.size);
    }
    KeyTableOptions options{.best_effort = options_.best_effort};
    if (header != nullptr) {
        options.log_offset = header->log_offset;
        options.log_size = header->log_size;
    }
    VDISK_TRY(tables, read_key_tables(*source_, objects_.objects, options, findings_));
    tables_ = std::move(tables);
    return ok();
}

void Storage::load_keys(std::uint32_t number) {
    const KeyTable& table = tables_.live[number];
    const bool search = options_.best_effort && table.listed;
    EntryWalk walk = walk_entries(table.bytes, kFirstEntry,
                                  {.damage = search ? Damage::search : Damage::stop, .truncated = table.truncated});
    if (!table.listed) { // its extent is a guess: it ends where an entry does not verify
        const auto end = std::find_if(walk.entries.begin(), walk.entries.end(), [](const KeyEntry& entry) {
            return entry.type != KeyType::free && entry.faults.has(FindingKind::entry_checksum);
        });
        walk.entries.erase(end, walk.entries.end());
        walk.findings.clear();
        walk.stopped_by.reset();
    }
    for (const Finding& finding : walk.findings)
        findings_.add(finding.kind, table.offset + finding.offset, "key table {} offset {}: {}", table.index,
                      finding.offset, finding.what);
    if (walk.stopped_by == FindingKind::table_tail)
        findings_.add(FindingKind::table_tail, table.offset + walk.end,
                      "key table {}: {} bytes are left behind its last entry", table.index,
                      table.bytes.size() - walk.end);
    take_entries(number, walk.entries);
}

void Storage::take_entries(std::uint32_t table, std::vector<KeyEntry>& entries) {
    for (KeyEntry& entry : entries) {
        if (entry.type == KeyType::free) continue;
        if (entry.placeable()) keys_.push_back({entry, table});
        else
            findings_.add(FindingKind::name_range, tables_.live[table].offset + entry.offset,
                          "key table {} offset {}: {}", tables_.live[table].index, entry.offset,
                          describe(FindingKind::name_range));
    }
}

void Storage::judge_entries() {
    for (KeyId id = 0; id < keys_.size(); ++id) {
        if (keys_[id].entry.pointer) judge_pointer(id);
        if (keys_[id].entry.faults.empty()) continue;
        const std::uint64_t offset = table_of(id).offset + keys_[id].entry.offset;
        for (const FindingKind kind : keys_[id].entry.faults.list()) {
            const bool told = kind == FindingKind::file_object_range || kind == FindingKind::entry_size_bad ||
                              kind == FindingKind::entry_size_zero;
            if (!told)
                findings_.add(
                    {kind, offset, fmt::format("\"{}\": {}", shown_name(keys_[id].entry.name), describe(kind)), id});
        }
    }
}

void Storage::judge_pointer(KeyId id) {
    KeyEntry& entry = keys_[id].entry;
    const auto [size, offset] = *entry.pointer;
    if (size == 0) return;
    const auto add = [&](FindingKind kind, const std::string& what) {
        findings_.add(
            {kind, table_of(id).offset + entry.offset, fmt::format("\"{}\": {}", shown_name(entry.name), what), id});
    };
    if (!fits(offset, size, source_->size())) {
        entry.faults.add(FindingKind::file_object_range);
        add(FindingKind::file_object_range,
            fmt::format("only {} of {} bytes at offset {} are inside the file", value_size(id), size, offset));
    }
    const auto listed = file_objects_.find(offset);
    if (listed == file_objects_.end()) {
        add(FindingKind::file_object_unlisted,
            fmt::format("no object table lists the file object at offset {} that it points to", offset));
    } else if (size > listed->second) {
        add(FindingKind::file_object_size,
            fmt::format("{} bytes in a file object of {} bytes at offset {}", size, listed->second, offset));
    }
}

std::uint64_t Storage::told_size() const noexcept {
    std::uint64_t end = 0;
    const auto reach = [&end](std::uint64_t offset, std::uint64_t size) {
        const auto behind = checked_add(offset, size);
        end = std::max(end, behind ? *behind : ~std::uint64_t{0});
    };
    if (const HeaderCopy* header = headers_.current()) reach(header->log_offset, header->log_size);
    for (const Object& object : objects_.objects)
        if (object.checksum_good) reach(object.offset, object.size);
    return end;
}

std::uint64_t Storage::value_size(KeyId id) const {
    const KeyEntry& entry = keys_[id].entry;
    if (!entry.pointer) return entry.data.size();
    const std::uint64_t size = source_->size();
    return entry.pointer->offset >= size ? 0
                                         : std::min<std::uint64_t>(entry.pointer->size, size - entry.pointer->offset);
}

Result<std::size_t> Storage::read_value(KeyId id, std::uint64_t offset, std::span<std::byte> out) const {
    const std::uint64_t size = value_size(id);
    if (offset >= size) return std::size_t{0};
    out = out.first(static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size - offset)));
    const KeyEntry& entry = keys_[id].entry;
    if (entry.pointer) {
        VDISK_CHECK(read_exact(*source_, entry.pointer->offset + offset, out));
    } else if (!out.empty()) {
        std::memcpy(out.data(), entry.data.data() + offset, out.size());
    }
    return out.size();
}

Result<std::vector<std::byte>> Storage::value(KeyId id) const {
    std::vector<std::byte> bytes(static_cast<std::size_t>(value_size(id)));
    VDISK_CHECK(read_value(id, 0, bytes));
    return bytes;
}

} // namespace vdisk::hyperv
