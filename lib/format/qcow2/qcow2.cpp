// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/qcow2.hpp"

#include "base/text.hpp"
#include "disk/backing_link.hpp"
#include "format/qcow2/audit.hpp"
#include "format/qcow2/bitmaps.hpp"
#include "format/qcow2/consistency.hpp"
#include "format/qcow2/encryption.hpp"
#include "format/qcow2/features.hpp"
#include "format/qcow2/snapshots.hpp"

#include <array>
#include <cstring>

namespace vdisk {
namespace qcow2 {
namespace {

std::vector<Disk> list_disks(const Header& header, const SnapshotTable& table) {
    std::vector<Disk> disks{Disk{.size = header.size}};
    for (const Snapshot& snapshot : table.snapshots) disks.push_back(describe_snapshot(snapshot));
    return disks;
}

// disks()[0] is the active state, disks()[i] the table's snapshot i - 1.
class Qcow2File final : public DiskFile {
public:
    Qcow2File(Header header, SnapshotTable table, SourcePtr source, OpenContext context)
        : header_(std::move(header)), table_(std::move(table)), source_(std::move(source)),
          context_(std::move(context)), disks_(list_disks(header_, table_)),
          of_header_(check_consistency(header_, *source_)) {}

    const Format& format() const noexcept override { return kQcow2Format; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    std::vector<std::string_view> keys() const override;
    Result<Layer> layer(std::size_t index) const override;
    std::vector<ParentLink> links() const override;
    Facts facts() const override;
    Result<SavedState> saved_state(std::size_t index) const override;
    Result<AuditReport> audit(const AuditRequest& request) const override;
    Result<DirtyBitmap> bitmap(std::string_view name) const override {
        return open_bitmap(source_, header_, name, context_.limits);
    }

private:
    Result<State> state(std::size_t index, std::vector<Remark>& remarks) const;
    Result<void> check_emptiness(const State& state) const;
    Consistency consistency(std::size_t index) const;
    Result<Layer> layer_of(const State& state) const;
    Result<FoundFile> open_data_file() const;
    std::optional<ParentLink> parent_link() const;
    void add_features(Facts& facts) const;
    std::vector<std::string> damage() const;

    Header header_;
    SnapshotTable table_;
    SourcePtr source_;
    OpenContext context_;
    std::vector<Disk> disks_;
    Consistency of_header_; // whichever state is asked for
};

Result<State> Qcow2File::state(std::size_t index, std::vector<Remark>& remarks) const {
    const State state = state_of(header_, table_, index);
    std::string context(source_->name());
    if (index > 0) context += fmt::format(": snapshot '{}'", shown_name(table_.snapshots[index - 1].id));
    // Every cluster of a data file has its one place there, which is the active state's.
    if (index > 0 && header_.has(kDataFile))
        return fail(ErrorKind::corrupt, "{}: an image with a data file can't have snapshots", context);
    if (state.disk_size > kMaxDiskSize)
        return fail(ErrorKind::corrupt, "{}: disk size is {}, beyond 2^62", context, state.disk_size);
    const auto [found, left_out] = consistency(index);
    remarks.insert(remarks.end(), left_out.begin(), left_out.end());
    if (!found.empty())
        return fail_at(found.front().at.value, ErrorKind::corrupt, "{}: {}", context, found.front().what);
    if (auto checked = check_emptiness(state); checked.has_error()) return std::move(checked).error().in(context);
    return state;
}

Consistency Qcow2File::consistency(std::size_t index) const {
    Consistency all = of_header_;
    const auto [found, left_out] = check_consistency(header_, table_, index, *source_);
    all.contradictions.insert(all.contradictions.end(), found.begin(), found.end());
    all.left_out.insert(all.left_out.end(), left_out.begin(), left_out.end());
    return all;
}

// Zeros at a wrong place look like an empty disk. Then all that the image holds is leaked, while a crash or a copy of
// an image in use leaves the clusters of one unfinished allocation at most: QEMU writes an L1 entry at once.
Result<void> Qcow2File::check_emptiness(const State& state) const {
    constexpr std::uint64_t kUnfinished = 2; // an L2 table and the cluster for it
    const auto empty = is_empty(header_, state, *source_);
    if (empty.has_error() || !empty.value() || header_.has(kDirty)) return ok(); // what can't be read is no zeros
    const auto report = audit({});
    if (report.has_error()) return ok(); // too large to tell
    const auto& counts = report.value().counts();
    const auto leaked = counts.find("leaked");
    if (leaked != counts.end() && leaked->second.number > kUnfinished)
        return fail_at(state.l1_table_offset, ErrorKind::corrupt,
                       "the L1 table at offset {} is empty, but nothing refers to {} clusters that are in use: "
                       "l1_table_offset is wrong, or the table is lost",
                       state.l1_table_offset, leaked->second.number);
    const HostRange table{HostOffset{state.l1_table_offset}, state.l1_size * sizeof(std::uint64_t)};
    for (const Finding& finding : report.value().findings())
        if (finding.kind == "overlap" && finding.place.host->value < table.offset.value + table.length &&
            finding.place.host->value + finding.place.length > table.offset.value)
            return fail_at(state.l1_table_offset, ErrorKind::corrupt, "the L1 table is empty, and {}", finding.text);
    return ok();
}

std::vector<std::string_view> Qcow2File::keys() const {
    std::vector<std::string_view> keys;
    if (header_.crypt_method != 0) keys.push_back("key-file");
    if (header_.has(kDataFile)) keys.insert(keys.end(), {"data-file", "root"});
    if (header_.backing_file) keys.insert(keys.end(), {"backing", "parent", "root"});
    return keys;
}

Result<Layer> Qcow2File::layer(std::size_t index) const {
    std::vector<Remark> remarks;
    VDISK_TRY(chosen, state(index, remarks));
    VDISK_TRY(layer, layer_of(chosen));
    layer.parent = parent_link();
    layer.remarks.insert(layer.remarks.begin(), remarks.begin(), remarks.end());
    return std::move(layer);
}

// Without a parent.
Result<Layer> Qcow2File::layer_of(const State& state) const {
    Layer layer(std::make_shared<const ClusterLayout>(header_, state, source_, context_.caches), {source_});
    VDISK_TRY(encryption, open_encryption(header_, source_, context_));
    layer.encryption = std::move(encryption);
    if (!header_.has(kDataFile)) return layer;
    VDISK_TRY(data, open_data_file());
    layer.files["data file used"] = data.file->name();
    if (!data.how.empty()) layer.files["data file found"] = data.how;
    layer.remarks = std::move(data.remarks);
    layer.sources.push_back(std::move(data.file));
    return layer;
}

Result<FoundFile> Qcow2File::open_data_file() const {
    const References& gate = *context_.references;
    if (context_.selector.data_file) {
        VDISK_TRY(given, gate.open_given(*context_.selector.data_file));
        return gate.joined(std::move(given));
    }
    if (!header_.data_file)
        return fail(ErrorKind::usage, "{}: needs an external data file, but names none; say data-file=PATH",
                    source_->name());
    auto found = gate.open(*header_.data_file);
    if (found.has_value()) found = gate.joined(std::move(found).value());
    if (found.has_error())
        return std::move(found).error().in(
            fmt::format("{}: data file '{}'", source_->name(), printable(*header_.data_file)));
    return found;
}

// "Snapshots", "Size of the VM state": it starts with the first L1 entry that holds nothing of the disk.
Result<SavedState> Qcow2File::saved_state(std::size_t index) const {
    if (index == 0) return fail(ErrorKind::usage, "machine states are saved with snapshots, and none is selected");
    const Snapshot& snapshot = table_.snapshots[index - 1];
    if (snapshot.vm_state_size == 0)
        return fail(ErrorKind::usage, "snapshot '{}' has no machine state", shown_name(snapshot.id));
    std::vector<Remark> remarks;
    VDISK_TRY(disk, state(index, remarks));
    const std::uint64_t start = *align_up(disk.disk_size, l1_entry_covers(header_)); // at most 2^62
    if (snapshot.vm_state_size > kMaxDiskSize)
        return fail(ErrorKind::corrupt, "snapshot '{}': vm state size is {}, beyond 2^62", shown_name(snapshot.id),
                    snapshot.vm_state_size);
    State reaching = disk;
    reaching.disk_size = start + snapshot.vm_state_size;
    VDISK_TRY(layer, layer_of(reaching));
    layer.remarks.insert(layer.remarks.begin(), remarks.begin(), remarks.end());
    return SavedState{.layer = std::move(layer), .start = GuestOffset{start}, .size = snapshot.vm_state_size};
}

Result<AuditReport> Qcow2File::audit(const AuditRequest& request) const {
    return qcow2::audit({.header = header_, .snapshots = table_, .file = source_, .context = context_},
                        request.progress);
}

std::optional<ParentLink> Qcow2File::parent_link() const {
    if (!header_.backing_file) return std::nullopt;
    return backing_link(*header_.backing_file, header_.backing_format);
}

std::vector<ParentLink> Qcow2File::links() const {
    std::vector<ParentLink> links;
    if (auto parent = parent_link()) links.push_back(std::move(*parent));
    if (header_.data_file)
        links.push_back({.described = "data file",
                         .format = "raw",
                         .locate = [name = *header_.data_file](const References& gate) { return gate.open(name); }});
    return links;
}

Facts Qcow2File::facts() const {
    Facts facts = Facts::object();
    facts["version"] = header_.version;
    facts["cluster size"] = header_.cluster_size();
    facts["compression"] = header_.codec == Codec::zstd ? "zstd" : "zlib";
    facts["refcount bits"] = 1U << header_.refcount_order;
    if (Facts encryption = describe_encryption(header_, source_); !encryption.is_null())
        facts["encryption"] = std::move(encryption);
    if (header_.backing_file) facts["backing file"] = printable(*header_.backing_file);
    if (!header_.backing_format.empty()) facts["backing format"] = printable(header_.backing_format);
    if (header_.data_file) facts["data file"] = printable(*header_.data_file);
    if (header_.has(kDirty)) facts["dirty"] = true;
    if (header_.has(kCorrupt)) facts["marked corrupt"] = true;
    add_features(facts);
    if (const auto extensions = unknown_extensions(header_); !extensions.empty())
        facts["unknown header extensions"] = extensions;
    facts["snapshots"] = header_.nb_snapshots;
    if (Facts bitmaps = describe_bitmaps(source_, header_, context_.limits); !bitmaps.is_null())
        facts["bitmaps"] = std::move(bitmaps);
    if (const auto found = damage(); !found.empty()) facts["damage"] = found;
    return facts;
}

void Qcow2File::add_features(Facts& facts) const {
    const auto add = [&](std::string_view key, FeatureType type, std::uint64_t bits) {
        if (bits != 0) facts[key] = feature_names(*source_, header_, type, bits);
    };
    add("incompatible features", FeatureType::incompatible, header_.incompatible_features);
    add("compatible features", FeatureType::compatible, header_.compatible_features);
    add("autoclear features", FeatureType::autoclear, header_.autoclear_features);
}

std::vector<std::string> Qcow2File::damage() const {
    std::vector<std::string> found;
    const std::uint64_t entries = div_ceil(header_.size, l1_entry_covers(header_));
    if (header_.l1_size < entries)
        found.push_back(fmt::format("l1_size is {}, but the disk's size needs {} entries", header_.l1_size, entries));
    if (table_.damage) found.push_back(table_.damage->what);
    const Consistency all = consistency(0);
    for (const Contradiction& one : all.contradictions) found.push_back(one.what);
    for (const std::string& doubt : doubts_of(all.left_out)) found.push_back(doubt);
    if (!header_.has(kDataFile) && (header_.autoclear_features & kDataFileRaw) != 0)
        found.emplace_back("autoclear_features says that the external data file is raw, but there is none");
    return found;
}

constexpr std::array kSignatures{Signature{.magic = "QFI\xFB"}};

// Version 1 is another format under the same magic.
Match probe(std::span<const std::byte> head, const ByteSource& /*source*/) {
    big_uint32_buf_t version;
    if (head.size() < sizeof(kMagic) + sizeof version) return Match::no;
    std::memcpy(&version, head.data() + sizeof(kMagic), sizeof version);
    return version.value() >= 2 ? Match::sure : Match::no;
}

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context) {
    VDISK_TRY(header, Header::parse(*source));
    SnapshotTable table = read_snapshots(*source, header, context.limits);
    return std::shared_ptr<const DiskFile>(
        std::make_shared<Qcow2File>(std::move(header), std::move(table), std::move(source), context));
}

} // namespace
} // namespace qcow2

const Format kQcow2Format{.name = "qcow2",
                          .description = "QEMU copy-on-write (qcow2)",
                          .probe = qcow2::probe,
                          .open = qcow2::open,
                          .signatures = qcow2::kSignatures};

} // namespace vdisk
