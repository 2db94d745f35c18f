// SPDX-License-Identifier: Apache-2.0
#include "open/ova/ova.hpp"

#include "base/checked.hpp"
#include "base/digest.hpp"
#include "base/parse.hpp"
#include "base/text.hpp"
#include "format/ova/archive.hpp"
#include "format/raw/raw.hpp"
#include "open/known_files.hpp"
#include "open/registry.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace vdisk {
namespace ova {
namespace {

constexpr std::size_t kPiece = 1U << 20; // bytes that a manifest's digest is taken of at once

// A disk of the machine and what became of opening it.
struct Opened {
    std::shared_ptr<const DiskFile> file; ///< null if it can't be read
    std::string why;                      ///< then
    const Member* member = nullptr;       ///< nullptr if it lies in chunks
    std::vector<std::string> doubts{};    ///< what does not fit about it
};

std::string cut_off(const Archive& archive, const Member& member) {
    return fmt::format("the archive ends at {}, within '{}', which ends at {}", archive.source()->size(),
                       printable(member.name), member.offset + member.size);
}

class OvaFile final : public DiskFile {
public:
    OvaFile(Archive archive, const OpenContext& context) : archive_(std::move(archive)), context_(context) {}

    Result<void> read();

    const Format& format() const noexcept override { return kOvaFormat; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    Result<Layer> layer(std::size_t index) const override;
    Facts facts() const override;
    Result<std::vector<Configuration>> configurations() const override;
    Result<AuditReport> audit(const AuditRequest& request) const override;
    Result<AuditReport> verify(const Progress& progress) const override;

private:
    Result<void> read_descriptor();
    void add(const OvfDisk& disk);
    void add_unlisted(const Member& member);
    void add(std::string_view name, Facts facts, Opened opened, std::optional<std::uint64_t> capacity);
    Opened open(const OvfDisk& disk);
    Opened open(const SourcePtr& bytes, const SourcePtr& all, std::string_view name) const;
    void check_member(Opened& opened, const Member& member, std::optional<std::uint64_t> said) const;
    Result<void> compare(const ManifestLine& line, const Progress& progress, AuditReport& report) const;

    Archive archive_;
    OpenContext context_;
    Ovf ovf_;
    std::vector<std::string> problems_;
    std::vector<std::string> empty_disks_;    ///< diskIds of new disks that the archive holds nothing of
    std::set<std::string, std::less<>> used_; ///< members that are disks or their chunks
    std::vector<Disk> disks_;
    std::vector<Opened> opened_; ///< of the disk with the same index
};

Result<void> OvaFile::read() {
    if (!archive_.members().damage.empty()) problems_.push_back(archive_.members().damage);
    VDISK_CHECK(read_descriptor());
    for (const OvfDisk& disk : ovf_.disks) add(disk);
    for (const Member& member : archive_.members().list) add_unlisted(member);
    for (const Member& member : archive_.members().list)
        if (!archive_.is_whole(member) && !used_.contains(member.name)) problems_.push_back(cut_off(archive_, member));
    if (disks_.empty())
        return fail(ErrorKind::corrupt, "{}: holds no disk{}{}", archive_.source()->name(),
                    problems_.empty() ? "" : ": ", problems_.empty() ? "" : problems_.front());
    return ok();
}

// Without a descriptor, or with one that can't be read, the disks are those that the members show.
Result<void> OvaFile::read_descriptor() {
    const Member* const member = archive_.first_called(".ovf");
    if (member == nullptr) {
        problems_.emplace_back("the archive has no OVF descriptor: its disks are those that its members show");
        return ok();
    }
    const auto text = archive_.text_of(*member, context_.limits);
    auto ovf = text.has_value() ? Ovf::parse(text.value(), archive_.name_of(*member), context_.limits)
                                : Result<Ovf>(Error(text.error()));
    if (ovf.has_value()) ovf_ = std::move(ovf).value();
    else problems_.push_back(ovf.error().what);
    problems_.insert(problems_.end(), ovf_.machine.problems.begin(), ovf_.machine.problems.end());
    if (!ovf_.damage.empty()) problems_.push_back(fmt::format("{}: {}", printable(member->name), ovf_.damage));
    return ok();
}

void OvaFile::add(const OvfDisk& disk) {
    Facts facts = Facts::object();
    facts["disk id"] = printable(disk.id);
    const std::vector<Drive>& drives = ovf_.machine.drives;
    const auto drive = std::ranges::find(drives, disk.id, &Drive::identifier);
    if (drive != drives.end() && !disk.id.empty()) {
        facts["drive"] = printable(drive->name);
        if (!drive->controller.empty()) facts["controller"] = printable(drive->controller);
        if (!drive->port.empty()) facts["port"] = printable(drive->port);
    }
    if (disk.file_ref.empty()) {
        empty_disks_.push_back(printable(disk.id));
        return;
    }
    add(disk.href.empty() ? disk.id : disk.href, std::move(facts), open(disk), disk.capacity);
}

// `said`: its size by the descriptor.
void OvaFile::check_member(Opened& opened, const Member& member, std::optional<std::uint64_t> said) const {
    opened.member = &member;
    if (!archive_.is_whole(member)) opened.doubts.push_back(cut_off(archive_, member));
    if (said && *said != member.size)
        opened.doubts.push_back(
            fmt::format("'{}' has {} bytes, but the descriptor says {}", printable(member.name), member.size, *said));
}

Opened OvaFile::open(const OvfDisk& disk) {
    if (disk.href.empty()) return {.why = fmt::format("the descriptor has no file '{}'", printable(disk.file_ref))};
    if (!disk.compression.empty())
        return {.why =
                    fmt::format("'{}' is compressed by '{}' inside the archive, which is not read: unpack the archive "
                                "and that file",
                                printable(disk.href), printable(disk.compression))};
    if (disk.chunk_size) {
        const auto joined = joined_chunks(archive_, disk, context_.limits);
        if (joined.has_error()) return {.why = joined.error().what};
        for (const Member& member : archive_.members().list)
            if (without_dot(member.name).starts_with(without_dot(disk.href))) used_.insert(member.name);
        return open(joined.value(), joined.value(), disk.href);
    }
    const Member* const member = archive_.find(disk.href);
    if (member == nullptr) return {.why = fmt::format("the archive has no member '{}'", printable(disk.href))};
    used_.insert(member->name);
    Opened opened = open(archive_.bytes_of(*member), archive_.all_of(*member), disk.href);
    check_member(opened, *member, disk.file_size);
    return opened;
}

// `bytes`: what is there; `all`: with what is missing, for a disk whose size only the file's tells.
Opened OvaFile::open(const SourcePtr& bytes, const SourcePtr& all, std::string_view name) const {
    const auto detected = detect_format(*bytes, Match::sure);
    const Format* format = detected.has_value() ? detected.value() : nullptr;
    if (format == nullptr && (ends_in(name, ".img") || ends_in(name, ".raw") || ends_in(name, ".dd")))
        format = &kRawFormat;
    if (detected.has_error() && format == nullptr) return {.why = detected.error().what};
    if (const auto look = FirstLook::at(*bytes);
        look.has_value() && (detected.has_error() || detected.value() == nullptr))
        if (const KnownFile* const known = known_file(look.value());
            known != nullptr && (format == nullptr || known->content == KnownFile::Content::other))
            return {.why = fmt::format("'{}' {}", printable(name), in_words(*known))};
    if (format == nullptr) return {.why = fmt::format("'{}' is of no format that is known here", printable(name))};
    if (format == &kOvaFormat || !is_disk(*format))
        return {.why = fmt::format("'{}' is a {} file, and no disk", printable(name), format->name)};
    OpenContext inner = context_;
    inner.selector = {};
    inner.stream = nullptr;
    inner.index_cache = IndexCache();
    inner.registry.clear();
    // What a member names is in the archive or nowhere.
    inner.references = std::make_shared<const References>(
        context_.file ? context_.file->path() : std::filesystem::path(), ReferencePolicy::deny, context_.limits);
    auto file = format->open(format == &kRawFormat ? all : bytes, inner);
    if (file.has_error()) return {.why = file.error().what};
    if (file.value()->disks().empty()) return {.why = fmt::format("'{}' holds no disk", printable(name))};
    return {.file = std::move(file).value()};
}

void OvaFile::add(std::string_view name, Facts facts, Opened opened, std::optional<std::uint64_t> capacity) {
    Disk disk{.kind = Disk::Kind::device, .name = std::string(name), .id = fmt::format("disk{}", disks_.size() + 1)};
    disk.facts = std::move(facts);
    if (opened.file) {
        disk.facts["format"] = opened.file->format().name;
        disk.size = opened.file->disks().front().size;
        disk.sector_size = opened.file->disks().front().sector_size;
        if (const Facts own = opened.file->facts(); own.contains("damage"))
            opened.doubts.push_back(
                fmt::format("the metadata of '{}' contradict each other: 'vdisk audit' tells", printable(name)));
        if (capacity && *capacity != disk.size)
            opened.doubts.push_back(fmt::format("the disk in '{}' has {} bytes, but the descriptor says {}",
                                                printable(name), disk.size, *capacity));
    } else {
        disk.size = capacity.value_or(0);
        disk.facts["unreadable"] = opened.why;
    }
    problems_.insert(problems_.end(), opened.doubts.begin(), opened.doubts.end());
    if (const std::string* const drive = disk.facts["drive"].text(); drive != nullptr) disk.aliases.push_back(*drive);
    disks_.push_back(std::move(disk));
    opened_.push_back(std::move(opened));
}

// A member that the descriptor does not tell of is a disk if it shows that it is one.
void OvaFile::add_unlisted(const Member& member) {
    if (used_.contains(member.name) || archive_.find(member.name) != &member) return;
    const auto detected = detect_format(*archive_.bytes_of(member), Match::sure);
    if (detected.has_error() || detected.value() == nullptr || !is_disk(*detected.value())) return;
    Facts facts = Facts::object();
    facts["listed"] = false;
    Opened opened = open(archive_.bytes_of(member), archive_.all_of(member), member.name);
    check_member(opened, member, std::nullopt);
    used_.insert(member.name);
    add(member.name, std::move(facts), std::move(opened), std::nullopt);
}

Result<Layer> OvaFile::layer(std::size_t index) const {
    const Opened& opened = opened_[index];
    if (!opened.file) return fail(ErrorKind::unsupported, "{}: {}", archive_.source()->name(), opened.why);
    VDISK_TRY(layer, opened.file->layer(0));
    if (layer.parent)
        return fail(ErrorKind::unsupported, "{}: '{}' needs its {}, and an archive holds no parents",
                    archive_.source()->name(), printable(disks_[index].name), layer.parent->described);
    for (const std::string& doubt : opened.doubts) layer.remarks.push_back(Remark::doubt(doubt));
    return std::move(layer);
}

Facts OvaFile::facts() const {
    Facts facts = describe(ovf_.machine);
    if (!empty_disks_.empty()) facts["new disks without content"] = empty_disks_;
    for (const Member& member : archive_.members().list)
        facts["members"].push_back(Facts{{"name", printable(member.name)}, {"size", member.size}});
    if (!problems_.empty()) facts["problems"] = problems_;
    return facts;
}

Result<std::vector<Configuration>> OvaFile::configurations() const {
    std::vector<Configuration> configurations;
    const Member* const descriptor = archive_.first_called(".ovf");
    for (const Member& member : archive_.members().list) {
        if (!ends_in(member.name, ".ovf") && !ends_in(member.name, ".mf") && !ends_in(member.name, ".cert")) continue;
        Configuration configuration{.name = member.name, .is_main = &member == descriptor};
        auto text = archive_.text_of(member, context_.limits);
        if (text.has_value()) configuration.data = std::move(text).value();
        else configuration.problem = text.error().what;
        configurations.push_back(std::move(configuration));
    }
    return configurations;
}

Result<AuditReport> OvaFile::audit(const AuditRequest& request) const {
    AuditReport report(context_.limits);
    for (const std::string& problem : problems_) report.add(Severity::error, "archive", {}, "{}", problem);
    for (std::size_t i = 0; i < disks_.size(); ++i) {
        const std::string name = shown_name(disks_[i].name);
        if (!opened_[i].file) {
            report.add(Severity::error, "not-opened", {.disk = name}, "{}", opened_[i].why);
            continue;
        }
        const auto own = opened_[i].file->audit(request);
        if (own.has_value())
            report.add_disk(own.value(), name,
                            opened_[i].member != nullptr ? std::optional(opened_[i].member->offset) : std::nullopt);
        else if (own.error().kind != ErrorKind::unsupported) return Error(own.error());
    }
    return report;
}

// Compares one file with its digest.
Result<void> OvaFile::compare(const ManifestLine& line, const Progress& progress, AuditReport& report) const {
    const Member* const member = archive_.find(line.name);
    const std::string name = printable(line.name);
    if (member == nullptr) {
        report.add(Severity::error, "manifest-missing", {}, "the manifest lists '{}', which the archive does not hold",
                   name);
        return ok();
    }
    Hasher hasher(line.algorithm.c_str());
    const SourcePtr bytes = archive_.all_of(*member);
    std::vector<std::byte> piece(kPiece);
    for (std::uint64_t at = 0; at < bytes->size();) {
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), bytes->size() - at));
        if (const auto read = read_exact(*bytes, at, std::span(piece).first(count)); read.has_error()) {
            report.add(Severity::error, "manifest-unreadable", {}, "{}", read.error().what);
            return ok();
        }
        hasher.add(std::span(piece).first(count));
        at += count;
        if (progress && !progress(at, bytes->size())) return fail(ErrorKind::cancelled, "cancelled");
    }
    const auto digest = hasher.finish();
    if (!digest) return fail(ErrorKind::unsupported, "the system's libcrypto does not take {}", line.algorithm);
    if (*digest != line.digest)
        report.add(Severity::error, "manifest-mismatch", {}, "'{}' has the {} {}, but the manifest says {}", name,
                   line.algorithm, hex(*digest), hex(line.digest));
    return ok();
}

