// SPDX-License-Identifier: Apache-2.0
/// A whole file as one JSON object.
#pragma once

#include "base/facts.hpp"
#include "common/json_output.hpp"
#include "hvconfig/text_output.hpp"

namespace vdisk::tools {

/// Prints header, counts, tree, orphans, cycles and findings. Written key by key, since JSON libraries build and print
/// nested values by recursion. `all`: `tops` are the root keys, and what is not in the tree is printed too.
[[nodiscard]] Result<void> dump_json(const hyperv::Storage& storage, std::span<const hyperv::KeyId> tops, bool all,
                                     TextOutput& out);

/// The fields of the header copy that counts, and the replay log's counts.
[[nodiscard]] Facts header_json(const hyperv::Storage& storage);

/// Prints an array of what is wrong: kind, offset, message and, where a key is concerned, its path.
void print_findings(const hyperv::Storage& storage, TextOutput& out, JsonLayout layout);

} // namespace vdisk::tools
