// SPDX-License-Identifier: Apache-2.0
/// Lists of hashes, as they stand in a case file.
#pragma once

#include "base/error.hpp"

#include <string>
#include <vector>

namespace vdisk::tools {

/// One hash: "SHA256 (virtual disk of disk.qcow2) = 0123..." or, of a file itself, as `sha256sum --tag` prints it:
/// "SHA256 (disk.qcow2) = 0123...". No program takes one for the other: no file is called "virtual disk of disk.qcow2".
struct HashLine {
    std::string algorithm; ///< as -a takes it: "sha256"
    bool virtual_disk = false;
    std::string path; ///< with a selector, if it is a virtual disk's
    std::string digest;
};

/// What the line has in its parentheses, safe to show.
[[nodiscard]] std::string label_of(const HashLine& line);

/// The line without a newline, safe to show.
[[nodiscard]] std::string to_line(const HashLine& line);

/// Reads a list; "-" is standard input. Lines that say no hash are told as warnings. Errors: `io`; `usage` where there
/// is none at all.
[[nodiscard]] Result<std::vector<HashLine>> read_hash_list(const std::string& path);

} // namespace vdisk::tools
