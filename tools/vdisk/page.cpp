// SPDX-License-Identifier: Apache-2.0
#include "vdisk/page.hpp"

#include "base/text.hpp"
#include "open/report.hpp"

#include <algorithm>

namespace vdisk::tools {
namespace {

// What follows in the code must not be read as what it is not: overrides of direction, isolates, marks, what has no
// width (Unicode 15, 23.2 "Layout Controls").
bool misleads(char32_t c) {
    return c == 0x061C || (0x200B <= c && c <= 0x200F) || (0x2028 <= c && c <= 0x202E) ||
           (0x2060 <= c && c <= 0x206F) || c == 0xFEFF || (0xE0000 <= c && c <= 0xE007F);
}

char32_t decoded(std::string_view character) {
    if (character.size() == 1) return static_cast<unsigned char>(character[0]);
    char32_t c = static_cast<unsigned char>(character[0]) & (0xFFU >> (character.size() + 1));
    for (const char next : character.substr(1)) c = (c << 6) | (static_cast<unsigned char>(next) & 0x3FU);
    return c;
}

std::string_view as_entity(char c) {
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;"; // it and the next can end an attribute
    case '\'': return "&#39;";
    default: return "";
    }
}

std::string list_of(std::span<const Facts> elements) {
    std::string items;
    for (const Facts& element : elements) items += "<li>" + html_of(element) + "</li>\n";
    return "<ul>\n" + items + "</ul>\n";
}

constexpr std::string_view kStyle = R"css(:root { color-scheme: light dark; }
body { font-family: sans-serif; line-height: 1.4; margin: 2em auto; padding: 0 1em; max-width: 70em; }
table { border-collapse: collapse; margin: 1em 0; }
caption { text-align: left; font-weight: bold; padding: 0.3em 0; }
th, td { border: 1px solid gray; padding: 0.3em 0.6em; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
thead th { overflow-wrap: normal; }
)css";

} // namespace

std::string escaped(std::string_view text) {
    std::string safe;
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        const std::string_view character = text.substr(0, std::max<std::size_t>(length, 1));
        const std::string_view entity = as_entity(text[0]);
        if (!entity.empty()) safe += entity;
        else if (text[0] == '\n' || text[0] == '\t') safe += text[0];
        else if (length > 1 && misleads(decoded(character)))
            safe += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(decoded(character)));
        else safe += printable(character);
        text.remove_prefix(character.size());
    }
    return safe;
}

std::string HtmlTable::html() const {
    std::string text = "<table>\n<caption>" + caption + "</caption>\n<thead><tr>";
    for (const std::string& head : heads) text += "<th scope=\"col\">" + head + "</th>";
    text += "</tr></thead>\n<tbody>\n";
    for (const auto& row : rows) {
        text += "<tr>";
        for (std::size_t i = 0; i < row.size(); ++i)
            text += i == 0 ? "<th scope=\"row\">" + row[i] + "</th>" : "<td>" + row[i] + "</td>";
        text += "</tr>\n";
    }
    return text + "</tbody>\n</table>\n";
}

std::string html_of(const Facts& facts) {
    if (facts.is_array()) return list_of(facts.elements());
    if (!facts.is_object()) return escaped(value_text("", facts));
    std::string terms;
    for (const auto& [key, value] : facts.members()) {
        if (value.is_nested() && value.empty()) continue;
        terms += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escaped(key),
                             value.is_nested() ? html_of(value) : escaped(value_text(key, value)));
    }
    return terms.empty() ? "" : "<dl>\n" + terms + "</dl>\n";
}

std::string page_start(std::string_view maker) {
    return fmt::format("<!DOCTYPE html>\n<!-- {} -->\n", maker);
}

std::string whole_page(std::string_view maker, std::string_view title, std::string_view style, std::string_view body) {
    return fmt::format(
        "{}<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        "<meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n<style>\n{}{}</style>\n</head>\n"
        "<body>\n{}</body>\n</html>\n",
        page_start(maker), escaped(title), kStyle, style, body);
}

} // namespace vdisk::tools
