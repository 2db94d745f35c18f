// SPDX-License-Identifier: Apache-2.0
#include "parameters.hpp"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <unistd.h>

namespace vdisk::nbd {
namespace {

// A parent is a path, or "none".
enum class Value { text, path, parent };

struct SelectorKey {
    std::string_view name;
    Value value;
    bool names_a_disk;
};

constexpr std::array kSelectorKeys{
    SelectorKey{"device", Value::text, true},      SelectorKey{"snapshot", Value::text, true},
    SelectorKey{"key-file", Value::path, false},   SelectorKey{"backing", Value::parent, false},
    SelectorKey{"data-file", Value::path, false},  SelectorKey{"parent", Value::parent, false},
    SelectorKey{"root", Value::path, false},       SelectorKey{"passphrase-file", Value::path, false},
    SelectorKey{"chunks", Value::path, false},     SelectorKey{"block-size", Value::text, false},
    SelectorKey{"map-offset", Value::text, false}, SelectorKey{"data-offset", Value::text, false},
    SelectorKey{"size", Value::text, false},
};

// Empty if there is no memory, which nbdkit has told then.
std::string absolute(const char* path) {
    const std::unique_ptr<char, decltype(&std::free)> made(nbdkit_absolute_path(path), &std::free);
    return made ? made.get() : "";
}

// A comma or backslash in a value is escaped by a backslash.
std::string escaped(std::string_view value) {
    std::string text;
    for (const char c : value) {
        if (c == ',' || c == '\\') text += '\\';
        text += c;
    }
    return text;
}

bool set_once(std::string& member, std::string value, std::string_view key) {
    if (!member.empty()) nbdkit_error("%s is given twice", std::string(key).c_str());
    else if (value.empty()) nbdkit_error("%s has no value", std::string(key).c_str());
    else {
        member = std::move(value);
        return true;
    }
    return false;
}

} // namespace

bool Parameters::set(std::string_view key, const char* value) {
    if (key == "file") return set_once(file_, *value == '\0' ? "" : absolute(value), key);
    if (key == "format") return set_once(format_, value, key);
    const auto* known = std::ranges::find(kSelectorKeys, key, &SelectorKey::name);
    if (known == kSelectorKeys.end()) {
        nbdkit_error("unknown parameter '%s'", std::string(key).c_str());
        return false;
    }
    // That a key is given twice or has no value is told by the library, which reads the selector.
    const bool left_out = known->value == Value::parent && std::string_view(value) == "none";
    const bool is_path = known->value != Value::text && !left_out && *value != '\0';
    const std::string given = is_path ? absolute(value) : value;
    if (!selector_.empty()) selector_ += ',';
    selector_ += std::string(key) + '=' + escaped(given);
    disk_named_ = disk_named_ || known->names_a_disk;
    return true;
}

bool Parameters::file_has_selector() const {
    return file_.find('#') != std::string::npos && ::access(file_.c_str(), F_OK) != 0;
}

std::string Parameters::path() const {
    if (selector_.empty()) return file_;
    return file_ + (file_has_selector() ? ',' : '#') + selector_;
}

bool Parameters::selects_a_disk() const {
    return disk_named_ || file_has_selector();
}

} // namespace vdisk::nbd
