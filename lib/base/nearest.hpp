// SPDX-License-Identifier: Apache-2.0
/// What somebody may have meant by a word that is not there.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace vdisk {

/// Letters to insert, remove, replace or swap with their neighbour until `a` is `b`.
[[nodiscard]] std::size_t edit_distance(std::string_view a, std::string_view b);

/// The one of `words` that `typed` is most like; empty if it is like none: more than a third of its letters would have
/// to change.
[[nodiscard]] std::string_view nearest(std::string_view typed, std::span<const std::string_view> words);

/// "; did you mean 'info'?", or nothing if `typed` is like none of `words`.
[[nodiscard]] std::string suggestion(std::string_view typed, std::span<const std::string_view> words);

} // namespace vdisk
