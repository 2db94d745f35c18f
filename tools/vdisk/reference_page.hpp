// SPDX-License-Identifier: Apache-2.0
/// The page that lists reference files.
#pragma once

#include "base/error.hpp"

#include <string>
#include <vector>

namespace vdisk::tools {

/// What is known of one reference file, each text safe to show.
struct ListedReference {
    std::string name;  ///< of the file
    std::string image; ///< to which it leads
    std::string format;
    std::string disk; ///< one line
};

/// An HTML page of its own: without scripts, and nothing in it leads anywhere. `failures` are of what has no reference.
[[nodiscard]] std::string reference_page(const std::vector<ListedReference>& references,
                                         const std::vector<std::string>& failures);

/// Writes `page` as "index.html" into `folder`. With `overwrite` over one that reference_page() made; never over
/// anything else. Errors: `usage`, `io`.
[[nodiscard]] Result<void> write_page(const std::string& folder, const std::string& page, bool overwrite);

/// Whether write_page() would refuse, before the work is done. Errors: `usage`.
[[nodiscard]] Result<void> check_page(const std::string& folder, bool overwrite);

} // namespace vdisk::tools
