// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/commands.hpp"

#include "base/system/program.hpp"
#include "base/text.hpp"
#include "common/inputs.hpp"
#include "hyperv/value.hpp"
#include "io/file_source.hpp"
#include "open/open.hpp"

#include <algorithm>

namespace vdisk::tools {
namespace {

constexpr std::size_t kWarnings = 20;
constexpr std::size_t kDeepestPath = 256;

bool is_damage(const hyperv::Finding& finding) {
    return finding.kind != hyperv::FindingKind::dirty;
}

} // namespace

void FileArgument::add_to(CommandLine& line) {
    line.operand("FILE", path, "a .vmcx, .vmrs or .vsv file");
    add_read_options(line, no_replay, best_effort);
}

void add_read_options(CommandLine& line, bool& no_replay, bool& best_effort) {
    line.flag("--no-replay", no_replay, "show the file as it lies, without the pending entries of its replay log");
    line.flag("--best-effort", best_effort,
              "read unknown format versions as the known one, go on behind damaged entries, take key tables "
              "that nothing lists");
}

Result<hyperv::StoragePtr> FileArgument::open() const {
    return open_storage(path, options());
}

Error with_the_right_tool(Error error, const std::string& path) {
    if (error.kind != ErrorKind::not_this_format) return error;
    const auto format = identify_file(path);
    if (format.has_value() && format.value() != nullptr)
        error.what +=
            fmt::format(" but '{}' ({}): 'vdisk info' reads it", format.value()->name, format.value()->description);
    return error;
}

Result<FilePtr> open_input(const std::string& path) {
    inputs()->add(std::filesystem::path(path));
    VDISK_TRY(file, FileSource::open(path, FileKinds::regular_only));
    inputs()->add(file);
    VDISK_CHECK(check_no_input(system::kStandardOutput, "standard output"));
    return std::move(file);
}

Result<hyperv::StoragePtr> open_storage(const std::string& path, const hyperv::ReadOptions& options) {
    VDISK_TRY(file, open_input(path));
    auto storage = hyperv::Storage::open(file, options);
    if (storage.has_error()) return with_the_right_tool(std::move(storage).error(), path);
    return storage;
}

std::optional<std::string> short_path(const hyperv::Storage& storage, hyperv::KeyId key) {
    if (key == hyperv::kNoKey) return std::nullopt;
    std::size_t depth = 0;
    for (hyperv::KeyId at = key; at != hyperv::kNoKey; at = storage.tree().parent(at))
        if (++depth > kDeepestPath) return std::nullopt;
    return hyperv::path_of(storage, key);
}

std::string to_line(const hyperv::Storage& storage, const hyperv::Finding& finding) {
    const auto path = short_path(storage, finding.key);
    return fmt::format("offset {}: {}: {}{}", finding.offset, hyperv::to_string(finding.kind), finding.what,
                       path ? fmt::format(" ({})", *path) : "");
}

int warn_of_findings(const hyperv::Storage& storage, const std::function<bool(const hyperv::Finding&)>& matters,
                     bool name_file) {
    const std::string file = name_file ? fmt::format("{}: ", printable(storage.source()->name())) : "";
    std::size_t told = 0;
    int status = kDone;
    for (const hyperv::Finding& finding : storage.findings()) {
        if (!matters(finding)) continue;
        if (is_damage(finding)) status = kPartial;
        if (++told <= kWarnings) warn(file + to_line(storage, finding));
    }
    if (told > kWarnings) warn(fmt::format("{}and {} more; hvconfig verify lists them all", file, told - kWarnings));
    if (storage.log_applied())
        warn(fmt::format("{}{} replay log entries are applied in memory", file, storage.log().pending.size()));
    return status;
}

int warn_of_findings(const hyperv::Storage& storage, bool name_file) {
    return warn_of_findings(
        storage, [](const hyperv::Finding&) { return true; }, name_file);
}

int status_of(const hyperv::Storage& storage) noexcept {
    const auto& findings = storage.findings();
    return std::any_of(findings.begin(), findings.end(), is_damage) ? kPartial : kDone;
}

} // namespace vdisk::tools
