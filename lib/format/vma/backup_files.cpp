// SPDX-License-Identifier: Apache-2.0
#include "format/vma/backup_files.hpp"

#include "base/parse.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <iterator>

namespace vdisk::vma {
namespace {

constexpr std::uint64_t kMostRead = 1U << 20; // of a file, its end
constexpr std::size_t kMostLines = 64;
constexpr std::size_t kMostShown = 500; // bytes of a line

// The lines of the file `name` beside the archive, without empty ones; nothing if it can't be had.
std::optional<std::vector<std::string>> lines_beside(const OpenContext& context, const std::string& name) {
    const auto found = context.references->open("./" + name);
    if (found.has_error() || !found.value().how.empty()) return std::nullopt;
    const FileSource& file = *found.value().file;
    const std::uint64_t length = std::min(file.size(), kMostRead);
    const auto text = read_text(file, file.size() - length, length, "backup file");
    if (text.has_error()) return std::nullopt;
    std::vector<std::string> lines;
    for (std::string_view rest = text.value(); !rest.empty();) {
        const std::string_view line = take_line(rest);
        if (!line.empty()) lines.push_back(shortened(printable(line), kMostShown));
    }
    return lines;
}

// A line of the log is a time, one of INFO, WARN and ERROR, a colon and what there is to tell.
bool tells_of_trouble(std::string_view line) {
    return line.find("ERROR: ") != std::string_view::npos || line.find("WARN: ") != std::string_view::npos;
}

Facts first_of(const std::vector<std::string>& lines) {
    Facts shown = Facts::array();
    for (const std::string& line : std::span(lines).first(std::min(lines.size(), kMostLines))) shown.push_back(line);
    if (lines.size() > kMostLines) shown.push_back(fmt::format("and {} more lines", lines.size() - kMostLines));
    return shown;
}

} // namespace

void add_backup_files(const OpenContext& context, Facts& facts) {
    if (!context.file) return;
    const std::string archive = utf8(context.file->path().filename());
    const std::size_t ending = archive.rfind(".vma");
    if (ending == std::string::npos || ending == 0) return;
    if (const auto notes = lines_beside(context, archive + ".notes")) facts["notes"] = first_of(*notes);
    const std::string log_name = archive.substr(0, ending) + ".log";
    const auto log = lines_beside(context, log_name);
    if (!log) return;
    Facts told{{"file", printable(log_name)}};
    std::vector<std::string> troubles;
    std::ranges::copy_if(*log, std::back_inserter(troubles), tells_of_trouble);
    if (!troubles.empty()) told["errors and warnings"] = first_of(troubles);
    if (!log->empty()) told["last line"] = log->back();
    facts["backup log"] = std::move(told);
}

} // namespace vdisk::vma
