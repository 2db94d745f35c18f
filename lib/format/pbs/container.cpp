// SPDX-License-Identifier: Apache-2.0
#include "format/pbs/container.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"
#include "disk/passphrase.hpp"
#include "format/pbs/catalog.hpp"
#include "format/pbs/datastore.hpp"
#include "format/pbs/pbs.hpp"
#include "format/pbs/verify.hpp"

#include <algorithm>

namespace vdisk::pbs {
namespace {

using StorePtr = std::shared_ptr<const Result<ChunkStorePtr>>;

// Firmware variables and TPM state: disks that nobody means who does not name them.
bool is_side_disk(std::string_view name) {
    return name.find("efidisk") != std::string_view::npos || name.find("tpmstate") != std::string_view::npos;
}

std::string without(std::string_view name, std::initializer_list<std::string_view> ends) {
    for (const std::string_view end : ends)
        if (name.ends_with(end)) return std::string(name.substr(0, name.size() - end.size()));
    return std::string(name);
}

class Container final : public DiskFile {
public:
    Container(Listing listing, FolderPtr folder, StorePtr store, const OpenContext& context)
        : listing_(std::move(listing)), folder_(std::move(folder)), store_(std::move(store)), context_(context) {
        for (std::size_t i = 0; i < listing_.snapshots.size(); ++i)
            for (const std::string& name : listing_.snapshots[i].disks) add(i, name);
    }

