// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/extents.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"
#include "disk/nearby_files.hpp"
#include "format/vmdk/layout.hpp"
#include "image/joined_layout.hpp"
#include "image/uniform_layout.hpp"
#include "io/file_parts.hpp"

#include <algorithm>
#include <map>
#include <system_error>

namespace fs = std::filesystem;

namespace vdisk::vmdk {
namespace {

// A disk of this machine or of Windows: no file, whatever lies here under such a name.
bool is_device(std::string_view name) {
    return name.starts_with("\\\\.\\") || name.starts_with("/dev/");
}

// Whether the name leads down from the descriptor's folder.
bool leads_down(const fs::path& name) {
    // "/etc" has no drive, so on Windows it is not absolute, and leads out of a folder all the same.
    return !name.has_root_path() && name.has_parent_path() && std::ranges::find(name, fs::path("..")) == name.end();
}

Result<FoundFile> open_beside(const fs::path& name, const References& gate) {
    std::string tried;
    for (const fs::path& folder : gate.folders()) {
        std::error_code error;
        const fs::path named = folder / name;
        const fs::path path = as_it_lies(named);
        if (fs::exists(path, error)) {
            VDISK_TRY(file, gate.open_exact(path));
            return gate.joined({.file = std::move(file), .how = "", .may_be_part = path != named});
        }
        tried += fmt::format("{}{}", tried.empty() ? "" : ", ", printable(utf8(path)));
    }
    return fail(ErrorKind::io, "not found; looked for {}", tried);
}

// An absolute name's file in the evidence. This machine's own file of that name is none of it.
Result<FoundFile> open_in_evidence(const std::string& name, const References& gate, Error missing) {
    auto found = gate.open(name);
    if (found.has_value() && !found.value().how.empty()) return found;
    if (found.has_error() && found.error().kind == ErrorKind::usage) return found;
    return missing;
}

Piece broken_piece(const ExtentLine& line, Error why) {
    return {.line = &line, .why = std::make_shared<const Error>(std::move(why))};
}

class Opener {
public:
    explicit Opener(const OpenContext& context) : context_(context) {}

    Result<Pieces> run(const Descriptor& descriptor) {
        std::size_t files = 0;
        std::size_t broken = 0;
        std::optional<Error> first;
        for (const ExtentLine& line : descriptor.extents) {
            if (line.type == ExtentLine::Type::zero) {
                pieces_.list.push_back({.line = &line});
                continue;
            }
            ++files;
            auto piece = open(line);
            if (piece.has_value()) {
                pieces_.list.push_back(std::move(piece).value());
                continue;
            }
            Error why = std::move(piece).error().in(fmt::format("extent '{}'", shown_name(line.name)));
            if (why.kind == ErrorKind::usage) return why;
            ++broken;
            if (!first) first = why;
            pieces_.remarks.push_back(Remark::doubt(why.what));
            pieces_.list.push_back(broken_piece(line, std::move(why)));
        }
        if (files > 0 && broken == files) return std::move(*first);
        VDISK_CHECK(compare_flat_files());
        return std::move(pieces_);
    }

private:
    Result<Piece> open(const ExtentLine& line) {
        VDISK_TRY(found, open_extent(line, context_));
        pieces_.remarks.insert(pieces_.remarks.end(), found.remarks.begin(), found.remarks.end());
        Piece piece{.line = &line, .file = found.file};
        const FileIdentity identity = found.file->identity();
        if (line.type == ExtentLine::Type::flat) {
            VDISK_CHECK(take_flat(line, *found.file));
            return piece;
        }
        if (!sparse_.emplace(identity, &line).second)
            return fail(ErrorKind::corrupt, "{}: is named as two extents", found.file->name());
        VDISK_TRY(sparse, Sparse::parse(*found.file, context_.limits));
        compare_size(line, sparse, *found.file);
        pieces_.remarks.insert(pieces_.remarks.end(), sparse.remarks.begin(), sparse.remarks.end());
        piece.sparse = std::move(sparse);
        return piece;
    }

    // Two extents may lie in one file, but not over each other.
    Result<void> take_flat(const ExtentLine& line, const FileSource& file) {
        auto& uses = flat_[file.identity()];
        const std::uint64_t end = line.offset + line.sectors;
        for (const ExtentLine* const other : uses.lines)
            if (line.offset < other->offset + other->sectors && other->offset < end)
                return fail(ErrorKind::corrupt, "{}: sectors from {} on are named by two extents", file.name(),
                            std::max(line.offset, other->offset));
        uses.lines.push_back(&line);
        uses.end = std::max(uses.end, end);
        uses.size = file.size();
        uses.name = file.name();
        return ok();
    }

    // The descriptor places what follows; so what its extent has more is not on the disk, and what it lacks is lost.
    void compare_size(const ExtentLine& line, const Sparse& sparse, const ByteSource& file) {
        if (sparse.disk_size != line.sectors * kSector)
            pieces_.remarks.push_back(
                Remark::doubt(fmt::format("the extent {} has {} sectors, the descriptor says {}", file.name(),
                                          sparse.disk_size / kSector, line.sectors)));
    }

    Result<void> compare_flat_files() {
        for (const auto& [identity, uses] : flat_) {
            const std::uint64_t end = uses.end * kSector; // fits: checked with the line
            if (uses.size == end) continue;
            pieces_.remarks.push_back(Remark::doubt(
                uses.size < end ? fmt::format("the extent {} has {} bytes, {} are needed", uses.name, uses.size, end)
                                : fmt::format("the extent {} has {} bytes behind the last that the descriptor names",
                                              uses.name, uses.size - end)));
        }
        return ok();
    }

