// SPDX-License-Identifier: Apache-2.0
#include "disk/backing_name.hpp"

#include "base/checked.hpp"
#include "base/parse.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <iterator>

namespace vdisk {
namespace {

using Json = nlohmann::json;

// What QEMU takes for a protocol: letters before a colon that stands before any slash ("nbd://host", "rbd:pool").
std::string_view protocol_of(std::string_view name) {
    const std::size_t colon = name.find(':');
    if (colon == std::string_view::npos || name.find('/') < colon) return {};
    return name.substr(0, colon);
}

bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// C:\folder\name, \\?\C:\folder\name, \\server\share\name.
bool is_windows(std::string_view name) {
    if (name.starts_with("\\\\")) return true;
    return name.size() > 2 && is_letter(name[0]) && name[1] == ':' && (name[2] == '\\' || name[2] == '/');
}

// "/folder/name": what is below the drive or share, with slashes.
std::string below_drive(std::string_view name) {
    std::string path(name);
    std::ranges::replace(path, '\\', '/');
    if (path.starts_with("//?/") || path.starts_with("//./")) path.erase(0, 4);
    if (path.size() > 1 && path[1] == ':') path.erase(0, 2);
    return path.starts_with('/') ? path : "/" + path;
}

// Of a path of Windows what can be looked for in a copy of its folders; and, on Windows, the path itself.
BackingName windows_path(std::string_view name) {
    BackingName path{.paths = {below_drive(name)}, .windows = true};
    // Never a share: an image must not make this machine ask another one, which it would tell who is asking.
    if (system::kHasDrives && is_letter(name.front())) path.here = {std::string(name)};
    return path;
}

// QEMU takes what is behind "file:" as it is; others write URIs.
Result<BackingName> parse_uri(std::string_view name) {
    std::string_view path = name.substr(std::string_view("file:").size());
    if (path.starts_with("//")) {
        const std::string_view host = path.substr(2, path.find('/', 2) - 2);
        const bool relative = host == "." || host == ".."; // as XenServer writes it: file://./name
        if (!host.empty() && host != "localhost" && !relative)
            return fail(ErrorKind::unsupported, "'{}' is not opened: it names a file of another machine",
                        printable(name));
        path.remove_prefix(relative ? 2 : 2 + host.size());
    }
    BackingName parsed{.paths = {std::string(path)}};
    std::string decoded = percent_decoded(path);
    if (decoded != path) parsed.paths.push_back(std::move(decoded));
    if (path.empty() ||
        std::ranges::any_of(parsed.paths, [](const std::string& each) { return each.find('\0') != std::string::npos; }))
        return fail(ErrorKind::corrupt, "'{}' is no name of a file", printable(name));
    if (is_windows(path.starts_with('/') ? path.substr(1) : path)) {
        for (std::string& each : parsed.paths) {
            BackingName own = windows_path(each.starts_with('/') ? each.substr(1) : each);
            each = std::move(own.paths.front());
            std::ranges::move(own.here, std::back_inserter(parsed.here));
        }
        parsed.windows = true;
    }
    return parsed;
}

// {"file.filename": x} is {"file": {"filename": x}}.
Json nested(const Json& flat) {
    Json object = Json::object();
    for (const auto& [key, value] : flat.items()) {
        Json* place = &object;
        std::string_view rest = key;
        for (std::size_t dot = rest.find('.'); dot != std::string_view::npos; dot = rest.find('.')) {
            place = &(*place)[std::string(rest.substr(0, dot))];
            rest.remove_prefix(dot + 1);
            if (!place->is_object() && !place->is_null()) return Json();
        }
        Json& leaf = (*place)[std::string(rest)];
        if (leaf.is_object() && value.is_object()) leaf.update(nested(value));
        else leaf = value.is_object() ? nested(value) : value;
    }
    return object;
}

// What changes the bytes that the file stands for, and is not read here.
constexpr std::array kRefused{"backing", "data-file", "encrypt", "key-secret", "server", "host"};
// Layers that hand their file's bytes on as they are.
constexpr std::array kFilters{"copy-on-read", "throttle", "compress", "preallocate", "copy-before-write"};
constexpr std::array kFiles{"file", "host_device"};

std::string word(const Json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// A number, or the text of one, as QEMU takes both. Nothing where the key is missing.
Result<std::optional<std::uint64_t>> number(const Json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end()) return std::optional<std::uint64_t>();
    if (found->is_number_unsigned()) return std::optional(found->get<std::uint64_t>());
    const auto value = parse_number<std::uint64_t>(word(object, key));
    if (!value) return fail(ErrorKind::unsupported, "its {} is {}, which is no number of bytes", key, found->dump());
    return value;
}

// Goes down from layer to layer to the file itself; each raw one may take a part of what is below.
class JsonName {
public:
    Result<BackingName> read(const Json& top) {
        VDISK_CHECK(go_down(top));
        parsed_.window = window_;
        return std::move(parsed_);
    }

private:
    Result<void> go_down(const Json& object) {
        for (const Json* layer = &object; layer != nullptr;) {
            if (!layer->is_object()) return fail(ErrorKind::unsupported, "it names its file by a node, not by a path");
            for (const char* key : kRefused)
                if (layer->contains(key))
                    return fail(ErrorKind::unsupported, "it says '{}', which is not read here", key);
            VDISK_TRY(below, take(*layer));
            layer = below;
        }
        return ok();
    }

