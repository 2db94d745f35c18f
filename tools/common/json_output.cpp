// SPDX-License-Identifier: Apache-2.0
#include "common/json_output.hpp"

#include <algorithm>

namespace vdisk::tools {

// Facts are nested a few levels deep by our own code, never by a file's.
Facts with_json_keys(const Facts& facts) {
    if (!facts.is_nested()) return facts;
    Facts changed = facts.is_array() ? Facts::array() : Facts::object();
    for (const Facts& element : facts.elements()) changed.push_back(with_json_keys(element));
    for (const auto& [key, value] : facts.members()) {
        std::string name = key;
        std::ranges::transform(name, name.begin(), [](char c) {
            return c == ' ' ? '_' : 'A' <= c && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        });
        changed[name] = with_json_keys(value);
    }
    return changed;
}

std::string json_document(const Facts& facts, JsonLayout layout) {
    Facts document = Facts::object();
    document["vdisk_json"] = kJsonVersion;
    document.update(with_json_keys(facts));
    return document.dump(layout == JsonLayout::indented) + "\n";
}

} // namespace vdisk::tools
