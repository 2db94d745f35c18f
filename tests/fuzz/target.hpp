// SPDX-License-Identifier: Apache-2.0
/// The fuzz targets: functions that take any bytes, all of them in one program. targets.cpp lists them.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <span>

namespace vdisk::fuzz {

using Input = std::span<const std::byte>;

/// Ends the program if `condition` does not hold: that is a finding.
inline void require(bool condition) {
    if (!condition) std::abort();
}

/// Whether both are the same bytes. By memcmp(): in an instrumented loop each of them would count as a branch.
inline bool same(Input one, Input other) {
    return one.size() == other.size() && (one.empty() || std::memcmp(one.data(), other.data(), one.size()) == 0);
}

// Each in a source of its own, which says what it takes.
void doors(Input input);
void guest_state(Input input);
void hyperv(Input input);
void index_cache(Input input);
void luks(Input input);
void model(Input input);
void pbs(Input input);
void reference(Input input);
void selector(Input input);
void streams(Input input);
void vbox(Input input);
void vhdx(Input input);
void vma(Input input);

} // namespace vdisk::fuzz