    struct FlatUses {
        std::vector<const ExtentLine*> lines;
        std::uint64_t end = 0; ///< sectors
        std::uint64_t size = 0;
        std::string name;
    };

    const OpenContext& context_;
    Pieces pieces_;
    std::map<FileIdentity, const ExtentLine*> sparse_;
    std::map<FileIdentity, FlatUses> flat_;
};

// What a compressed extent without a directory gives, and what has to be said of it.
Result<std::shared_ptr<const Layout>> by_markers(const Sparse& sparse, const SourcePtr& file,
                                                 const OpenContext& context, std::vector<Remark>& remarks) {
    VDISK_TRY(found, follow_markers(sparse, *file, context.limits, context.progress));
    const std::string text = fmt::format("has no sound grain directory and is read by its grains' markers: {} grains "
                                         "were found, the last ends at {} of {} bytes",
                                         found.places.size(), found.end, file->size());
    remarks.push_back(found.whole ? Remark::note(text) : Remark::doubt(text + "; what may be missing is an error"));
    return std::shared_ptr<const Layout>(std::make_shared<MarkerLayout>(sparse, file, std::move(found)));
}

Result<std::shared_ptr<const Layout>> sparse_layout(const Sparse& sparse, const SourcePtr& file,
                                                    const OpenContext& context, std::vector<Remark>& remarks) {
    if (!sparse.directory) return by_markers(sparse, file, context, remarks);
    const auto tables = std::make_shared<const GrainTables>(sparse, file, context.caches);
    VDISK_TRY(found, survey(*tables, context.limits));
    remarks.insert(remarks.end(), found.remarks.begin(), found.remarks.end());
    return std::shared_ptr<const Layout>(std::make_shared<TableLayout>(tables, std::move(found)));
}

std::shared_ptr<const Layout> uniform(Mapping whole) {
    return std::make_shared<const UniformLayout>(std::move(whole));
}

// The pieces of the layout that one piece of the disk comes to: what is missing of it is one of its own.
Result<void> add_piece(const Piece& piece, const OpenContext& context, Layer& layer,
                       std::vector<JoinedLayout::Piece>& pieces) {
    const auto first_source = static_cast<std::uint32_t>(layer.sources.size());
    const std::uint64_t length = piece.line != nullptr ? piece.line->sectors * kSector : piece.sparse->disk_size;
    if (piece.why) {
        pieces.push_back({length, uniform(Extent::unreadable(length, piece.why))});
        return ok();
    }
    if (!piece.file) {
        pieces.push_back({length, uniform(Extent::zero(length))});
        return ok();
    }
    layer.sources.push_back(piece.file);
    if (!piece.sparse) {
        const HostOffset start{piece.line->offset * kSector};
        pieces.push_back({length, uniform(Extent::stored(length, start)), first_source});
        return ok();
    }
    VDISK_TRY(layout, sparse_layout(*piece.sparse, piece.file, context, layer.remarks));
    const std::uint64_t there = std::min(length, layout->disk_size());
    pieces.push_back({there, std::move(layout), first_source});
    if (there < length)
        pieces.push_back(
            {length - there,
             uniform(Extent::unreadable(length - there,
                                        fail(ErrorKind::corrupt, "{}: the extent has {} bytes, the descriptor says {}",
                                             piece.file->name(), there, length)))});
    return ok();
}

} // namespace

Result<FoundFile> open_extent(const ExtentLine& extent, const OpenContext& context) {
    if (is_device(extent.name))
        return fail(ErrorKind::unsupported, "is a device of the machine that the disk was used on, and no file");
    const References& gate = *context.references;
    const std::string last = last_part(extent.name);
    if (last.empty() || last == "." || last == ".." || last.find('\0') != std::string::npos ||
        last.size() > context.limits.name_bytes)
        return fail(ErrorKind::corrupt, "is no name of a file");
    auto found = open_beside(last, gate);
    const std::string below = relative_path(extent.name);
    if (found.has_error() && found.error().kind == ErrorKind::io && leads_down(below))
        if (auto there = open_beside(below, gate); there.has_value()) found = std::move(there);
    if (found.has_error() && found.error().kind == ErrorKind::io && !leads_down(below) &&
        below.find("..") > below.size())
        found = open_in_evidence(extent.name, gate, std::move(found).error());
    if (found.has_value() && context.file && found.value().file->identity() == context.file->identity())
        return fail(ErrorKind::corrupt, "is the descriptor itself");
    return found;
}

Result<Pieces> Pieces::open(const Descriptor& descriptor, const OpenContext& context) {
    return Opener(context).run(descriptor);
}

Result<Layer> join(const Pieces& pieces, const OpenContext& context) {
    Layer layer;
    layer.remarks = pieces.remarks;
    std::vector<JoinedLayout::Piece> list;
    for (const Piece& piece : pieces.list) VDISK_CHECK(add_piece(piece, context, layer, list));
    if (list.size() == 1 && list.front().layout->disk_size() == list.front().length)
        layer.layout = std::move(list.front().layout);
    else layer.layout = std::make_shared<const JoinedLayout>(std::move(list));
    return layer;
}

} // namespace vdisk::vmdk
