// SPDX-License-Identifier: Apache-2.0
#include "diff_files/changes.hpp"

#include "base/checked.hpp"
#include "common/progress_bar.hpp"

#include <algorithm>
#include <set>

namespace vdisk::diff_files {
namespace {

// What stays the same of a file that gets another name.
struct Identity {
    std::uint64_t number = 0, sequence = 0;
    FileTime created{};
    std::int64_t size = -1; // where the rest could be that of another file too
    FileTime modified{};
    friend auto operator<=>(const Identity&, const Identity&) = default;
};

// A FAT's numbers are places of names; what stays is where the content begins. A number is given to the next file when
// one was deleted, which the time of creation tells where the file system has one.
std::optional<Identity> identity_of(const FileSystem& system, const FileRecord& record) {
    if (record.is_stream()) return std::nullopt; // goes with its file
    const bool fat = TSK_FS_TYPE_ISFAT(system.info().ftype);
    if (fat && record.first_block == 0) return std::nullopt;
    Identity identity{.number = fat ? record.first_block : record.inode,
                      .sequence = record.sequence,
                      .created = record.created,
                      .size = -1,
                      .modified = {}};
    if (!fat && record.created != FileTime{}) return identity;
    identity.size = record.size;
    identity.modified = record.modified;
    return identity;
}

const Files& files_of(const FileSystem* system) {
    static const Files none;
    return system == nullptr ? none : system->files();
}

class Comparison {
public:
    Comparison(FileSystem* before, FileSystem* after, const ChangedRanges& changed)
        : before_(before), after_(after), changed_(changed) {}

    std::vector<Change> all() {
        for (const auto& [path, record] : files_of(before_))
            if (!files_of(after_).contains(path)) gone_.insert(path);
        find_identities();
        tools::ProgressBar bar("comparing files");
        std::uint64_t done = 0;
        for (const auto& [path, record] : files_of(after_)) {
            bar.update(done++, files_of(after_).size());
            const auto old = files_of(before_).find(path);
            if (old != files_of(before_).end()) compare(path, path, old->second, record);
            else appear(path, record);
        }
        for (const std::string& path : gone_)
            found_.push_back({.kind = Change::Kind::deleted, .path = path, .before = files_of(before_).at(path)});
        std::ranges::sort(found_, {}, &Change::path);
        return std::move(found_);
    }

private:
    void find_identities() {
        for (const std::string& path : gone_)
            if (const auto identity = identity_of(*before_, files_of(before_).at(path)))
                by_identity_.emplace(*identity, path);
    }

    void appear(const std::string& path, const FileRecord& record) {
        const auto identity = identity_of(*after_, record);
        const auto old = identity ? by_identity_.find(*identity) : by_identity_.end();
        if (old == by_identity_.end()) {
            found_.push_back({.kind = Change::Kind::created, .path = path, .after = record});
            return;
        }
        const std::string old_path = old->second;
        by_identity_.erase(old);
        gone_.erase(old_path);
        compare(old_path, path, files_of(before_).at(old_path), record);
    }

    void compare(const std::string& old_path, const std::string& path, const FileRecord& a, const FileRecord& b) {
        const bool renamed = old_path != path;
        Change change{.kind = renamed ? Change::Kind::renamed : Change::Kind::changed, .path = path};
        if (renamed) change.old_path = old_path;
        const bool fat = TSK_FS_TYPE_ISFAT(after_->info().ftype);
        change.replaced = !fat && (a.inode != b.inode || a.sequence != b.sequence);
        change.size = a.size != b.size;
        change.times =
            a.modified != b.modified || a.changed != b.changed || a.created != b.created || a.accessed != b.accessed;
        change.attributes = a.mode != b.mode || a.owner != b.owner || a.group != b.group || a.type != b.type;
        if (a.type == b.type && a.type == TSK_FS_META_TYPE_REG && !change.size)
            look_at_content({before_, &a}, {after_, &b}, change);
        else change.content = b.type == TSK_FS_META_TYPE_REG && change.size;
        if (!renamed && words_of(change).empty()) return;
        change.before = a;
        change.after = b;
        found_.push_back(std::move(change));
    }

    void look_at_content(PlacedFile a, PlacedFile b, Change& change) const {
        switch (compare_content(a, b, changed_)) {
        case Content::same: return;
        case Content::different: change.content = true; return;
        case Content::unreadable: change.unreadable = true; return;
        }
    }

