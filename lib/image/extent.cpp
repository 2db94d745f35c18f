// SPDX-License-Identifier: Apache-2.0
#include "image/extent.hpp"

namespace vdisk {

bool Extent::goes_on_in(const Extent& next) const noexcept {
    if (kind != next.kind) return false;
    switch (kind) {
    case Kind::zero:
    case Kind::parent: return true;
    case Kind::stored:
        return source == next.source && enciphered == next.enciphered && host.value + length == next.host.value;
    case Kind::packed:
    case Kind::unreadable: return false;
    }
    return false;
}

Extent Extent::without_start(std::uint64_t skipped) const {
    Extent rest = *this;
    rest.length -= skipped;
    if (kind == Kind::stored) rest.host.value += skipped;
    return rest;
}

} // namespace vdisk
