// SPDX-License-Identifier: Apache-2.0
/// The commands of `hvconfig`: one source file and one row in main.cpp each.
#pragma once

#include "common/tool.hpp"
#include "hyperv/storage.hpp"
#include "io/file_source.hpp"

#include <functional>

namespace vdisk::tools {

Action add_dump(CommandLine& line);
Action add_get(CommandLine& line);
Action add_info(CommandLine& line);
Action add_verify(CommandLine& line);
Action add_diff(CommandLine& line);
Action add_disks(CommandLine& line);
Action add_deleted(CommandLine& line);
Action add_memory(CommandLine& line);
Action add_guest_state(CommandLine& line);

/// A HyperVStorage file on the command line: FILE, --no-replay and --best-effort.
struct FileArgument {
    std::string path;
    bool no_replay = false;
    bool best_effort = false;

    /// Adds the positional argument and the options. `this` must outlive the parsing.
    void add_to(CommandLine& line);
    [[nodiscard]] hyperv::ReadOptions options() const noexcept {
        return {.replay = !no_replay, .best_effort = best_effort};
    }
    [[nodiscard]] Result<hyperv::StoragePtr> open() const;
};

/// Adds --no-replay and --best-effort.
void add_read_options(CommandLine& line, bool& no_replay, bool& best_effort);

/// Opens a file to read. It becomes an input of this run. Errors: `usage` where standard output leads into it.
[[nodiscard]] Result<FilePtr> open_input(const std::string& path);

/// The error of a file of another format, with what that is and which tool reads it.
[[nodiscard]] Error with_the_right_tool(Error error, const std::string& path);

/// Opens a file with these options.
[[nodiscard]] Result<hyperv::StoragePtr> open_storage(const std::string& path, const hyperv::ReadOptions& options);

/// Prints those findings that `matters` picks as warnings, the first of them at least, and that a log was applied.
/// Returns kDone, or kPartial if one of them is damage. `name_file`: each warning begins with the file's name.
int warn_of_findings(const hyperv::Storage& storage, const std::function<bool(const hyperv::Finding&)>& matters,
                     bool name_file = false);

/// The same for all findings.
int warn_of_findings(const hyperv::Storage& storage, bool name_file = false);

/// The path of a key for a message; nothing if there is no key, or it is so deep that paths of all keys like it would
/// take memory out of all proportion to the file.
[[nodiscard]] std::optional<std::string> short_path(const hyperv::Storage& storage, hyperv::KeyId key);

/// One finding as a line: offset, kind, text, and the path of the key it concerns.
[[nodiscard]] std::string to_line(const hyperv::Storage& storage, const hyperv::Finding& finding);

/// kDone, or kPartial if something was found damaged. A log that was applied is no damage.
[[nodiscard]] int status_of(const hyperv::Storage& storage) noexcept;

} // namespace vdisk::tools
