// SPDX-License-Identifier: Apache-2.0
#include "format/pbs/pbs.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"
#include "format/pbs/container.hpp"
#include "format/pbs/datastore.hpp"
#include "format/pbs/verify.hpp"

#include <array>

namespace vdisk {
namespace pbs {
namespace {

class IndexFile final : public DiskFile {
public:
    IndexFile(IndexDisk disk, const Limits& limits)
        : disk_(std::move(disk)), limits_(limits), disks_{Disk{.size = disk_.header().size}} {}

    const Format& format() const noexcept override { return kPbsFormat; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    std::vector<std::string_view> keys() const override {
        if (!disk_.takes_key()) return {"chunks"};
        return {"chunks", "key-file", "passphrase-file"};
    }
    Result<Layer> layer(std::size_t /*index*/) const override { return disk_.layer(); }
    Facts facts() const override { return disk_.facts(); }
    Result<AuditReport> audit(const AuditRequest& request) const override {
        AuditReport report(limits_);
        VDISK_CHECK(disk_.audit(request.progress, "", report));
        return report;
    }
    Result<AuditReport> verify(const Progress& progress) const override {
        const auto verifier = std::make_unique<Verifier>(limits_);
        VDISK_CHECK(verifier->verify(disk_, "", progress));
        return std::move(*verifier).result();
    }

private:
    IndexDisk disk_;
    Limits limits_;
    std::vector<Disk> disks_;
};

// Of the backup that the index of `context` lies in.
Result<Manifest> manifest_beside(const OpenContext& context) {
    if (context.file && context.file->is_given())
        return fail(ErrorKind::io, "{}: lies in no folder, so no manifest is beside it", context.file->name());
    VDISK_TRY(file, context.references->open_part(context.references->folders().front() / Manifest::kName));
    return Manifest::read(*file, context.limits);
}

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context) {
    if (context.file && context.file->is_folder()) return open_container(context);
    IndexPlace place{.file = std::move(source),
                     .name = context.file ? utf8(context.file->path().filename()) : std::string(),
                     .manifest = std::make_shared<const Result<Manifest>>(manifest_beside(context)),
                     .store = std::make_shared<const Result<ChunkStorePtr>>(ChunkStore::find(context))};
    VDISK_TRY(disk, IndexDisk::open(std::move(place), context));
    return std::shared_ptr<const DiskFile>(std::make_shared<IndexFile>(std::move(disk), context.limits));
}

constexpr std::array kSignatures{Signature{.magic = "\x2F\x7F\x41\xED\x91\xFD\x0F\xCD", .least_size = 8},
                                 Signature{.magic = "\x1C\x91\x4E\xA5\x19\xBA\xB3\xCD", .least_size = 8}};

} // namespace
} // namespace pbs

const Format kPbsFormat{.name = "pbs",
                        .description = "Backup in a datastore of Proxmox Backup Server (.fidx, .didx)",
                        .probe = nullptr,
                        .open = pbs::open,
                        .signatures = pbs::kSignatures,
                        .owns_folder = pbs::is_backup_folder};

} // namespace vdisk
