// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "common/inputs.hpp"
#include "open/registry.hpp"

#include <fmt/ranges.h>

#include <unistd.h>

namespace vdisk::tools {

void ImageArgument::add_to(CLI::App& command) {
    command.add_option("IMAGE", path, "the image, PATH or PATH#SELECTOR")->required();
    std::vector<std::string> names;
    for (const Format* known : formats()) names.emplace_back(known->name);
    command
        .add_option("-f,--format", format,
                    fmt::format("do not detect the format, it is one of {}", fmt::join(names, ", ")))
        ->check(CLI::IsMember(names));
}

Result<OpenOptions> ImageArgument::options(std::string_view label) const {
    VDISK_TRY(options, OpenOptions::from_environment());
    options.format = format;
    options.inputs = inputs();
    const auto bar = std::make_shared<ProgressBar>(std::string(label));
    options.progress = [bar](std::uint64_t done, std::uint64_t total) {
        bar->update(done, total);
        return true;
    };
    return options;
}

Result<OpenedFile> ImageArgument::open_file(const OpenOptions& options) const {
    VDISK_TRY(file, wiped(vdisk::open_file(path, options)));
    if (standard_output_has_content()) find_inputs(file, options);
    VDISK_CHECK(check_no_input(STDOUT_FILENO, "standard output"));
    return std::move(file);
}

Result<OpenedFile> ImageArgument::open_file() const {
    VDISK_TRY(chosen, options());
    return open_file(chosen);
}

Result<OpenedDisk> ImageArgument::open_disk() const {
    VDISK_TRY(chosen, options());
    VDISK_TRY(file, open_file(chosen));
    return wiped(vdisk::open_disk(std::move(file), chosen));
}

} // namespace vdisk::tools