    // The layer below, or nullptr once the file is reached.
    Result<const Json*> take(const Json& layer) {
        std::string driver = word(layer, "driver");
        const auto file = layer.find("file");
        if (file == layer.end()) {
            VDISK_CHECK(take_file(layer, driver));
            return nullptr;
        }
        if (std::ranges::find(kFilters, driver) == kFilters.end()) {
            if (driver == "raw") VDISK_CHECK(take_window(layer));
            else if (parsed_above_)
                return fail(ErrorKind::unsupported, "it has '{}' below another format", printable(driver));
            if (parsed_.format.empty()) parsed_.format = driver;
            parsed_above_ = parsed_above_ || !driver.empty();
        }
        return &*file;
    }

    Result<void> take_file(const Json& layer, const std::string& driver) {
        if (!driver.empty() && std::ranges::find(kFiles, driver) == kFiles.end())
            return fail(ErrorKind::unsupported, "driver '{}' reads no local file", printable(driver));
        const std::string name = word(layer, "filename");
        if (name.empty()) return fail(ErrorKind::unsupported, "it names no file");
        if (name.find('\0') != std::string::npos) return fail(ErrorKind::corrupt, "the name has a NUL byte in it");
        if (name.starts_with("json:")) return fail(ErrorKind::unsupported, "it holds another json: name");
        VDISK_TRY(inner, parse_backing_name(name));
        parsed_.paths = std::move(inner.paths);
        parsed_.windows = inner.windows;
        parsed_.here = inner.here;
        return ok();
    }

    // The window of an inner layer: what was seen before lies in it.
    Result<void> take_window(const Json& layer) {
        VDISK_TRY(offset, number(layer, "offset"));
        VDISK_TRY(length, number(layer, "size"));
        if (!offset && !length) return ok();
        if (!window_) window_ = Window{};
        if (length) {
            if (*length < window_->offset) return fail(ErrorKind::corrupt, "its offset is behind its size");
            const std::uint64_t left = *length - window_->offset;
            window_->length = std::min(left, window_->length.value_or(left));
        }
        const auto start = checked_add(window_->offset, offset.value_or(0));
        if (!start) return fail(ErrorKind::corrupt, "its offsets add up beyond 2^64");
        window_->offset = *start;
        return ok();
    }

    BackingName parsed_;
    bool parsed_above_ = false;
    std::optional<Window> window_;
};

Result<BackingName> parse_json(std::string_view name) {
    const Json object = Json::parse(name.substr(std::string_view("json:").size()), nullptr, false);
    auto parsed = object.is_object() ? JsonName().read(nested(object))
                                     : Result<BackingName>(fail(ErrorKind::corrupt, "it is no JSON object"));
    if (parsed.has_error())
        return std::move(parsed).error().in(fmt::format("'{}' is not opened", printable(shortened(name, 300))));
    return parsed;
}

} // namespace

BackingName host_path(std::string_view path) {
    if (is_windows(path)) return windows_path(path);
    if (path.starts_with('/') || path.find('\\') == std::string_view::npos)
        return BackingName{.paths = {std::string(path)}};
    std::string slashes(path);
    std::ranges::replace(slashes, '\\', '/');
    return BackingName{.paths = {std::move(slashes)}, .windows = true};
}

Result<BackingName> parse_backing_name(std::string_view name) {
    if (name.starts_with("json:")) return parse_json(name);
    if (name.starts_with("file:")) return parse_uri(name);
    if (is_windows(name)) return windows_path(name);
    if (const std::string_view protocol = protocol_of(name); !protocol.empty())
        return fail(ErrorKind::unsupported, "'{}' is not opened: protocol '{}:' names no local file", printable(name),
                    printable(protocol));
    return BackingName{.paths = {std::string(name)}};
}

} // namespace vdisk
