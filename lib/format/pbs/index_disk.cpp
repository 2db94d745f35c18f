// SPDX-License-Identifier: Apache-2.0
#include "format/pbs/index_disk.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"
#include "disk/passphrase.hpp"
#include "format/pbs/datastore.hpp"

namespace vdisk::pbs {
namespace {

// Chunks that are looked at to see whether a disk is encrypted of which nothing says it.
constexpr std::uint64_t kChunksLookedAt = 16;

} // namespace

const Manifest* IndexDisk::manifest() const noexcept {
    return place_.manifest->has_value() ? &place_.manifest->value() : nullptr;
}

const Manifest::File* IndexDisk::claim() const noexcept {
    return manifest() == nullptr ? nullptr : manifest()->find(place_.name);
}

Result<IndexDisk> IndexDisk::open(IndexPlace place, const OpenContext& context) {
    IndexDisk disk(std::move(place), context);
    VDISK_TRY(header, IndexHeader::read(*disk.place_.file, context.limits));
    disk.header_ = header;
    VDISK_TRY(survey, IndexSurvey::of(*disk.place_.file, header));
    for (std::string& problem : header.problems(disk.place_.file->size()))
        disk.remarks_.push_back(Remark::doubt(std::move(problem)));
    if (survey.never_written != 0)
        disk.remarks_.push_back(Remark::doubt(
            fmt::format("{} chunks of the index were never written: the backup did not end", survey.never_written)));
    survey.lost.tell(disk.remarks_);
    if (survey.lost.none()) disk.compare_checksums(survey);
    disk.compare_manifest();
    if (header.reserved_used)
        disk.remarks_.push_back(Remark::note("reserved bytes of the index's header are not zero"));
    const Manifest::File* const claim = disk.claim();
    disk.encrypted_ = (claim != nullptr && claim->crypt_mode == "encrypt") || disk.look_at_chunks();
    return disk;
}

// Of an index whose digests are not those that were written nobody knows which is wrong.
void IndexDisk::compare_checksums(const IndexSurvey& survey) {
    const auto claimed = claim() == nullptr ? std::nullopt : claim()->checksum;
    const bool header_fits = survey.checksum == header_.checksum;
    const bool claim_fits = claimed == survey.checksum;
    if (header_fits && claimed && !claim_fits)
        remarks_.push_back(Remark::doubt("the index has another checksum than its backup's manifest says: one of them "
                                         "was changed afterwards"));
    if (header_fits) return;
    if (claim_fits)
        remarks_.push_back(Remark::note("the checksum in the index's header is wrong, and that in the manifest fits"));
    else if (!header_.checksum_written)
        remarks_.push_back(Remark::doubt("the index was never finished: it has no checksum"));
    else
        remarks_.push_back(Remark::doubt("the index's checksum is wrong: some of its digests are not those that were "
                                         "written, and what is read is what they say now"));
}

void IndexDisk::compare_manifest() {
    if (place_.manifest->has_error()) {
        remarks_.push_back(
            Remark::note(fmt::format("nothing is known of the backup: {}", place_.manifest->error().what)));
        return;
    }
    const Manifest::File* const claimed = claim();
    if (claimed == nullptr) remarks_.push_back(Remark::note("the backup's manifest does not list the index"));
    else if (claimed->size && *claimed->size != header_.size)
        remarks_.push_back(Remark::doubt(
            fmt::format("the index says {} bytes, and the backup's manifest {}", header_.size, *claimed->size)));
}

// Whether the first of its chunks that is there is encrypted.
bool IndexDisk::look_at_chunks() const {
    if (place_.store->has_error()) return false;
    const ChunkTable table(place_.file, header_, context_.caches);
    std::uint64_t at = 0;
    for (std::uint64_t i = 0; i < kChunksLookedAt && at < header_.size; ++i) {
        const auto chunk = table.at(at);
        if (chunk.has_error() || !chunk.value().digest) return false;
        const auto encrypted = place_.store->value()->is_encrypted(*chunk.value().digest);
        if (encrypted) return *encrypted;
        at = chunk.value().start + chunk.value().length;
    }
    return false;
}

bool IndexDisk::takes_key() const noexcept {
    return encrypted_ || (manifest() != nullptr && manifest()->signature);
}

// Null where none is needed and none was asked for.
Result<KeyPtr> IndexDisk::key() const {
    if (!encrypted_ && !context_.selector.key_file) return KeyPtr();
    return read_key(context_, manifest() == nullptr ? std::nullopt : manifest()->fingerprint);
}

Result<void> IndexDisk::check_signature(const KeyPtr& key, std::vector<Remark>& remarks) const {
    if (!key || manifest() == nullptr || !manifest()->signature) return ok();
    VDISK_TRY(fits, manifest()->signed_by(*key));
    if (!fits)
        remarks.push_back(Remark::doubt("the backup's manifest does not fit its signature: it was changed afterwards"));
    return ok();
}

bool IndexDisk::has_key() const {
    return is_given(kKeyFile, context_);
}

Result<std::shared_ptr<const ChunkLayout>> IndexDisk::layout(WithoutKey without) const {
    if (without == WithoutKey::allowed && !has_key()) return layout_with(nullptr);
    VDISK_TRY(key, key());
    return layout_with(key);
}

Result<std::shared_ptr<const ChunkLayout>> IndexDisk::layout_with(const KeyPtr& key) const {
    if (place_.store->has_error()) return Error(place_.store->error());
    const auto chunks = std::make_shared<const Chunks>(Chunks{
        .table = ChunkTable(place_.file, header_), .store = place_.store->value(), .key = encrypted_ ? key : nullptr});
    return ChunkLayout::make(chunks, context_.caches);
}

Result<Layer> IndexDisk::layer() const {
    VDISK_TRY(key, key());
    VDISK_TRY(layout, layout_with(key));
    Layer layer(layout, {std::make_shared<const ChunkSource>(layout->chunks())});
    layer.cluster_bytes = header_.most_chunk;
    layer.remarks = remarks_;
    VDISK_CHECK(check_signature(key, layer.remarks));
    return layer;
}

Facts IndexDisk::facts() const {
    Facts facts = Facts::object();
    facts["index"] = header_.kind == IndexHeader::Kind::fixed ? "fixed" : "dynamic";
    if (header_.kind == IndexHeader::Kind::dynamic) facts["content"] = kind_of_archive(place_.name);
    facts["uuid"] = to_string(header_.uuid);
    facts["created"] = utc_time(header_.created);
    if (header_.chunk_size != 0) facts["chunk size"] = header_.chunk_size;
    facts["chunks"] = header_.chunks;
    if (encrypted_) facts["encryption"] = Facts{{"method", "AES-256-GCM"}};
    if (manifest() != nullptr) facts.update(manifest()->facts());
    if (place_.store->has_value()) facts["chunk store"] = printable(utf8(place_.store->value()->path()));
    for (const Remark& remark : remarks_)
        facts[remark.weight == Remark::Weight::doubt ? "problems" : "oddities"].push_back(remark.text);
    return facts;
}

Result<void> IndexDisk::audit(const Progress& progress, const std::string& disk, AuditReport& report) const {
    report.add(remarks_, "index-doubt", "index-note");
    if (place_.store->has_error()) {
        report.add(Severity::error, "no-chunks", {.disk = disk}, "{}", place_.store->error().what);
        return ok();
    }
    VDISK_TRY(layout, layout(WithoutKey::allowed));
    for (std::uint64_t number = 0; number < header_.chunks; ++number) {
        const auto found = layout->chunks()->table.numbered(number);
        if (found.has_error()) {
            report.add(Severity::error, "lost-table", {.disk = disk}, "chunk {}: {}", number, found.error().what);
            continue;
        }
        const Chunk& chunk = found.value();
        const auto why = layout->is_zeros(chunk) ? std::nullopt : layout->objection(chunk);
        const std::uint64_t length = chunk.digest ? chunk.length : header_.size - chunk.start;
        if (why)
            report.add(Severity::error, "missing-chunk",
                       {.disk = disk, .guest = GuestOffset{chunk.start}, .length = length}, "{}", why->what);
        if (!chunk.digest) break; // nor has any behind it
        if (progress && !progress(chunk.start + length, header_.size)) return fail(ErrorKind::cancelled, "cancelled");
    }
    return ok();
}

} // namespace vdisk::pbs
