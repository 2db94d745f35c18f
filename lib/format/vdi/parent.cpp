// SPDX-License-Identifier: Apache-2.0
#include "format/vdi/parent.hpp"

#include "base/parse.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"
#include "disk/nearby_files.hpp"
#include "format/vbox/media.hpp"

#include <algorithm>
#include <optional>

namespace fs = std::filesystem;

namespace vdisk::vdi {
namespace {

bool is_registry(const fs::path& path) {
    return NearbyFiles::has_extension(path, {".vbox", ".vbox-prev"}) ||
           lower(utf8(path.filename())) == "virtualbox.xml";
}

bool is_vdi(const fs::path& path) {
    return NearbyFiles::has_extension(path, {".vdi"});
}

class Searcher {
public:
    Searcher(const ParentSearch& search, const References& gate, const Limits& limits)
        : search_(search), gate_(gate), limits_(limits), nearby_(gate, limits) {}

    Result<FoundFile> run() {
        if (auto found = in_registries()) return std::move(*found);
        if (refused_) return std::move(*refused_);
        for (const fs::path& folder : nearby_.folders()) look_at_headers(folder);
        if (match_) {
            std::string how = fmt::format("by its UUID, in the headers of {} files nearby", headers_read_);
            if (matches_ > 1) how += fmt::format("; {} of them have that UUID", matches_);
            return FoundFile{.file = match_, .how = std::move(how), .format = "vdi", .registry = search_.registry};
        }
        return nearby_.not_found();
    }

    std::optional<MediumEncryption> encryption() {
        for (const fs::path& path : registries()) {
            const FilePtr file = nearby_.open_once(path);
            if (!file) continue;
            const auto machine = vbox::Machine::parse(*file, path, limits_);
            const vbox::Medium* const medium = machine.has_value() ? machine.value().find(search_.uuid) : nullptr;
            if (medium != nullptr && medium->encrypted)
                return MediumEncryption{.settings = std::string(file->name()), .key = medium->key};
        }
        return std::nullopt;
    }

private:
    std::vector<fs::path> registries() const {
        std::vector<fs::path> registries;
        if (!search_.registry.empty()) registries.push_back(search_.registry);
        for (const fs::path& folder : gate_.folders())
            for (const fs::path& place : {folder, NearbyFiles::above(folder)}) {
                const std::vector<fs::path> there = NearbyFiles::files_in(place, is_registry);
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
        const FilePtr file = nearby_.open_once(registry);
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

    void look_at_headers(const fs::path& folder) {
        std::size_t read = 0;
        for (const fs::path& path : NearbyFiles::files_in(folder, is_vdi)) {
            const FilePtr file = nearby_.open_once(path);
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
        nearby_.looked_at(fmt::format("the headers of {} .vdi files in {}", read, printable(utf8(folder))));
    }

    std::optional<FoundFile> objected(const std::string& why) {
        nearby_.looked_at(why);
        return std::nullopt;
    }

    const ParentSearch& search_;
    const References& gate_;
    const Limits& limits_;
    NearbyFiles nearby_;
    std::optional<Error> refused_;
    std::size_t headers_read_ = 0;
    FilePtr match_;
    bool match_is_exact_ = false;
    std::size_t matches_ = 0;
};

} // namespace

Result<FoundFile> find_parent(const ParentSearch& search, const References& gate, const Limits& limits) {
    return Searcher(search, gate, limits).run();
}

std::optional<MediumEncryption> find_encryption(const ParentSearch& search, const References& gate,
                                                const Limits& limits) {
    return Searcher(search, gate, limits).encryption();
}

} // namespace vdisk::vdi
