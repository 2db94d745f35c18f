// SPDX-License-Identifier: Apache-2.0
#include "format/vdi/vdi.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"
#include "disk/passphrase.hpp"
#include "format/vbox/key_store.hpp"
#include "format/vdi/audit.hpp"
#include "format/vdi/consistency.hpp"
#include "format/vdi/layout.hpp"
#include "format/vdi/parent.hpp"

#include <fmt/ranges.h>

#include <array>
#include <cstddef>

namespace vdisk {
namespace vdi {
namespace {

// Names of facts that a child compares with its own header.
constexpr const char* kFactUuid = "UUID";
constexpr const char* kFactModified = "modification UUID";

class VdiFile final : public DiskFile {
public:
    VdiFile(Header header, SourcePtr source, OpenContext context)
        : header_(std::move(header)), source_(std::move(source)),
          context_(std::move(context)), disks_{Disk{.size = header_.disk_size}} {}

    const Format& format() const noexcept override { return kVdiFormat; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    std::vector<std::string_view> keys() const override {
        std::vector<std::string_view> keys{"block-size", "map-offset", "data-offset", "size"};
        if (header_.has_parent()) keys.insert(keys.end(), {"parent", "backing"});
        if (context_.selector.key_file && find_encryption()) keys.push_back("key-file");
        return keys;
    }
    Result<Layer> layer(std::size_t index) const override;
    std::vector<ParentLink> links() const override {
        auto parent = parent_link();
        return parent ? std::vector{std::move(*parent)} : std::vector<ParentLink>{};
    }
    Facts facts() const override;
    Result<AuditReport> audit(const AuditRequest& request) const override;

private:
    std::optional<ParentLink> parent_link() const;
    std::optional<MediumEncryption> find_encryption() const {
        return vdi::find_encryption({.uuid = header_.uuid_create, .registry = context_.registry}, *context_.references,
                                    context_.limits);
    }

    Header header_;
    SourcePtr source_;
    OpenContext context_;
    std::vector<Disk> disks_;
};

// Sectors are numbered on the disk. Blocks that are not stored are zeros, although VirtualBox deciphers these too: no
// guest has written what comes of that.
Result<Encryption> open_encryption(const MediumEncryption& found, const OpenContext& context) {
    if (!found.key)
        return fail(ErrorKind::unsupported, "is encrypted, as {} says, which does not say with what key",
                    found.settings);
    auto store = vbox::KeyStore::parse(found.key->store);
    if (store.has_error()) return std::move(store).error().in(found.settings);
    VDISK_TRY(password, read_passphrase(context));
    const std::string wrong =
        fmt::format("is not the password of '{}', as {} calls it", printable(found.key->id), found.settings);
    VDISK_TRY(cipher, try_passphrase(password, wrong, [&](std::span<const std::byte> passphrase) {
                  return store.value().unlock(passphrase, context.limits, context.progress);
              }));
    return Encryption{std::move(cipher), Encryption::Numbering::guest};
}

Facts describe_encryption(const MediumEncryption& found) {
    Facts facts{{"method", "VirtualBox"}};
    if (found.key) {
        const auto store = vbox::KeyStore::parse(found.key->store);
        if (store.has_value()) facts = store.value().facts();
        else facts["error"] = store.error().what;
        facts["password id"] = printable(found.key->id);
    }
    facts["told by"] = found.settings;
    return facts;
}

Result<Layer> VdiFile::layer(std::size_t /*index*/) const {
    const Selector& selector = context_.selector;
    if (!selector.block_size) { // where the layout is given, the header has no say
        VDISK_TRY(found, find_contradictions(header_, *source_, context_.limits));
        if (!found.empty()) return fail(ErrorKind::corrupt, "{}: {}", source_->name(), found.front());
    }
    LostPieces lost;
    VDISK_TRY(shared, find_shared_blocks(header_, *source_, context_.limits, lost));
    const auto layout = std::make_shared<BlockLayout>(header_, std::move(shared), source_, context_.caches);
    Encryption encryption;
    if (const auto found = find_encryption()) {
        auto opened = open_encryption(*found, context_);
        if (opened.has_error()) return std::move(opened).error().in(source_->name());
        encryption = std::move(opened).value();
        layout->set_enciphered();
    }
    Layer layer(layout, {source_});
    layer.encryption = std::move(encryption);
    layer.parent = parent_link();
    lost.tell(layer.remarks);
    if (selector.block_size) // else all four are missing
        layer.remarks.push_back(
            {Remark::Weight::doubt, fmt::format("is read by the layout that was given, not by its header{}",
                                                header_.has_parent() ? ""
                                                                     : "; if it had a parent, blocks that are not in "
                                                                       "the map are not zeros as they read here")});
    return layer;
}

// What does not fit between an image and the file that serves as its parent.
std::vector<Remark> compare(const Header& child, const Facts& parent) {
    const auto text = [&](const char* key) {
        const std::string* told = parent[key].text();
        return told == nullptr ? std::string() : *told;
    };
    if (text(kFactUuid).empty())
        return {{Remark::Weight::doubt,
                 fmt::format("has no UUID that tells whether it is the parent {}", to_string(child.uuid_linkage))}};
    std::vector<Remark> remarks;
    if (text(kFactUuid) != to_string(child.uuid_linkage))
        remarks.push_back({Remark::Weight::doubt, fmt::format("its UUID is {}, but the child's parent is {}",
                                                              text(kFactUuid), to_string(child.uuid_linkage))});
    if (!child.uuid_parent_modify.is_null() && text(kFactModified) != to_string(child.uuid_parent_modify))
        remarks.push_back(
            {Remark::Weight::doubt,
             fmt::format("was modified after its child was made: its modification UUID is {}, the child has {}",
                         text(kFactModified), to_string(child.uuid_parent_modify))});
    if (const auto* size = parent[kFactSize].number(); size != nullptr && *size < child.disk_size)
        remarks.push_back({Remark::Weight::note,
                           fmt::format("its disk has {} bytes, its child's {}: what is behind its end and not in the "
                                       "child reads as zeros",
                                       *size, child.disk_size)});
    return remarks;
}

std::optional<ParentLink> VdiFile::parent_link() const {
    if (!header_.has_parent()) return std::nullopt;
    ParentLink link;
    link.described = fmt::format("parent {}", to_string(header_.uuid_linkage));
    link.key = "parent";
    link.shares_key = true;
    link.locate = [header = header_, registry = context_.registry,
                   limits = context_.limits](const References& references) -> Result<FoundFile> {
        if (header.uuid_linkage.is_null())
            return fail(ErrorKind::corrupt, "a {} image must name a parent", to_string(header.type));
        if (header.uuid_linkage == header.uuid_create)
            return fail(ErrorKind::corrupt, "the image names itself as its parent");
        return find_parent({.uuid = header.uuid_linkage, .modify = header.uuid_parent_modify, .registry = registry},
                           references, limits);
    };
    link.remarks = [header = header_](const Facts& parent) { return compare(header, parent); };
    return link;
}

Facts VdiFile::facts() const {
    Facts facts = Facts::object();
    facts["version"] = fmt::format("{}.{}", header_.version >> 16, header_.version & 0xFFFF);
    facts["creation text"] =
        printable(std::string_view(header_.creator).substr(0, header_.creator.find_last_not_of('\n') + 1));
    if (!header_.comment.empty()) facts["comment"] = printable(header_.comment);
    facts["type"] = to_string(header_.type);
    facts["flags"] = fmt::format("{:#x}", header_.flags);
    facts["block size"] = header_.block_size;
    if (header_.block_extra > 0) facts["block extra bytes"] = header_.block_extra;
    facts["blocks"] = header_.blocks;
    facts["allocated blocks"] = header_.blocks_allocated;
    facts["block map offset"] = header_.map_offset;
    facts["data offset"] = header_.data_offset;
    facts[kFactUuid] = to_string(header_.uuid_create);
    facts[kFactModified] = to_string(header_.uuid_modify);
    if (!header_.uuid_linkage.is_null()) facts["parent UUID"] = to_string(header_.uuid_linkage);
    if (!header_.uuid_parent_modify.is_null())
        facts["parent's modification UUID"] = to_string(header_.uuid_parent_modify);
    if (const auto found = find_encryption()) facts["encryption"] = describe_encryption(*found);
    if (const auto found = find_contradictions(header_, *source_, context_.limits);
        found.has_value() && !found.value().empty())
        facts["damage"] = found.value();
    return facts;
}

Result<AuditReport> VdiFile::audit(const AuditRequest& request) const {
    AuditReport report(context_.limits);
    report.facts = facts();
    VDISK_TRY(found, find_contradictions(header_, *source_, context_.limits));
    for (const std::string& what : found) report.add(Severity::error, "header", {}, "{}", what);
    VDISK_CHECK(audit_map(header_, *source_, context_.limits, request.progress, report));
    return report;
}

constexpr std::array kSignatures{
    Signature{.magic = "\x7F\x10\xDA\xBE", .offset = offsetof(RawStart, signature), .least_size = sizeof(RawStart)}};

// The keys by which a person gives the layout; all of them or none.
constexpr std::array<std::string_view, 4> kLayoutKeys{"block-size", "map-offset", "data-offset", "size"};

bool gives_layout(const Selector& selector) {
    return selector.block_size || selector.map_offset || selector.data_offset || selector.size;
}

Result<std::uint64_t> number_of(std::string_view key, const std::optional<std::string>& text) {
    if (!text) return fail(ErrorKind::usage, "'{}' is missing: a layout is {}", key, fmt::join(kLayoutKeys, ", "));
    const auto number = parse_number<std::uint64_t>(*text);
    if (!number) return fail(ErrorKind::usage, "{} is '{}', which is no number of bytes", key, printable(*text));
    return *number;
}

Result<Header> header_as_given(const ByteSource& file, const Selector& selector) {
    VDISK_TRY(block_size, number_of(kLayoutKeys[0], selector.block_size));
    VDISK_TRY(map_offset, number_of(kLayoutKeys[1], selector.map_offset));
    VDISK_TRY(data_offset, number_of(kLayoutKeys[2], selector.data_offset));
    VDISK_TRY(size, number_of(kLayoutKeys[3], selector.size));
    return Header::from_layout(file, {.block_size = block_size,
                                      .map_offset = map_offset,
                                      .data_offset = data_offset,
                                      .disk_size = size,
                                      .has_parent = selector.parent || selector.backing});
}

// The error of a header that can't be read, with what else is wrong in it and what can be done.
Error unreadable_header(const ByteSource& source, Error error) {
    const std::vector<std::string> fields = impossible_fields(source);
    if (!fields.empty()) error.what += fmt::format("; impossible in the header: {}", fmt::join(fields, ", "));
    if (error.kind == ErrorKind::corrupt)
        error.what += fmt::format(". If the block map is intact, give the layout in bytes: 'IMAGE#format=vdi,{}=N'",
                                  fmt::join(kLayoutKeys, "=N,"));
    return error;
}

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& context) {
    const bool given = gives_layout(context.selector);
    auto header = given ? header_as_given(*source, context.selector) : Header::parse(*source);
    if (header.has_error() && given) return std::move(header).error().in(source->name());
    if (header.has_error()) return unreadable_header(*source, std::move(header).error());
    return std::shared_ptr<const DiskFile>(
        std::make_shared<VdiFile>(std::move(header).value(), std::move(source), context));
}

} // namespace
} // namespace vdi

const Format kVdiFormat{.name = "vdi",
                        .description = "VirtualBox disk image (VDI)",
                        .probe = nullptr,
                        .open = vdi::open,
                        .signatures = vdi::kSignatures};

} // namespace vdisk
