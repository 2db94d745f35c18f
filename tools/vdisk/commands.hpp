// SPDX-License-Identifier: Apache-2.0
/// The commands of `vdisk`: one source file and one row in main.cpp each.
#pragma once

#include "common/command_line.hpp"
#include "common/progress_bar.hpp"
#include "open/open.hpp"

namespace vdisk::tools {

Action add_config(CLI::App& command);
Action add_verify(CLI::App& command);
Action add_audit(CLI::App& command);
Action add_export(CLI::App& command);
Action add_bitmap(CLI::App& command);
Action add_hash(CLI::App& command);
Action add_info(CLI::App& command);
Action add_leaked(CLI::App& command);
Action add_ls(CLI::App& command);
Action add_ref(CLI::App& command);

/// Prints what an audit or a verification of `file` found; returns the exit status: kPartial if anything is wrong.
int print_report(const OpenedFile& file, const AuditReport& report, bool json);

/// An image on the command line: PATH[#SELECTOR] and --format.
struct ImageArgument {
    std::string path;
    std::string format;

    /// Adds the positional argument and the option. `this` must outlive the parsing.
    void add_to(CLI::App& command);

    /// How to open it: with the environment's policy for references, limits, and a progress bar for long work.
    [[nodiscard]] Result<OpenOptions> options(std::string_view label = "opening") const;

    /// Opens it with options(). What is opened becomes an input of this run. Error: `usage` where standard output leads
    /// into one, or into what an input names.
    [[nodiscard]] Result<OpenedFile> open_file(const OpenOptions& options) const;
    [[nodiscard]] Result<OpenedFile> open_file() const;
    [[nodiscard]] Result<OpenedDisk> open_disk() const;
};

/// What long work returned, once its progress bar is gone from the terminal.
template<class T> [[nodiscard]] T wiped(T returned) {
    ProgressBar::wipe();
    return returned;
}

} // namespace vdisk::tools
