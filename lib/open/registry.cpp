// SPDX-License-Identifier: Apache-2.0
#include "open/registry.hpp"

#include "format/qcow2/qcow2.hpp"
#include "format/raw/raw.hpp"
#include "format/vdi/vdi.hpp"
#include "format/vma/vma.hpp"
#include "open/reference/reference.hpp"
#include "open/vbox/vbox.hpp"

#include <array>

namespace vdisk {
namespace {

constexpr std::array<const Format*, 6> kFormats{&kQcow2Format, &kVdiFormat,       &kVboxFormat,
                                                &kVmaFormat,   &kReferenceFormat, &kRawFormat};

} // namespace

std::span<const Format* const> formats() noexcept {
    return kFormats;
}

const Format* find_format(std::string_view name) noexcept {
    for (const Format* format : kFormats)
        if (format->name == name) return format;
    return nullptr;
}

Result<const Format*> detect_format(const ByteSource& source, Match at_least) {
    std::vector<std::byte> head(kProbeBytes);
    VDISK_TRY(got, source.read_at(0, head));
    head.resize(got);

    const Format* best = nullptr;
    Match certainty = Match::no;
    for (const Format* format : kFormats) {
        const Match match = format->probe(head, source);
        if (match == Match::no || match < at_least || match < certainty) continue;
        if (match == certainty)
            return fail(ErrorKind::not_this_format, "{}: could be {} or {}: say which", source.name(), best->name,
                        format->name);
        best = format;
        certainty = match;
    }
    return best;
}

} // namespace vdisk
