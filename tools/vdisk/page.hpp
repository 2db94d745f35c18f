// SPDX-License-Identifier: Apache-2.0
/// Pages of HTML that stand alone: nothing in them runs, is fetched, or leads anywhere but within the page.
#pragma once

#include "base/facts.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdisk::tools {

/// `text`, which may be any bytes, as it is shown within an element or an attribute's quotes: nothing of it is markup.
/// What printable() escapes, and the characters by which Unicode turns the direction of text or shows nothing, are
/// written as \xNN and \uNNNN; line ends and tabs stay.
[[nodiscard]] std::string escaped(std::string_view text);

/// A table. Captions, heads and cells are HTML; the first cell of a row is its head.
struct HtmlTable {
    std::string caption{};
    std::vector<std::string> heads{};
    std::vector<std::vector<std::string>> rows{};

    [[nodiscard]] std::string html() const;
};

/// `facts` as lists of terms and what they are, nested as they are.
[[nodiscard]] std::string html_of(const Facts& facts);

/// A whole page: `maker`, the command that makes it, stands in a comment at its start, as page_start() has it. `title`
/// is text, `style` and `body` are CSS and HTML.
[[nodiscard]] std::string whole_page(std::string_view maker, std::string_view title, std::string_view style,
                                     std::string_view body);

/// What a page of `maker` begins with.
[[nodiscard]] std::string page_start(std::string_view maker);

} // namespace vdisk::tools
