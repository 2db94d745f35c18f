// SPDX-License-Identifier: Apache-2.0
#include "format_target.hpp"
#include "open/reference/reference.hpp"

// What a reference file says can be written down and read again; and none leads anywhere past the gate, which knows no
// file.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace vdisk;
    const auto bytes = std::as_bytes(std::span(data, size));
    const MemorySource source(std::vector<std::byte>(bytes.begin(), bytes.end()), "input");
    (void)kReferenceFormat.probe(bytes.first(std::min(size, FirstLook::kHeadBytes)), source);
    fuzz::require(kReferenceFormat.follow(source, fuzz::context(Limits{})).has_error());

    const auto parsed = parse_reference(std::string_view(reinterpret_cast<const char*>(data), size), "input");
    if (parsed.has_error()) return 0;
    const auto text = reference_text(parsed.value());
    if (text.has_error()) return 0;
    const auto again = parse_reference(text.value(), "text");
    fuzz::require(again.has_value() && again.value() == parsed.value());
    return 0;
}
