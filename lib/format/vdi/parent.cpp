// SPDX-License-Identifier: Apache-2.0
#include "format/vdi/parent.hpp"

#include "base/text.hpp"
#include "format/vbox/media.hpp"

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <system_error>

namespace fs = std::filesystem;

namespace vdisk::vdi {
namespace {

std::string lower(std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

bool is_registry(const fs::path& path) {
    const std::string extension = lower(path.extension().native());
    return extension == ".vbox" || extension == ".vbox-prev" || lower(path.filename().native()) == "virtualbox.xml";
}

bool is_vdi(const fs::path& path) {
    return lower(path.extension().native()) == ".vdi";
}

// The folder above, in the way in which `folder` was written.
fs::path above(const fs::path& folder) {
    if (folder == ".") return "..";
    if (folder.filename() == "..") return folder / "..";
    return folder.has_parent_path() ? folder.parent_path() : fs::path(".");
}

// The files of a folder that `wanted` takes, sorted by name: the order of a directory is not the same twice.
std::vector<fs::path> files_in(const fs::path& folder, bool (*wanted)(const fs::path&)) {
    std::vector<fs::path> files;
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
        if (wanted(entry->path())) files.push_back(folder == "." ? entry->path().filename() : entry->path());
    std::ranges::sort(files);
    return files;
}

class Searcher {
public:
    Searcher(const ParentSearch& search, const References& gate, const Limits& limits)
        : search_(search), gate_(gate), limits_(limits) {}

    Result<FoundFile> run() {
        if (auto found = in_registries()) return std::move(*found);
        if (refused_) return std::move(*refused_);
        for (const fs::path& folder : image_folders()) look_at_headers(folder);
        if (match_) {
            std::string how = fmt::format("by its UUID, in the headers of {} files nearby", headers_read_);
            if (matches_ > 1) how += fmt::format("; {} of them have that UUID", matches_);
            return FoundFile{.file = match_, .how = std::move(how), .format = "vdi", .registry = search_.registry};
        }
        return not_found();
    }

    Result<void> refuse_encrypted() {
        for (const fs::path& path : registries()) {
            const FilePtr file = open_once(path);
            if (!file) continue;
            const auto machine = vbox::Machine::parse(*file, path, limits_);
            const vbox::Medium* const medium = machine.has_value() ? machine.value().find(search_.uuid) : nullptr;
            if (medium != nullptr && medium->encrypted)
                return fail(ErrorKind::unsupported, "is encrypted, as {} says, which is not supported", file->name());
        }
        return ok();
    }

private:
    std::vector<fs::path> registries() const {
        std::vector<fs::path> registries;
        if (!search_.registry.empty()) registries.push_back(search_.registry);
        for (const fs::path& folder : gate_.folders())
            for (const fs::path& place : {folder, above(folder)}) {
                const std::vector<fs::path> there = files_in(place, is_registry);
                registries.insert(registries.end(), there.begin(), there.end());
            }
        return registries;
    }

    std::optional<FoundFile> in_registries() {
        for (const fs::path& path : registries()) {
            auto found = ask(path);
            if (found || refused_) return found;
        }
        return std::nullopt;
    }

    std::optional<FoundFile> ask(const fs::path& registry) {
        const FilePtr file = open_once(registry);
        if (!file) return std::nullopt;
        const auto machine = vbox::Machine::parse(*file, registry, limits_);
        if (machine.has_error()) return objected(machine.error().what);
        const vbox::Medium* const medium = machine.value().find(search_.uuid);
        if (medium == nullptr) return objected(fmt::format("{}: does not know it", file->name()));
        auto found = vbox::open_medium(machine.value(), *medium, gate_);
        if (found.has_value()) return std::move(found).value();
        // Enciphered or of a format that is not read here: a file with the right UUID would still give the wrong bytes.
        if (found.error().kind == ErrorKind::unsupported) refused_ = found.error();
        return objected(found.error().what);
    }

    std::vector<fs::path> image_folders() {
        std::vector<fs::path> folders;
        std::set<fs::path> seen;
        for (const fs::path& folder : gate_.folders())
            for (const fs::path& place : {folder, above(folder), folder / "Snapshots"}) {
                std::error_code error;
                const fs::path real = fs::canonical(place, error);
                if (!error && seen.insert(real).second) folders.push_back(place);
            }
        return folders;
    }

    void look_at_headers(const fs::path& folder) {
        std::size_t read = 0;
        for (const fs::path& path : files_in(folder, is_vdi)) {
            const FilePtr file = open_once(path);
            if (!file) continue;
            ++read;
            const auto header = Header::parse(*file);
            if (header.has_error() || header.value().uuid_create != search_.uuid) continue;
            ++matches_;
            const bool better = header.value().uuid_modify == search_.modify && !match_is_exact_;
            if (!match_ || better) match_ = file;
            match_is_exact_ = match_is_exact_ || better;
        }
        headers_read_ += read;
        objected(fmt::format("the headers of {} .vdi files in {}", read, printable(folder.native())));
    }

    // The file, if it is a regular one that the policy lets be opened and was not opened before.
    FilePtr open_once(const fs::path& path) {
        if (opened_.size() >= limits_.search_files) {
            cut_short_ = true;
            return nullptr;
        }
        auto file = gate_.open_exact(path);
        if (file.has_error()) {
            if (file.error().kind == ErrorKind::usage) ++forbidden_;
            return nullptr;
        }
        return opened_.insert(file.value()->identity()).second ? file.value() : nullptr;
    }

    std::optional<FoundFile> objected(std::string why) {
        looked_ += fmt::format("{}{}", looked_.empty() ? "" : "; ", why);
        return std::nullopt;
    }

    Error not_found() const {
        std::string text = fmt::format("not found; looked at: {}", looked_.empty() ? "nothing" : looked_);
        if (forbidden_ > 0) text += fmt::format("; {} files were not opened because of VDISK_REFERENCES", forbidden_);
        if (cut_short_) text += fmt::format("; stopped after {} files", limits_.search_files);
        return fail(forbidden_ > 0 ? ErrorKind::usage : ErrorKind::io, "{}", text);
    }

    const ParentSearch& search_;
    const References& gate_;
    const Limits& limits_;
    std::set<FileIdentity> opened_;
    std::string looked_;
    std::optional<Error> refused_;
    std::size_t forbidden_ = 0;
    bool cut_short_ = false;
    std::size_t headers_read_ = 0;
    FilePtr match_;
    bool match_is_exact_ = false;
    std::size_t matches_ = 0;
};

} // namespace

Result<FoundFile> find_parent(const ParentSearch& search, const References& gate, const Limits& limits) {
    return Searcher(search, gate, limits).run();
}

Result<void> refuse_encrypted(const ParentSearch& search, const References& gate, const Limits& limits) {
    return Searcher(search, gate, limits).refuse_encrypted();
}

} // namespace vdisk::vdi
