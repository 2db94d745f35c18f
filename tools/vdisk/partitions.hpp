// SPDX-License-Identifier: Apache-2.0
/// What The Sleuth Kit's programs say of a disk, if they are there.
#pragma once

#include <string>

namespace vdisk::tools {

/// The partitions and file systems of `image`, PATH#SELECTOR, as HTML below a heading of the third level: mmls and
/// fsstat are run as programs of their own, by `tsk-vdisk run`. Where they are missing, or say nothing, that is said.
[[nodiscard]] std::string partitions_of(const std::string& image);

/// The version that The Sleuth Kit's programs say they have, as text; empty: they are not there. Asked once a process.
[[nodiscard]] const std::string& sleuth_kit_version();

} // namespace vdisk::tools
