// SPDX-License-Identifier: Apache-2.0
#include "disk/references.hpp"
#include "disk/selector.hpp"
#include "format_target.hpp"

void vdisk::fuzz::selector(Input input) {
    const std::string text(reinterpret_cast<const char*>(input.data()), input.size());
    (void)parse_selector(text);
    const References gate("/nonexistent/image", ReferencePolicy::same_dir, {});
    fuzz::require(gate.open(text).has_error()); // nothing lies there
    if (text.empty() || text.find('\0') != std::string::npos) return;
    const auto word = parse_selector("/nonexistent/image#device=" + selector_word(text));
    fuzz::require(word.has_value() && word.value().device == text);
}
