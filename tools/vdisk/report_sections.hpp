// SPDX-License-Identifier: Apache-2.0
/// The parts of the page that `vdisk report` writes. Each is HTML, and escapes all that it is given.
#pragma once

#include "open/open.hpp"

#include <map>
#include <string>
#include <vector>

namespace vdisk::tools {

/// What belongs together below one heading.
struct Section {
    std::string id; ///< unique in the page, of letters, digits and '-'
    std::string title;
    std::string body{}; ///< HTML
};

/// `facts`, as describe() makes them of a file, without its disks and its chain.
[[nodiscard]] std::string image_facts(Facts facts);

/// The disks in a file as a tree: each snapshot below the one that it was made upon, where the file tells.
[[nodiscard]] std::string disk_tree(const OpenedFile& file);

/// The configurations that are kept beside the disks; empty if there are none.
[[nodiscard]] std::string configurations(const OpenedFile& file);

/// What an audit of `file` found, with a strip of the file that shows what nothing refers to.
[[nodiscard]] std::string audit_findings(const OpenedFile& file, const AuditReport& report);

/// The files that a disk is read from, as a picture and as a table.
[[nodiscard]] std::string chain_picture(const OpenedDisk& disk);

/// The base names of the layers, by depth.
[[nodiscard]] std::vector<std::string> layer_names(const OpenedDisk& disk);

/// A hash by algorithm: one that a person gave, one that was taken; either may be empty.
struct ReportedHash {
    std::string given{};
    std::string taken{};

    [[nodiscard]] bool differs() const { return !given.empty() && !taken.empty() && given != taken; }
};
[[nodiscard]] std::string hash_table(const std::map<std::string, ReportedHash>& hashes);

/// How the page was made: the program, the libraries, the command, the time and its zone, what the environment says.
/// `sleuth_kit` is the version that was asked, or empty.
[[nodiscard]] std::string how_it_was_made(std::int64_t started, std::int64_t ended, const std::string& sleuth_kit);

/// The page. `problems` are what a reader has to know first, as text.
[[nodiscard]] std::string report_page(const std::string& image, const std::vector<Section>& sections,
                                      const std::vector<std::string>& problems);

} // namespace vdisk::tools
