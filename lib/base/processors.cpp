// SPDX-License-Identifier: Apache-2.0
#include "base/processors.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

namespace vdisk {
namespace {

constexpr std::size_t kMostThreads = 64;
constexpr const char* kControlGroups = "/sys/fs/cgroup";

std::string first_line(const std::filesystem::path& file) {
    std::ifstream in(file);
    std::string line;
    std::getline(in, line);
    return line;
}

// Microseconds of processor time in so many microseconds, rounded up to whole processors. "max" or -1: no limit.
std::optional<std::size_t> processors_in(std::string_view quota, std::string_view period) {
    const auto used = parse_number<std::uint64_t>(quota);
    const auto of = parse_number<std::uint64_t>(period);
    if (!used || !of || *of == 0) return std::nullopt;
    return static_cast<std::size_t>(std::min<std::uint64_t>(kMostThreads, *used / *of + (*used % *of != 0 ? 1 : 0)));
}

std::optional<std::size_t> quota_of(const std::filesystem::path& group) {
    const std::string line = first_line(group / "cpu.max"); // "150000 100000"
    if (const std::size_t space = line.find(' '); space != std::string::npos)
        return processors_in(std::string_view(line).substr(0, space), std::string_view(line).substr(space + 1));
    return processors_in(first_line(group / "cpu.cfs_quota_us"), first_line(group / "cpu.cfs_period_us"));
}

// The group at `path` ("/user.slice/x") below `root`, and all above it.
void apply_quotas(const std::filesystem::path& root, const std::filesystem::path& path, std::size_t& most) {
    for (std::filesystem::path group = path.relative_path();; group = group.parent_path()) {
        if (const auto quota = quota_of(root / group)) most = std::min(most, *quota);
        if (group.empty()) return;
    }
}

// A line of /proc/self/cgroup: "0::/path" in version 2, "4:cpu,cpuacct:/path" in version 1.
void apply_control_groups(std::size_t& most) {
    std::ifstream lines("/proc/self/cgroup");
    for (std::string line; std::getline(lines, line);) {
        const std::size_t first = line.find(':');
        const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const std::filesystem::path root(kControlGroups);
        if (controllers.empty()) apply_quotas(root, line.substr(second + 1), most);
        else if (("," + controllers + ",").find(",cpu,") != std::string::npos)
            apply_quotas(root / controllers, line.substr(second + 1), most);
    }
}

std::size_t count_processors() {
    std::size_t most = std::max(1U, std::thread::hardware_concurrency()); // of glibc: what the affinity allows
    apply_control_groups(most);
    return std::max<std::size_t>(1, most);
}

} // namespace

std::size_t processors() {
    static const std::size_t count = count_processors();
    return count;
}

std::size_t threads_of(const Limits& limits) {
    return std::min(limits.threads != 0 ? limits.threads : processors(), kMostThreads);
}

Result<std::size_t> parse_threads(std::string_view word, std::string_view what) {
    if (word.empty()) return std::size_t{0};
    const auto number = parse_number<std::size_t>(word);
    if (number && *number >= 1 && *number <= kMostThreads) return *number;
    return fail(ErrorKind::usage, "{} is '{}': a number of threads from 1 to {} is wanted", what, printable(word),
                kMostThreads);
}

Result<std::size_t> threads_from_environment() {
    const char* const value = std::getenv("VDISK_THREADS");
    return parse_threads(value == nullptr ? "" : value, "VDISK_THREADS");
}

} // namespace vdisk
