// SPDX-License-Identifier: Apache-2.0
/// The commands of `hvconfig`: one source file and one row in main.cpp each.
#pragma once

#include "common/command_line.hpp"
#include "hyperv/storage.hpp"

#include <functional>

namespace vdisk::tools {

Action add_dump(CLI::App& command);
Action add_get(CLI::App& command);
Action add_info(CLI::App& command);
Action add_verify(CLI::App& command);
Action add_diff(CLI::App& command);
Action add_disks(CLI::App& command);
Action add_deleted(CLI::App& command);
Action add_memory(CLI::App& command);

/// A HyperVStorage file on the command line: FILE, --no-replay and --best-effort.
struct FileArgument {
    std::string path;
    bool no_replay = false;
    bool best_effort = false;

    /// Adds the positional argument and the options. `this` must outlive the parsing.
    void add_to(CLI::App& command);
    [[nodiscard]] hyperv::ReadOptions options() const noexcept {
        return {.replay = !no_replay, .best_effort = best_effort};
    }
    [[nodiscard]] Result<hyperv::StoragePtr> open() const;
};

/// Opens a file with these options.
[[nodiscard]] Result<hyperv::StoragePtr> open_storage(const std::string& path, const hyperv::ReadOptions& options);

/// Prints those findings that `matters` picks as warnings, the first of them at least, and that a log was applied.
/// Returns kDone, or kPartial if one of them is damage.
int warn_of_findings(const hyperv::Storage& storage, const std::function<bool(const hyperv::Finding&)>& matters);

/// The same for all findings.
int warn_of_findings(const hyperv::Storage& storage);

/// The path of a key for a message; nothing if there is no key, or it is so deep that paths of all keys like it would
/// take memory out of all proportion to the file.
[[nodiscard]] std::optional<std::string> short_path(const hyperv::Storage& storage, hyperv::KeyId key);

/// One finding as a line: offset, kind, text, and the path of the key it concerns.
[[nodiscard]] std::string to_line(const hyperv::Storage& storage, const hyperv::Finding& finding);

/// kDone, or kPartial if something was found damaged. A log that was applied is no damage.
[[nodiscard]] int status_of(const hyperv::Storage& storage) noexcept;

} // namespace vdisk::tools
