// SPDX-License-Identifier: Apache-2.0
#include "format/pbs/store.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"
#include "io/expanded_blocks.hpp"

#include <algorithm>
#include <system_error>

namespace fs = std::filesystem;

namespace vdisk::pbs {
namespace {

constexpr std::size_t kPrefix = 4;     // digits of a digest that name the folder of its file
constexpr unsigned kMostBad = 10;      // DIGEST.0.bad to DIGEST.9.bad
constexpr std::size_t kMostAbove = 32; // folders: an index lies 18 below its store, and that in a copied tree

std::string bad_name(const std::string& name, unsigned number) {
    return fmt::format("{}.{}.bad", name, number);
}

// All of a chunk's file.
Result<Block> stored_bytes(const FileSource& file, const Limits& limits) {
    if (file.size() == 0)
        return fail(ErrorKind::truncated, "{}: is empty: after a crash, or evicted to S3 storage", file.name());
    if (file.size() > most_stored(limits.chunk_bytes))
        return fail(ErrorKind::limit_exceeded, "{}: has {} bytes, more than any chunk", file.name(), file.size());
    Block stored(static_cast<std::size_t>(file.size()));
    VDISK_CHECK(read_exact(file, 0, stored.room()));
    return stored;
}

// Above `start`, which is the folder of an index, a snapshot or a group.
Result<FolderPtr> find_above(const fs::path& start, const References& gate) {
    std::error_code error;
    fs::path above = fs::absolute(start, error).lexically_normal();
    for (std::size_t i = 0; i < kMostAbove && !above.empty(); ++i) {
        const auto status = fs::symlink_status(above / ChunkStore::kFolder, error);
        if (fs::is_directory(status)) return gate.open_folder(above / ChunkStore::kFolder);
        if (fs::exists(status))
            return fail(ErrorKind::usage,
                        "{}: is no folder but a link or a file: '#chunks=FOLDER' says where the "
                        "chunks are",
                        printable(utf8(above / ChunkStore::kFolder)));
        if (!above.has_relative_path()) break;
        above = above.parent_path();
    }
    return FolderPtr();
}

} // namespace

Result<ChunkStorePtr> ChunkStore::find(const OpenContext& context) {
    const References& gate = *context.references;
    if (context.selector.chunks) {
        auto folder = gate.open_folder(*context.selector.chunks);
        if (folder.has_error()) return std::move(folder).error().in("key 'chunks'");
        return std::make_shared<const ChunkStore>(std::move(folder).value(), context.limits);
    }
    if (context.file && context.file->is_given())
        return fail(ErrorKind::usage, "{}: lies in no folder: '#chunks=FOLDER' says where the chunks are",
                    context.file->name());
    std::vector<fs::path> starts = gate.folders();
    if (context.file && context.file->is_folder()) starts.insert(starts.begin(), context.file->path());
    for (const fs::path& own : starts) {
        VDISK_TRY(folder, find_above(own, gate));
        if (folder) return std::make_shared<const ChunkStore>(std::move(folder), context.limits);
    }
    return fail(ErrorKind::usage,
                "there is no folder '{}' in {} or above it: '#chunks=FOLDER' behind the name says where the chunks are",
                kFolder, printable(utf8(starts.front())));
}

std::optional<Error> ChunkStore::missing(const Digest& digest) const {
    const std::string name = hex(digest);
    const std::string shown = fmt::format("{}/{}/{}", printable(utf8(path())), name.substr(0, kPrefix), name);
    const auto folder = folder_->folder(name.substr(0, kPrefix));
    if (folder.has_error()) return fail(ErrorKind::io, "chunk {}: {}", name, folder.error().what);
    const auto is_file = [&](const std::string& each) {
        return folder.value()->kind_of(each) == Folder::Entry::Kind::file;
    };
    if (is_file(name)) return std::nullopt;
    for (unsigned i = 0; i < kMostBad; ++i)
        if (is_file(bad_name(name, i))) return std::nullopt;
    if (folder.value()->kind_of(name))
        return fail(ErrorKind::io, "{}: the chunk's file is a link, a folder or a device", shown);
    return fail(ErrorKind::io, "{}: the chunk's file is missing", shown);
}

std::optional<bool> ChunkStore::is_encrypted(const Digest& digest) const {
    const std::string name = hex(digest);
    const auto folder = folder_->folder(name.substr(0, kPrefix));
    if (folder.has_error()) return std::nullopt;
    const auto file = folder.value()->file(name);
    std::array<std::byte, BlobHeader::kMostBytes> start{};
    if (file.has_error()) return std::nullopt;
    const auto got = file.value()->read_at(0, start);
    if (got.has_error()) return std::nullopt;
    const auto header = BlobHeader::parse(std::span(start).first(got.value()));
    if (header.has_error()) return std::nullopt;
    return header.value().encrypted;
}

Result<void> ChunkStore::read(const Wanted& wanted, std::span<std::byte> out) const {
    VDISK_CHECK(check(wanted, out));
    return ok();
}

Result<ChunkStore::Condition> ChunkStore::check_crc(const Digest& digest) const {
    const std::string name = hex(digest);
    VDISK_TRY(folder, folder_->folder(name.substr(0, kPrefix)));
    VDISK_TRY(file, folder->file(name));
    VDISK_TRY(stored, stored_bytes(*file, limits_));
    auto header = BlobHeader::parse(stored.room());
    if (header.has_error()) return std::move(header).error().in(file->name());
    if (!crc_fits(header.value(), stored.room()))
        return fail(ErrorKind::corrupt, "{}: its CRC-32 is wrong: it is damaged", file->name());
    return Condition::sound;
}

// The chunk may be there once more: one that was uploaded again lies beside the one that was renamed.
Result<ChunkStore::Condition> ChunkStore::check(const Wanted& wanted, std::span<std::byte> out) const {
    const std::string name = hex(wanted.digest);
    VDISK_TRY(folder, folder_->folder(name.substr(0, kPrefix)));
    auto read = read_file(*folder, name, wanted, out);
    if (read.has_value()) return read;
    for (unsigned i = 0; i < kMostBad; ++i) {
        const std::string bad = bad_name(name, i);
        if (!folder->kind_of(bad)) continue;
        const auto other = read_file(*folder, bad, wanted, out);
        if (other.has_value()) return Condition::renamed_bad;
        if (!folder->kind_of(name)) read.error().kind = other.error().kind; // what is missing is no passing error here
        read.error().what += fmt::format("; nor does {} hold it", bad);
    }
    return read;
}

Result<ChunkStore::Condition> ChunkStore::read_file(const Folder& folder, const std::string& name, const Wanted& wanted,
                                                    std::span<std::byte> out) const {
    VDISK_TRY(file, folder.file(name));
    const auto unpacked = [&]() -> Result<Condition> {
        VDISK_TRY(stored, stored_bytes(*file, limits_));
        VDISK_TRY(header, BlobHeader::parse(stored.room()));
        const bool fits = crc_fits(header, stored.room());
        const std::string_view crc = fits ? "" : ", and its CRC-32 is wrong";
        auto length = unpack(stored.room(), wanted.key, out);
        if (length.has_error()) {
            length.error().what += crc;
            return std::move(length).error();
        }
        if (length.value() != out.size())
            return fail(ErrorKind::corrupt, "has {} of {} bytes{}", length.value(), out.size(), crc);
        VDISK_TRY(digest, digest_of(out, wanted.key));
        if (digest != wanted.digest)
            return fail(ErrorKind::corrupt, "holds something else: its SHA-256 is {}{}", hex(digest), crc);
        return fits ? Condition::sound : Condition::wrong_crc;
    };
    auto condition = unpacked();
    if (condition.has_error()) return std::move(condition).error().in(file->name());
    return condition;
}

} // namespace vdisk::pbs
