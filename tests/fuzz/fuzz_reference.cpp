// SPDX-License-Identifier: Apache-2.0
#include "format_target.hpp"
#include "open/reference/reference.hpp"

// What a reference file says can be written down and read again; and none leads anywhere past the gate, which knows no
// file.
void vdisk::fuzz::reference(Input input) {
    const SpanSource source(input);
    (void)kReferenceFormat.probe(input.first(std::min(input.size(), FirstLook::kHeadBytes)), source);
    fuzz::require(kReferenceFormat.follow(source, fuzz::context(Limits{})).has_error());

    const auto parsed =
        parse_reference(std::string_view(reinterpret_cast<const char*>(input.data()), input.size()), "input");
    if (parsed.has_error()) return;
    const auto text = reference_text(parsed.value());
    if (text.has_error()) return;
    const auto again = parse_reference(text.value(), "text");
    fuzz::require(again.has_value() && again.value() == parsed.value());
}