    FileSystem* before_;
    FileSystem* after_;
    const ChangedRanges& changed_;
    std::set<std::string> gone_;
    std::multimap<Identity, std::string> by_identity_;
    std::vector<Change> found_;
};

// Collects blocks into areas.
struct Collector {
    FileSystem& system;
    std::vector<Area>& areas;

    static TSK_WALK_RET_ENUM take(const TSK_FS_BLOCK* block, void* self) {
        auto& collector = *static_cast<Collector*>(self);
        const auto flags = static_cast<unsigned>(block->flags);
        const Area::Kind kind = (flags & TSK_FS_BLOCK_FLAG_UNALLOC) != 0 ? Area::Kind::unallocated
                                : (flags & TSK_FS_BLOCK_FLAG_META) != 0  ? Area::Kind::metadata
                                                                         : Area::Kind::allocated;
        const std::uint64_t length = collector.system.info().block_size;
        collector.add({kind, collector.system.offset() + block->addr * length, length});
        return TSK_WALK_CONT;
    }

    void add(Area next) {
        if (!areas.empty() && areas.back().kind == next.kind && areas.back().start + areas.back().length == next.start)
            areas.back().length += next.length;
        else areas.push_back(next);
    }
};

} // namespace

bool Change::is_hidden() const noexcept {
    return kind != Kind::created && kind != Kind::deleted && content && !size && !replaced &&
           before->modified == after->modified;
}

std::string_view to_string(Change::Kind kind) {
    switch (kind) {
    case Change::Kind::created: return "created";
    case Change::Kind::deleted: return "deleted";
    case Change::Kind::renamed: return "renamed";
    case Change::Kind::changed: return "changed";
    }
    return "changed";
}

std::vector<std::string_view> words_of(const Change& change) {
    std::vector<std::string_view> words;
    if (change.content) words.push_back("content");
    if (change.size) words.push_back("size");
    if (change.times) words.push_back("times");
    if (change.attributes) words.push_back("attributes");
    if (change.replaced) words.push_back("replaced");
    if (change.before && change.after && change.is_hidden()) words.push_back("hidden");
    if (change.unreadable) words.push_back("unreadable");
    return words;
}

std::vector<Change> changes_between(FileSystem* before, FileSystem* after, const ChangedRanges& changed) {
    return Comparison(before, after, changed).all();
}

std::string_view to_string(Area::Kind kind) {
    switch (kind) {
    case Area::Kind::unallocated: return "unallocated";
    case Area::Kind::metadata: return "metadata";
    case Area::Kind::allocated: return "allocated";
    case Area::Kind::outside: return "outside";
    }
    return "outside";
}

std::vector<Area> changed_areas(FileSystem& after, const ChangedRanges& changed, std::vector<std::string>& problems) {
    constexpr auto kAll = static_cast<TSK_FS_BLOCK_WALK_FLAG_ENUM>(
        TSK_FS_BLOCK_WALK_FLAG_ALLOC | TSK_FS_BLOCK_WALK_FLAG_UNALLOC | TSK_FS_BLOCK_WALK_FLAG_CONT |
        TSK_FS_BLOCK_WALK_FLAG_META | TSK_FS_BLOCK_WALK_FLAG_AONLY);
    std::vector<Area> areas;
    Collector collector{after, areas};
    const TSK_FS_INFO& info = after.info();
    std::uint64_t next = info.first_block;
    tools::ProgressBar bar("looking at changed blocks");
    std::uint64_t done = 0;
    for (const ChangedRanges::Range& range : changed.ranges()) {
        bar.update(done++, changed.ranges().size());
        const std::uint64_t start = std::max(range.start, after.offset());
        const std::uint64_t end = std::min(range.end, after.end());
        if (start >= end) continue;
        const std::uint64_t first = std::max(next, (start - after.offset()) / info.block_size);
        const std::uint64_t last =
            std::min<std::uint64_t>(info.last_block, (end - 1 - after.offset()) / info.block_size);
        if (first > last) continue;
        const std::uint64_t failed = after.disk().failures();
        if (::tsk_fs_block_walk(&after.info(), first, last, kAll, &Collector::take, &collector) != 0 ||
            after.disk().failures() != failed)
            problems.push_back(fmt::format("what changed in blocks {} to {} is not known: it can't be read which of "
                                           "them are in use",
                                           first, last));
        ::tsk_error_reset();
        next = last + 1;
    }
    return areas;
}

} // namespace vdisk::diff_files
