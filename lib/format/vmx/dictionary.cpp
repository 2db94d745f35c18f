// SPDX-License-Identifier: Apache-2.0
#include "format/vmx/dictionary.hpp"

#include "base/charset.hpp"
#include "base/parse.hpp"

#include <algorithm>

namespace vdisk::vmx {
namespace {

// "|22" is a quotation mark: two hexadecimal digits behind a bar, for what can't stand in a value.
std::string unescaped(std::string_view value) {
    std::string text;
    for (std::size_t i = 0; i < value.size(); ++i) {
        const auto code = value[i] == '|' && i + 2 < value.size()
                              ? parse_number<std::uint8_t>(value.substr(i + 1, 2), 16)
                              : std::nullopt;
        text += code && *code != 0 ? static_cast<char>(*code) : value[i];
        if (code && *code != 0) i += 2;
    }
    return text;
}

std::string_view without_quotes(std::string_view value) {
    if (!value.starts_with('"')) return value;
    value.remove_prefix(1);
    return value.substr(0, std::min(value.rfind('"'), value.size()));
}

} // namespace

Dictionary Dictionary::parse(std::string_view text) {
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    Dictionary dictionary;
    while (!text.empty()) {
        const std::string_view line = trimmed(take_line(text));
        const std::size_t equals = line.find('=');
        if (line.starts_with('#') || equals == std::string_view::npos || equals == 0) continue;
        dictionary.values_[lower(trimmed(line.substr(0, equals)))] =
            unescaped(without_quotes(trimmed(line.substr(equals + 1))));
    }
    if (const std::string encoding = dictionary.text(".encoding"); !encoding.empty() && lower(encoding) != "utf-8")
        for (auto& [key, value] : dictionary.values_) value = to_utf8(value, encoding);
    return dictionary;
}

const std::string* Dictionary::find(std::string_view key) const noexcept {
    const auto found = values_.find(key);
    return found == values_.end() ? nullptr : &found->second;
}

std::string Dictionary::text(std::string_view key) const {
    const std::string* const value = find(key);
    return value == nullptr ? "" : *value;
}

std::optional<std::uint64_t> Dictionary::number(std::string_view key) const {
    return parse_number<std::uint64_t>(text(key));
}

std::optional<bool> Dictionary::truth(std::string_view key) const {
    const std::string* const value = find(key);
    return value == nullptr ? std::nullopt : std::optional(lower(*value) == "true");
}

} // namespace vdisk::vmx
