// SPDX-License-Identifier: Apache-2.0
/// JSON as vdisk-json(5) promises it.
#pragma once

#include "base/facts.hpp"

#include <string>

namespace vdisk::tools {

/// The version of what vdisk-json(5) describes. It rises when something that was promised changes, not when something
/// is added.
constexpr int kJsonVersion = 1;

/// How an object is laid out.
enum class JsonLayout : std::uint8_t {
    indented, ///< for the only one of an output
    one_line, ///< where several follow each other
};

/// `facts`, an object, as one document with a newline behind: its version first, keys in small letters with underscores
/// for blanks, and bytes that are not UTF-8 as U+FFFD.
[[nodiscard]] std::string json_document(const Facts& facts, JsonLayout layout = JsonLayout::indented);

/// `facts` with the keys that a document has.
[[nodiscard]] Facts with_json_keys(const Facts& facts);

} // namespace vdisk::tools
