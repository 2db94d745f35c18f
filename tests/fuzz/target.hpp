// SPDX-License-Identifier: Apache-2.0
/// The fuzz targets: functions that take any bytes, all of them in one program. targets.cpp lists them.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <span>
#include <string_view>

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

/// What a target does is in parts, of which an input has one, as all its bytes choose: each part is then done for its
/// share of the inputs, and any change may lead to another one. An input of which all is wanted, as where a corpus is
/// rerun, has all of them: VDISK_FUZZ_PARTS=all.
class Parts {
public:
    Parts(Input input, std::size_t count) : all_(wants_all()), chosen_(all_ ? 0 : digest(input) % count) {}
    template<class Part> [[nodiscard]] bool has(Part part) const noexcept {
        return all_ || static_cast<std::size_t>(part) == chosen_;
    }

private:
    static bool wants_all() {
        static const bool all = std::getenv("VDISK_FUZZ_PARTS") != nullptr;
        return all;
    }
    static std::size_t digest(Input input) {
        return std::hash<std::string_view>()({reinterpret_cast<const char*>(input.data()), input.size()});
    }

    bool all_;
    std::size_t chosen_;
};

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
