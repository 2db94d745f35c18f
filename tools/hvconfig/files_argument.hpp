// SPDX-License-Identifier: Apache-2.0
/// Several files of Hyper-V on the command line, or folders with such files.
#pragma once

#include "hvconfig/commands.hpp"

#include <initializer_list>

namespace vdisk::tools {

/// FILE or FOLDER, once or more, --no-replay and --best-effort.
struct FilesArgument {
    std::vector<std::string> paths;
    bool no_replay = false;
    bool best_effort = false;

    /// As FileArgument::add_to().
    void add_to(CommandLine& line);

    /// Does something for each file, in the order given and, of a folder, in that of paths: those in it and in all
    /// folders below it whose names end so. Symbolic links to folders are not followed. What can't be looked at is
    /// told. Returns the exit status of all: kFailed if it failed for each, kPartial if anything was not kDone.
    [[nodiscard]] int for_each(std::initializer_list<std::string_view> extensions,
                               const std::function<int(const FileArgument&)>& act) const;

    /// Whether there may be more than one file: its output then says which each is of.
    [[nodiscard]] bool several() const;
};

/// The exit status of what is done several times.
class Statuses {
public:
    void add(int status) noexcept;
    [[nodiscard]] int all() const noexcept { return all_failed_ ? kFailed : all_done_ ? kDone : kPartial; }

private:
    bool all_done_ = true;
    bool all_failed_ = true;
};

} // namespace vdisk::tools
