// SPDX-License-Identifier: Apache-2.0
#include "vdisk/hash_list.hpp"

#include "base/text.hpp"
#include "common/exit_status.hpp"
#include "io/file_source.hpp"
#include "vdisk/hashes.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <optional>

namespace vdisk::tools {
namespace {

constexpr std::string_view kVirtualDisk = "virtual disk of ";
constexpr std::size_t kLongestLine = 1U << 16; // a path has 4096 bytes at most, and each of a chain's may be in it

std::string changed_case(std::string_view text, int (*change)(int)) {
    std::string changed(text);
    std::ranges::transform(changed, changed.begin(), [&](unsigned char c) { return static_cast<char>(change(c)); });
    return changed;
}

// The last ") = " separates: a name may have one too, digits never.
std::optional<HashLine> parse(std::string_view text) {
    constexpr std::string_view kBehind = ") = ";
    const std::size_t open = text.find(" (");
    const std::size_t close = text.rfind(kBehind);
    if (open == std::string_view::npos || close == std::string_view::npos || close < open + 2) return std::nullopt;
    HashLine line{.algorithm = changed_case(text.substr(0, open), std::tolower),
                  .path = std::string(text.substr(open + 2, close - open - 2)),
                  .digest = changed_case(text.substr(close + kBehind.size()), std::tolower)};
    line.virtual_disk = line.path.starts_with(kVirtualDisk);
    if (line.virtual_disk) line.path.erase(0, kVirtualDisk.size());
    const bool digits = line.digest.find_first_not_of("0123456789abcdef") == std::string::npos;
    const bool known = std::ranges::find(kAlgorithms, line.algorithm) != kAlgorithms.end();
    if (!known || !digits || line.digest.empty() || line.path.empty()) return std::nullopt;
    return line;
}

Result<std::vector<HashLine>> read(std::istream& in, const std::string& name) {
    std::vector<HashLine> lines;
    std::string text;
    std::size_t number = 0;
    while (std::getline(in, text)) {
        ++number;
        if (text.ends_with('\r')) text.pop_back();
        if (text.empty()) continue;
        const auto line = text.size() <= kLongestLine ? parse(text) : std::nullopt;
        if (line) lines.push_back(*line);
        else warn(fmt::format("{}: line {} is no hash: {}", name, number, printable(shortened(text, 80))));
    }
    if (in.bad()) return fail(ErrorKind::io, "{}: reading failed", name);
    if (lines.empty())
        return fail(ErrorKind::usage, "{}: no line is a hash as 'vdisk hash' or 'sha256sum --tag' print it", name);
    return lines;
}

} // namespace

std::string label_of(const HashLine& line) {
    return fmt::format("{}{}", line.virtual_disk ? kVirtualDisk : "", printable(line.path));
}

std::string to_line(const HashLine& line) {
    return fmt::format("{} ({}) = {}", changed_case(line.algorithm, std::toupper), label_of(line), line.digest);
}

Result<std::vector<HashLine>> read_hash_list(const std::string& path) {
    if (path == "-") return read(std::cin, "standard input");
    VDISK_TRY(file, FileSource::open(path, FileKinds::regular_only));
    std::ifstream in(path, std::ios::binary);
    if (!in) return fail(ErrorKind::io, "{}: {}", file->name(), std::strerror(errno));
    return read(in, std::string(file->name()));
}

} // namespace vdisk::tools
