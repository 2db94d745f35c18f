// SPDX-License-Identifier: Apache-2.0
#include "format/pbs/catalog.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <vector>

namespace vdisk::pbs {
namespace {

constexpr std::array<unsigned char, 8> kCatalogMagic{0x91, 0xfd, 0x60, 0xf9, 0xc4, 0x67, 0x58, 0xd5};
constexpr std::size_t kRootBytes = 8; // at the end: where the root's table is

// Reads from the front of some bytes; what is not there is nothing.
class CatalogReader {
public:
    explicit CatalogReader(std::span<const std::byte> bytes) : rest_(bytes) {}

    [[nodiscard]] std::size_t left() const noexcept { return rest_.size(); }

    std::optional<std::span<const std::byte>> take(std::uint64_t count) {
        if (count > rest_.size()) return std::nullopt;
        const auto taken = rest_.first(static_cast<std::size_t>(count));
        rest_ = rest_.subspan(taken.size());
        return taken;
    }

    // Seven bits a byte, the lowest first; 0x80: another byte follows.
    std::optional<std::uint64_t> number() {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            const auto byte = take(1);
            if (!byte) return std::nullopt;
            const auto bits = std::to_integer<std::uint64_t>(byte->front());
            if (shift == 63 && bits > 1) return std::nullopt;
            value |= (bits & 0x7F) << shift;
            if (bits < 0x80) return value;
        }
        return std::nullopt;
    }

    // The same, but that a byte of 0 behind one that others were to follow makes it negative.
    std::optional<std::int64_t> signed_number() {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift <= 70; shift += 7) {
            const auto byte = take(1);
            if (!byte) return std::nullopt;
            const auto bits = std::to_integer<std::uint64_t>(byte->front());
            if (bits == 0 && shift > 0) return static_cast<std::int64_t>(~value + 1);
            if (shift > 63) return std::nullopt;
            value |= (bits & 0x7F) << shift;
            if (bits < 0x80) return static_cast<std::int64_t>(value);
        }
        return std::nullopt;
    }

private:
    std::span<const std::byte> rest_;
};

struct CatalogEntry {
    char kind = '?';
    std::string name{};
    std::uint64_t size = 0;           ///< of a file
    std::int64_t modified = 0;        ///< of a file, Unix seconds
    std::optional<std::size_t> table; ///< of a folder
};

class CatalogLister {
public:
    CatalogLister(std::span<const std::byte> bytes, const Limits& limits) : bytes_(bytes), limits_(limits) {}

    Catalog run() {
        CatalogReader last(bytes_.last(kRootBytes));
        std::uint64_t root = 0;
        const auto stored = *last.take(kRootBytes);
        for (std::size_t i = kRootBytes; i > 0; --i) root = root << 8 | std::to_integer<std::uint64_t>(stored[i - 1]);
        if (root < kCatalogMagic.size() || root >= bytes_.size() - kRootBytes) {
            catalog_.problem =
                fmt::format("its root's table is said to be at {}, and it has {} bytes", root, bytes_.size());
            return std::move(catalog_);
        }
        pending_.push_back({static_cast<std::size_t>(root), ""});
        while (!pending_.empty() && !full_) {
            Folder folder = std::move(pending_.back());
            pending_.pop_back();
            list(folder);
        }
        return std::move(catalog_);
    }

private:
    struct Folder {
        std::size_t table;
        std::string path;
    };

    // A folder's entries in their order, then what is in its folders.
    void list(const Folder& folder) {
        const auto entries = entries_of(folder.table);
        if (!entries) {
            tell(fmt::format("the table of '{}' at {} is damaged", folder.path, folder.table));
            return;
        }
        std::vector<Folder> inner;
        for (const CatalogEntry& entry : *entries) {
            const std::string path = folder.path.empty() ? entry.name : folder.path + "/" + entry.name;
            add(entry, path);
            if (full_) return;
            if (entry.table) inner.push_back({*entry.table, path});
        }
        std::move(inner.rbegin(), inner.rend(), std::back_inserter(pending_));
    }

    void add(const CatalogEntry& entry, const std::string& path) {
        if (++entries_ > limits_.folder_entries || catalog_.text.size() > limits_.catalog_bytes) {
            full_ = true;
            tell(fmt::format("it lists more than {} entries, or {} bytes of them: the rest is left out",
                             limits_.folder_entries, limits_.catalog_bytes));
            return;
        }
        if (entry.kind == 'f')
            catalog_.text += fmt::format("f {:>14} {} {}\n", entry.size, utc_time(entry.modified), path);
        else catalog_.text += fmt::format("{} {:>14} {:20} {}\n", entry.kind, "", "", path);
    }

    // Nothing if it is damaged. A table comes behind those of the folders in it, so that nothing goes in circles.
    std::optional<std::vector<CatalogEntry>> entries_of(std::size_t table) const {
        CatalogReader head(bytes_.first(bytes_.size() - kRootBytes).subspan(table));
        const auto length = head.number();
        const auto body = length ? head.take(*length) : std::nullopt;
        if (!body) return std::nullopt;
        CatalogReader reader(*body);
        const auto count = reader.number();
        if (!count || *count > reader.left()) return std::nullopt;
        std::vector<CatalogEntry> entries;
        // No more than are told: of a large table each takes many times what it has in the file.
        for (std::uint64_t i = 0; i < *count && entries.size() <= limits_.folder_entries; ++i) {
            auto entry = entry_in(reader, table);
            if (!entry) return std::nullopt;
            entries.push_back(std::move(*entry));
        }
        return entries;
    }

    static std::optional<CatalogEntry> entry_in(CatalogReader& reader, std::size_t table) {
        constexpr std::string_view kKinds = "dflhbcps";
        const auto kind = reader.take(1);
        const auto length = reader.number();
        const auto name = length ? reader.take(*length) : std::nullopt;
        if (!kind || !name) return std::nullopt;
        CatalogEntry entry{.kind = std::to_integer<char>(kind->front()), .table = std::nullopt};
        if (kKinds.find(entry.kind) == std::string_view::npos) return std::nullopt;
        entry.name = printable(as_text(*name));
        if (entry.kind == 'd') {
            const auto distance = reader.number();
            if (!distance || *distance == 0 || *distance > table - kCatalogMagic.size()) return std::nullopt;
            entry.table = table - static_cast<std::size_t>(*distance);
        } else if (entry.kind == 'f') {
            const auto size = reader.number();
            const auto modified = reader.signed_number();
            if (!size || !modified) return std::nullopt;
            entry.size = *size;
            entry.modified = *modified;
        }
        return entry;
    }

    void tell(const std::string& problem) {
        if (catalog_.problem.empty()) catalog_.problem = problem;
    }

    std::span<const std::byte> bytes_;
    const Limits& limits_;
    Catalog catalog_;
    std::vector<Folder> pending_;
    std::size_t entries_ = 0;
    bool full_ = false;
};

} // namespace

Result<Catalog> list_catalog(const ByteSource& content, const Limits& limits) {
    if (content.size() > limits.catalog_bytes)
        return fail(ErrorKind::limit_exceeded, "{}: the catalog has {} bytes, the limit is {}", content.name(),
                    content.size(), limits.catalog_bytes);
    VDISK_TRY(bytes, read_bytes(content, 0, content.size(), "catalog"));
    if (bytes.size() < kCatalogMagic.size() + kRootBytes ||
        std::memcmp(bytes.data(), kCatalogMagic.data(), kCatalogMagic.size()) != 0)
        return fail(ErrorKind::not_this_format, "{}: is no catalog", content.name());
    return CatalogLister(bytes, limits).run();
}

} // namespace vdisk::pbs
