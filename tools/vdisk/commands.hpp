// SPDX-License-Identifier: Apache-2.0
/// The commands of `vdisk`: one source file and one row in main.cpp each.
#pragma once

#include "common/json_output.hpp"
#include "common/progress_bar.hpp"
#include "common/tool.hpp"
#include "open/open.hpp"

namespace vdisk::tools {

/// A table is no wider.
inline constexpr std::size_t kColumns = 80;

Action add_config(CommandLine& line);
Action add_verify(CommandLine& line);
Action add_audit(CommandLine& line);
Action add_export(CommandLine& line);
Action add_bitmap(CommandLine& line);
Action add_diff(CommandLine& line);
Action add_hash(CommandLine& line);
Action add_info(CommandLine& line);
Action add_leaked(CommandLine& line);
Action add_ls(CommandLine& line);
Action add_map(CommandLine& line);
Action add_mount(CommandLine& line);
Action add_ref(CommandLine& line);
Action add_report(CommandLine& line);

/// How a command prints what it tells: as text or as JSON, for one image or several.
struct Printing {
    bool json = false;
    bool several = false; ///< images in one call

    /// Adds --json. `this` must outlive the parsing.
    void add_to(CommandLine& line);

    /// Prints `facts` as a document of vdisk-json(5); a line of its own where there are several.
    void print_json(const Facts& facts) const;
};

/// Prints what an audit or a verification of `file` found; returns the exit status: kPartial if anything is wrong.
int print_report(const OpenedFile& file, const AuditReport& report, const Printing& printing);

/// Where on the disks the bytes are read that the finding is about, as far as that is known beside an offset in the
/// file: "65536 bytes at disk offset 0". Empty: not known.
[[nodiscard]] std::string disk_ranges(const Finding& finding);

/// Whether a person chose one of the disks in a file.
[[nodiscard]] bool selects_disk(const Selector& selector) noexcept;

/// The disk that was chosen, else every one but snapshots, which can be as many and as large as one likes. Error:
/// `usage` where the one that was chosen is not there.
[[nodiscard]] Result<std::vector<std::size_t>> chosen_disks(const OpenedFile& file);

/// Adds the option --format under `names`, and what help says of images.
void add_format(CommandLine& line, std::string& format, std::string_view names = "-f,--format");

/// What help says of images: the keys of selectors.
void add_image_notes(CommandLine& line);

/// An image on the command line: PATH[#SELECTOR] and --format.
struct ImageArgument {
    std::string path;
    std::string format;
    std::string threads{}; ///< as typed

    /// Adds the positional argument and the option. `this` must outlive the parsing.
    void add_to(CommandLine& line);
    /// --threads, for commands that read whole disks.
    void add_threads_to(CommandLine& line);
    /// The operand alone, for a command that takes several images by names of their own.
    void add_operand_to(CommandLine& line, std::string name);

    /// How to open it: with the environment's policy for references, limits, and a progress bar for long work.
    [[nodiscard]] Result<OpenOptions> options(std::string_view label = "opening") const;

    /// Opens it with options(), and tells on standard error what has to be said of what was opened. What is opened
    /// becomes an input of this run. Errors: `usage` where standard output leads into one, or into what an input names,
    /// and where the disk that is selected is not there.
    [[nodiscard]] Result<OpenedFile> open_file() const;
    [[nodiscard]] Result<OpenedFile> open_file(const OpenOptions& chosen) const;
    [[nodiscard]] Result<OpenedDisk> open_disk() const;
};

/// What long work returned, once its progress bar is gone from the terminal.
template<class T> [[nodiscard]] T wiped(T returned) {
    ProgressBar::wipe();
    return returned;
}

/// Images on the command line, all of one --format.
struct ImageArguments {
    std::vector<std::string> paths;
    std::string format;
    std::string threads{};

    /// As ImageArgument::add_to() and add_threads_to().
    void add_to(CommandLine& line);
    void add_threads_to(CommandLine& line);

    [[nodiscard]] bool several() const noexcept { return paths.size() > 1; }

    /// Does something for each, and returns the exit status of all: kFailed if it failed for each, kPartial if anything
    /// was not kDone. An empty line separates what is printed as text for them, if `spaced`.
    [[nodiscard]] int for_each(bool spaced, const std::function<int(const ImageArgument&)>& act) const;
};

} // namespace vdisk::tools
