// SPDX-License-Identifier: Apache-2.0
#include "common/inputs.hpp"

#include "base/system/program.hpp"
#include "base/text.hpp"
#include "common/storage.hpp"

namespace vdisk::tools {
namespace {

InputFilesPtr make_inputs() {
    auto made = std::make_shared<InputFiles>();
    for (const char* const variable : {"VDISK_KEY_FILE", "VDISK_PASSPHRASE_FILE"})
        if (const auto key = system::environment(variable); key && !key->empty())
            made->add(std::filesystem::path(*key));
    return made;
}

// What is to be written to.
struct Target {
    explicit Target(InputFile at) : file(std::move(at)), own(storage_of(file)), below(storage_below(file)) {}

    // What writing to it would do to `input`; empty if nothing.
    [[nodiscard]] std::string_view objection(const InputFile& input) const {
        const auto other = storage_of(input);
        if (!other) return is_missing(input) ? "would be taken for" : "";
        if (own == other) return "is the same file as";
        if (below.contains(*other)) return "lies on";
        return own && storage_below(input).contains(*own) ? "holds" : "";
    }

    InputFile file;
    std::optional<Storage> own;
    std::set<Storage> below;

private:
    [[nodiscard]] bool is_missing(const InputFile& input) const {
        return !own && !input.last.empty() && input.folder == file.folder && input.last == file.last;
    }
};

// The input folder in which `path`, or where it leads, lies; nothing if in none.
std::optional<InputFile> input_folder_of(const std::filesystem::path& path) {
    const std::vector<InputFile> folders = inputs()->folders();
    if (folders.empty()) return std::nullopt;
    std::error_code error;
    std::filesystem::path above = std::filesystem::weakly_canonical(path, error).parent_path();
    for (; !error && !above.empty(); above = above.parent_path()) {
        const auto identity = look_at(above).identity;
        for (const InputFile& folder : folders)
            if (identity && folder.identity == identity) return folder;
        if (!above.has_relative_path()) break;
    }
    return std::nullopt;
}

Result<void> check_folders(const std::filesystem::path& path, const std::string& name) {
    if (const auto folder = input_folder_of(path))
        return fail(ErrorKind::usage, "{}: lies in {}, and nothing is written into what is read", name, folder->name);
    return ok();
}

Result<void> check(const Target& target) {
    const std::string& name = target.file.name;
    for (const InputFile& input : inputs()->all()) {
        const std::string_view why = target.objection(input);
        if (why.empty()) continue;
        if (input.identity && input.name == name)
            return fail(ErrorKind::usage, "{}: is an input, and nothing is written onto what is read", name);
        return fail(ErrorKind::usage, "{}: {} the input {}, and nothing is written onto what is read", name, why,
                    input.name);
    }
    return ok();
}

} // namespace

const InputFilesPtr& inputs() {
    static const InputFilesPtr all = make_inputs();
    return all;
}

Result<void> check_no_input(const std::filesystem::path& path) {
    Target target(look_at(path));
    VDISK_CHECK(check_folders(path, target.file.name));
    return check(target);
}

Result<void> check_no_input_folder(const std::filesystem::path& path) {
    return check_folders(path, look_at(path).name);
}

Result<void> check_no_input(int descriptor, std::string_view name) {
    const auto status = system::status_of(descriptor);
    if (!status) return ok(); // closed: writing to it will tell
    if (!status->is_regular() && !status->is_block_device()) return ok();
    InputFile output{.name = std::string(name), .block_device = status->is_block_device()};
    output.identity = status->identity;
    VDISK_CHECK(check_folders(system::path_of(descriptor), output.name));
    return check(Target(std::move(output)));
}

bool standard_output_has_content() {
    const auto status = system::status_of(system::kStandardOutput);
    return status && (status->is_block_device() || (status->is_regular() && status->size > 0));
}

void warn_of_writers() {
    for (const FilePtr& file : inputs()->open())
        if (file->has_writer())
            warn(fmt::format("{}: another program has it open for writing, so what is read may be of no single state",
                             file->name()));
}

bool warn_of_changes() {
    bool changed = false;
    for (const FilePtr& file : inputs()->open()) {
        const auto change = file->change();
        if (!change) continue;
        changed = true;
        warn(fmt::format("{}: was changed while it was read ({}): the same bytes may not be had again", file->name(),
                         *change));
    }
    return changed;
}

} // namespace vdisk::tools