Result<AuditReport> OvaFile::verify(const Progress& progress) const {
    const Member* const member = archive_.first_called(".mf");
    if (member == nullptr) return DiskFile::verify(progress);
    AuditReport report(context_.limits);
    for (const std::string& problem : problems_) report.add(Severity::error, "archive", {}, "{}", problem);
    VDISK_TRY(text, archive_.text_of(*member, context_.limits));
    const Manifest manifest = parse_manifest(text);
    std::set<const Member*> listed{member};
    for (const ManifestLine& line : manifest.lines) {
        VDISK_CHECK(compare(line, progress, report));
        listed.insert(archive_.find(line.name));
    }
    for (const std::string& line : manifest.unknown)
        report.add(Severity::warning, "manifest-line", {}, "{}: is no line of a manifest: '{}'",
                   printable(member->name), printable(line));
    for (const Member& other : archive_.members().list)
        if (!listed.contains(&other) && !ends_in(other.name, ".cert"))
            report.add(Severity::note, "not-in-manifest", {}, "the manifest does not list '{}'", printable(other.name));
    report.facts["files listed in the manifest"] = manifest.lines.size();
    return report;
}

Match probe(std::span<const std::byte> /*head*/, const ByteSource& source) {
    return has_descriptor(source) ? Match::sure : Match::no;
}

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context) {
    VDISK_TRY(archive, Archive::read(std::move(source), context.limits));
    auto file = std::make_shared<OvaFile>(std::move(archive), context);
    VDISK_CHECK(file->read());
    return std::shared_ptr<const DiskFile>(std::move(file));
}

constexpr std::array kSignatures{Signature{.magic = "ustar", .offset = 257, .least_size = kTarBlock}};

} // namespace
} // namespace ova

const Format kOvaFormat{.name = "ova",
                        .description = "Machine in an archive (OVA), by the disks in it",
                        .probe = ova::probe,
                        .open = ova::open,
                        .signatures = ova::kSignatures};

} // namespace vdisk