    const Format& format() const noexcept override { return kPbsFormat; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    std::vector<std::string_view> keys() const override { return {"chunks", "key-file", "passphrase-file"}; }
    Result<Layer> layer(std::size_t index) const override {
        VDISK_TRY(disk, open(index));
        return disk.layer();
    }
    Facts facts() const override;
    Result<std::vector<Configuration>> configurations() const override;
    Result<AuditReport> audit(const AuditRequest& request) const override;
    Result<AuditReport> verify(const Progress& progress) const override;

private:
    struct Place {
        std::size_t snapshot;
        std::string name;
    };

    void add(std::size_t snapshot, const std::string& name);
    Result<IndexDisk> open(std::size_t index) const;
    Configuration configuration(const Snapshot& snapshot, const std::string& name, const Result<KeyPtr>& key) const;
    Configuration catalog(const Snapshot& snapshot, const std::string& name) const;
    bool is_one_snapshot() const noexcept {
        return listing_.snapshots.size() == 1 && listing_.snapshots.front().name.empty();
    }

    Listing listing_;
    FolderPtr folder_;
    StorePtr store_;
    OpenContext context_;
    std::vector<Disk> disks_;
    std::vector<Place> places_; ///< of each
};

// The header alone is read: a datastore has thousands.
void Container::add(std::size_t number, const std::string& name) {
    const Snapshot& snapshot = listing_.snapshots[number];
    Disk disk{.kind = Disk::Kind::device,
              .name = snapshot.path_of(without(name, {".img.fidx", ".fidx"})),
              .id = snapshot.path_of(name),
              .chosen_by_default = !is_side_disk(name)};
    const auto read = [&]() -> Result<IndexHeader> {
        VDISK_TRY(file, snapshot.folder->file(name));
        return IndexHeader::read(*file, context_.limits);
    };
    const auto header = read();
    if (header.has_value()) disk.size = header.value().size;
    else disk.facts["unreadable"] = header.error().what;
    if (snapshot.manifest->has_value()) {
        const Manifest& manifest = snapshot.manifest->value();
        if (manifest.time) disk.facts["time"] = utc_time(*manifest.time);
        if (const Manifest::File* const file = manifest.find(name))
            disk.facts["crypt mode"] = printable(file->crypt_mode);
        if (!manifest.verify_state.empty()) disk.facts["verification"] = printable(manifest.verify_state);
    }
    disks_.push_back(std::move(disk));
    places_.push_back({number, name});
}

Result<IndexDisk> Container::open(std::size_t index) const {
    const Place& place = places_[index];
    const Snapshot& snapshot = listing_.snapshots[place.snapshot];
    VDISK_TRY(file, snapshot.folder->file(place.name));
    return IndexDisk::open({.file = file, .name = place.name, .manifest = snapshot.manifest, .store = store_},
                           context_);
}

Facts describe(const Snapshot& snapshot) {
    Facts facts = Facts::object();
    if (!snapshot.name.empty()) facts["name"] = printable(snapshot.name);
    if (snapshot.manifest->has_value()) facts.update(snapshot.manifest->value().facts());
    else facts["manifest"] = snapshot.manifest->error().what;
    facts["protected"] = snapshot.is_protected;
    for (const std::string& name : snapshot.archives)
        facts["archives"].push_back(Facts{{"name", printable(name)}, {"what", kind_of_archive(name)}});
    for (const std::string& name : snapshot.unfinished) facts["unfinished"].push_back(printable(name));
    return facts;
}

// What the manifest of a snapshot lists and what is there.
void compare(const Snapshot& snapshot, Facts& problems) {
    if (snapshot.manifest->has_error()) return;
    for (const Manifest::File& file : snapshot.manifest->value().files)
        if (!snapshot.folder->kind_of(file.name))
            problems.push_back(fmt::format("{}the manifest lists '{}', which is not there",
                                           snapshot.name.empty() ? "" : printable(snapshot.name) + ": ",
                                           shown_name(file.name)));
}

Facts Container::facts() const {
    Facts facts = Facts::object();
    Facts problems = Facts::array();
    if (is_one_snapshot()) facts.update(describe(listing_.snapshots.front()));
    else
        for (const Snapshot& snapshot : listing_.snapshots) facts["snapshots"].push_back(describe(snapshot));
    for (const Group& group : listing_.groups) {
        Facts told = Facts::object();
        if (!group.name.empty()) told["name"] = printable(group.name);
        if (!group.owner.empty()) told["owner"] = printable(group.owner);
        if (!group.notes.empty()) told["notes"] = printable(group.notes);
        facts["groups"].push_back(std::move(told));
    }
    if (store_->has_value()) facts["chunk store"] = printable(utf8(store_->value()->path()));
    for (const std::string& problem : listing_.problems) problems.push_back(problem);
    for (const Snapshot& snapshot : listing_.snapshots) compare(snapshot, problems);
    if (store_->has_error()) problems.push_back(store_->error().what);
    if (!problems.empty()) facts["problems"] = std::move(problems);
    return facts;
}

Configuration Container::configuration(const Snapshot& snapshot, const std::string& name,
                                       const Result<KeyPtr>& key) const {
    Configuration configuration{.name = without(name, {".blob"}),
                                .is_main = name == "qemu-server.conf.blob" || name == "pct.conf.blob"};
    const auto read = [&]() -> Result<std::string> {
        VDISK_TRY(file, snapshot.folder->file(name));
        return read_blob(*file, key.has_value() ? key.value().get() : nullptr, context_.limits.chunk_bytes);
    };
    auto text = read();
    if (text.has_value()) configuration.data = std::move(text).value();
    else if (text.error().kind == ErrorKind::usage && key.has_error()) configuration.problem = key.error().what;
    else configuration.problem = text.error().what;
    return configuration;
}

// What the catalog of an archive lists, as text.
Configuration Container::catalog(const Snapshot& snapshot, const std::string& name) const {
    Configuration configuration{.name = without(name, {".didx"})};
    const auto list = [&]() -> Result<Catalog> {
        VDISK_TRY(file, snapshot.folder->file(name));
        VDISK_TRY(index, IndexDisk::open({.file = file, .name = name, .manifest = snapshot.manifest, .store = store_},
                                         context_));
        VDISK_TRY(layer, index.layer());
        return list_catalog(*layer.sources.front(), context_.limits);
    };
    auto listed = list();
    if (listed.has_error()) configuration.problem = listed.error().what;
    else {
        configuration.data = std::move(listed.value().text);
        configuration.problem = std::move(listed.value().problem);
    }
    return configuration;
}

Result<std::vector<Configuration>> Container::configurations() const {
    if (!is_one_snapshot())
        return fail(ErrorKind::unsupported, "configurations are read from one snapshot: name its folder");
    const Snapshot& snapshot = listing_.snapshots.front();
    const auto wanted = snapshot.manifest->has_value() ? snapshot.manifest->value().fingerprint : std::nullopt;
    const Result<KeyPtr> key = is_given(kKeyFile, context_) ? read_key(context_, wanted) : Result<KeyPtr>(KeyPtr());
    std::vector<Configuration> configurations;
    for (const std::string& name : snapshot.blobs) configurations.push_back(configuration(snapshot, name, key));
    for (const std::string& name : snapshot.archives)
        if (name.ends_with(".pcat1.didx")) configurations.push_back(catalog(snapshot, name));
    return configurations;
}

Result<AuditReport> Container::audit(const AuditRequest& request) const {
    AuditReport report(context_.limits);
    for (const std::string& problem : listing_.problems) report.add(Severity::error, "not-listed", {}, "{}", problem);
    for (std::size_t i = 0; i < disks_.size(); ++i) {
        const std::string name = shown_name(disks_[i].name);
        const auto disk = open(i);
        if (disk.has_error()) report.add(Severity::error, "not-opened", {.disk = name}, "{}", disk.error().what);
        else VDISK_CHECK(disk.value().audit(request.progress, name, report));
    }
    return report;
}

// The selected disk, else all of them: each chunk once.
Result<AuditReport> Container::verify(const Progress& progress) const {
    const auto verifier = std::make_unique<Verifier>(context_.limits);
    for (std::size_t i = 0; i < disks_.size(); ++i) {
        const std::string name = shown_name(disks_[i].name);
        const auto& chosen = context_.selector.word ? context_.selector.word : context_.selector.device;
        if (chosen && disks_[i].name != *chosen && disks_[i].id != *chosen) continue;
        const auto disk = open(i);
        if (disk.has_error()) {
            verifier->report().add(Severity::error, "not-opened", {.disk = name}, "{}", disk.error().what);
            continue;
        }
        const auto verified = verifier->verify(disk.value(), name, progress);
        if (verified.has_error() && verified.error().kind == ErrorKind::cancelled) return Error(verified.error());
        if (verified.has_error())
            verifier->report().add(Severity::error, "not-opened", {.disk = name}, "{}", verified.error().what);
    }
    return std::move(*verifier).result();
}

} // namespace

Result<std::shared_ptr<const DiskFile>> open_container(const OpenContext& context) {
    VDISK_TRY(folder, context.references->open_folder(context.file->path()));
    VDISK_TRY(listing, list_backups(folder, context.limits));
    auto store = std::make_shared<const Result<ChunkStorePtr>>(ChunkStore::find(context));
    return std::shared_ptr<const DiskFile>(
        std::make_shared<Container>(std::move(listing), std::move(folder), std::move(store), context));
}

} // namespace vdisk::pbs
