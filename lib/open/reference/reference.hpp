// SPDX-License-Identifier: Apache-2.0
/// Reference files (`.vdisk`): a few lines of text that name an image and what to select in it, for programs that take
/// an existing file and no selector. The first line is "vdisk-reference 1"; then `image = PATH` and the keys of a
/// selector, one a line. Paths are relative to the reference file. A value may be a JSON string in double quotes; empty
/// lines and lines that begin with '#' are skipped.
#pragma once

#include "disk/format.hpp"

namespace vdisk {

extern const Format kReferenceFormat;

/// The first line of a reference file starts like this; the version follows.
constexpr std::string_view kReferenceMagic = "vdisk-reference ";

/// What the text of the reference file `name` says, with paths as written. Errors, which name `name`, the line and the
/// value: `not_this_format`, `unsupported` for another version, else `corrupt`.
[[nodiscard]] Result<Selector> parse_reference(std::string_view text, std::string_view name);

/// The text of a reference file that says `selector`, whose paths must be relative to it or absolute; `word` is not
/// used. Errors: `usage` for a value that no such text can hold.
[[nodiscard]] Result<std::string> reference_text(const Selector& selector);

/// The selector that stands in a text which a parent's key holds.
using ReadNested = std::function<Result<Selector>(std::string_view text)>;
using ChangePath = std::function<Result<std::string>(const std::string& path, bool is_folder)>;

/// Puts `change(path, ...)` in the place of each path behind a key of `selector`, those in the selectors of parents
/// too: `read` parses them. Errors: `limit_exceeded` for more than `depth` parents in each other, `usage`, and what
/// `read` and `change` give.
[[nodiscard]] Result<void> change_paths(Selector& selector, const ReadNested& read, const ChangePath& change,
                                        std::size_t depth);

} // namespace vdisk
