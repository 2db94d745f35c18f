// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/processors.hpp"
#include "base/system/program.hpp"
#include "common/inputs.hpp"
#include "open/registry.hpp"

namespace vdisk::tools {

void add_image_notes(CommandLine& line) {
    std::vector<CommandLine::Row> keys{{"WORD", "a disk or snapshot in the file, by name or id"}};
    for (const SelectorKey& key : selector_keys())
        keys.emplace_back(fmt::format("{}={}", key.name, key.placeholder), key.help);
    line.note("Selectors, behind a '#' and with commas between them", std::move(keys));
}

void add_format(CommandLine& line, std::string& format, std::string_view option) {
    std::vector<std::string> names;
    for (const Format* known : formats()) names.emplace_back(known->name);
    names.emplace_back("rawz"); // a compressed raw disk, as The Sleuth Kit's programs call it
    line.option(option, "FORMAT", format, "do not detect the format").one_of(std::move(names));
    add_image_notes(line);
}

void ImageArgument::add_operand_to(CommandLine& line, std::string name) {
    line.operand(std::move(name), path, "the image, PATH or PATH#SELECTOR");
}

static void add_threads(CommandLine& line, std::string& threads) {
    line.option("--threads", "N", threads,
                "threads that decompress, 1 to 64 (default: as many as there are processors)");
}

void ImageArgument::add_threads_to(CommandLine& line) {
    add_threads(line, threads);
}

void ImageArguments::add_threads_to(CommandLine& line) {
    add_threads(line, threads);
}

void ImageArgument::add_to(CommandLine& line) {
    add_operand_to(line, "IMAGE");
    add_format(line, format);
}

void ImageArguments::add_to(CommandLine& line) {
    line.operands("IMAGE", paths, "the images, each PATH or PATH#SELECTOR");
    add_format(line, format);
}

int ImageArguments::for_each(bool spaced, const std::function<int(const ImageArgument&)>& act) const {
    bool all_done = true;
    bool all_failed = true;
    for (const std::string& path : paths) {
        if (spaced && &path != &paths.front()) fmt::print("\n");
        const int status = act({path, format, threads});
        all_done = all_done && status == kDone;
        all_failed = all_failed && status == kFailed;
    }
    return all_done ? kDone : all_failed ? kFailed : kPartial;
}

Result<OpenOptions> ImageArgument::options(std::string_view label) const {
    VDISK_TRY(options, OpenOptions::from_environment());
    options.format = format;
    VDISK_TRY(wanted, parse_threads(threads, "--threads"));
    if (wanted != 0) options.limits.threads = wanted;
    options.inputs = inputs();
    if (options.statistics) options.statistics = tell_statistics;
    const auto bar = std::make_shared<ProgressBar>(std::string(label));
    options.progress = [bar](std::uint64_t done, std::uint64_t total) {
        bar->update(done, total);
        return true;
    };
    return options;
}

// A disk that was selected and is not there is a mistake, even where the command looks at the whole file.
Result<OpenedFile> ImageArgument::open_file(const OpenOptions& options) const {
    VDISK_TRY(file, wiped(vdisk::open_file(path, options)));
    if (selects_disk(file.context.selector)) VDISK_CHECK(select_disk(file));
    tell_remarks(file.remarks());
    if (standard_output_has_content()) find_inputs(file, options);
    VDISK_CHECK(check_no_input(system::kStandardOutput, "standard output"));
    return std::move(file);
}

Result<OpenedFile> ImageArgument::open_file() const {
    VDISK_TRY(chosen, options());
    return open_file(chosen);
}

Result<OpenedDisk> ImageArgument::open_disk() const {
    VDISK_TRY(chosen, options());
    VDISK_TRY(file, open_file(chosen));
    VDISK_TRY(disk, wiped(vdisk::open_disk(std::move(file), chosen)));
    tell_remarks(disk.remarks());
    return std::move(disk);
}

Result<std::vector<std::size_t>> chosen_disks(const OpenedFile& file) {
    if (selects_disk(file.context.selector)) {
        VDISK_TRY(index, select_disk(file));
        return std::vector{index};
    }
    std::vector<std::size_t> chosen;
    const auto& disks = file.disks->disks();
    for (std::size_t i = 0; i < disks.size(); ++i)
        if (disks[i].kind == Disk::Kind::active || disks[i].kind == Disk::Kind::device) chosen.push_back(i);
    return chosen;
}

bool selects_disk(const Selector& selector) noexcept {
    return selector.word || selector.device || selector.snapshot;
}

void Printing::add_to(CommandLine& line) {
    line.flag("--json", json, "print JSON, as vdisk-json(5) describes it");
}

void Printing::print_json(const Facts& facts) const {
    fmt::print("{}", json_document(facts, several ? JsonLayout::one_line : JsonLayout::indented));
}

} // namespace vdisk::tools
