// SPDX-License-Identifier: Apache-2.0
#include "common/json_output.hpp"

#include <algorithm>

namespace vdisk::tools {

using Json = nlohmann::ordered_json;

// Facts are nested a few levels deep by our own code, never by a file's.
Json with_json_keys(const Json& facts) {
    if (!facts.is_structured()) return facts;
    Json changed = facts.is_array() ? Json::array() : Json::object();
    for (const auto& [key, value] : facts.items()) {
        if (facts.is_array()) {
            changed.push_back(with_json_keys(value));
            continue;
        }
        std::string name = key;
        std::ranges::transform(name, name.begin(), [](char c) {
            return c == ' ' ? '_' : 'A' <= c && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        });
        changed[name] = with_json_keys(value);
    }
    return changed;
}

std::string json_document(const Json& facts, JsonLayout layout) {
    Json document = Json::object();
    document["vdisk_json"] = kJsonVersion;
    document.update(with_json_keys(facts));
    return document.dump(layout == JsonLayout::indented ? 2 : -1, ' ', false, Json::error_handler_t::replace) + "\n";
}

} // namespace vdisk::tools
