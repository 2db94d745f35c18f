// SPDX-License-Identifier: Apache-2.0
/// What has to be said about how a disk came together.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace vdisk {

struct Remark {
    enum class Weight : std::uint8_t {
        note,  ///< how it was decided; the bytes are the right ones as far as anything shows
        doubt, ///< bytes may be others than those that the guest saw: programs end with their status for damage
    };
    Weight weight = Weight::note;
    std::string text; ///< one line, safe to show

    static Remark note(std::string text) { return {Weight::note, std::move(text)}; }
    static Remark doubt(std::string text) { return {Weight::doubt, std::move(text)}; }

    friend bool operator==(const Remark&, const Remark&) = default;
};

/// The texts of those that are doubts.
[[nodiscard]] inline std::vector<std::string> doubts_of(std::span<const Remark> remarks) {
    std::vector<std::string> texts;
    for (const Remark& remark : remarks)
        if (remark.weight == Remark::Weight::doubt) texts.push_back(remark.text);
    return texts;
}

} // namespace vdisk
