// SPDX-License-Identifier: Apache-2.0
#include "open/registry.hpp"

#include "format/parallels/parallels.hpp"
#include "format/pbs/pbs.hpp"
#include "format/qcow/qcow.hpp"
#include "format/qcow2/qcow2.hpp"
#include "format/qed/qed.hpp"
#include "format/raw/raw.hpp"
#include "format/vdi/vdi.hpp"
#include "format/vhd/vhd.hpp"
#include "format/vhdx/vhdx.hpp"
#include "format/vma/vma.hpp"
#include "format/vmdk/vmdk.hpp"
#include "open/known_files.hpp"
#include "open/machine/machines.hpp"
#include "open/ova/ova.hpp"
#include "open/reference/reference.hpp"

#include <algorithm>
#include <array>

namespace vdisk {
namespace {

constexpr std::array kFormats{&kQcow2Format,     &kQcowFormat,    &kQedFormat,    &kParallelsFormat, &kVdiFormat,
                              &kVhdFormat,       &kVhdxFormat,    &kVmdkFormat,   &kVboxFormat,      &kVmxFormat,
                              &kLibvirtFormat,   &kProxmoxFormat, &kHypervFormat, &kOvfFormat,       &kPmxcfsFormat,
                              &kPvsFormat,       &kUtmFormat,     &kOvaFormat,    &kVmaFormat,       &kPbsFormat,
                              &kReferenceFormat, &kRawFormat};

Match match_of(const Format& format, const FirstLook& look, const ByteSource& source) {
    const auto present = [&](const Signature& each) { return look.look_for(each) == Sign::present; };
    if (!format.signatures.empty() && std::ranges::none_of(format.signatures, present)) return Match::no;
    return format.probe == nullptr ? Match::sure : format.probe(look.head(), source);
}

} // namespace

std::span<const Format* const> formats() noexcept {
    return kFormats;
}

const Format* find_format(std::string_view name) noexcept {
    for (const Format* format : kFormats)
        if (format->name == name || (!format->alias.empty() && format->alias == name)) return format;
    return nullptr;
}

Result<const Format*> detect_format(const ByteSource& source, Match at_least) {
    VDISK_TRY(look, FirstLook::at(source));
    return detect_format(look, source, at_least);
}

Result<const Format*> detect_format(const FirstLook& look, const ByteSource& source, Match at_least) {
    const Format* best = nullptr;
    Match certainty = Match::no;
    for (const Format* format : kFormats) {
        const Match match = match_of(*format, look, source);
        if (match == Match::no || match < at_least || match < certainty) continue;
        if (match == certainty)
            return fail(ErrorKind::not_this_format, "{}: could be {} or {}: say which", source.name(), best->name,
                        format->name);
        best = format;
        certainty = match;
    }
    if (best == nullptr) return best;
    if (const KnownFile* const other = known_by_its_end(look))
        return fail(ErrorKind::not_this_format, "{}: begins as {} and ends as {}: say which", source.name(), best->name,
                    other->what);
    return best;
}

} // namespace vdisk
