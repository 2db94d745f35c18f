// SPDX-License-Identifier: Apache-2.0
#include "vdisk/mount/disk_names.hpp"

#include "base/parse.hpp"
#include "vdisk/safe_name.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace vdisk::tools {
namespace {

constexpr std::size_t kNanosecondDigits = 9;

// "2024-01-02T03:04:05Z", perhaps with a fraction of the second; nothing for anything else.
std::optional<timespec> parse_utc_time(const std::string& text) {
    std::tm fields{};
    const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &fields);
    if (rest == nullptr) return std::nullopt;
    timespec time{::timegm(&fields), 0};
    std::string_view behind(rest);
    if (behind.starts_with('.') && behind.ends_with('Z')) {
        std::string digits(behind.substr(1, behind.size() - 2));
        digits.resize(kNanosecondDigits, '0');
        const auto nanoseconds = parse_number<std::uint32_t>(digits);
        if (!nanoseconds) return std::nullopt;
        time.tv_nsec = *nanoseconds;
        behind = "Z";
    }
    return behind == "Z" ? std::optional(time) : std::nullopt;
}

std::optional<timespec> time_of(const Disk& disk) {
    for (const char* const key : {"date", "time"})
        if (const std::string* const told = disk.facts[key].text()) return parse_utc_time(*told);
    return std::nullopt;
}

std::string folder_of(Disk::Kind kind) {
    switch (kind) {
    case Disk::Kind::active:
    case Disk::Kind::device: return "";
    case Disk::Kind::snapshot: return "snapshots";
    case Disk::Kind::memory: return "memory";
    }
    return "";
}

std::string wished_name(const Disk& disk) {
    if (disk.kind == Disk::Kind::active) return "active";
    const std::string& stored = disk.name.empty() ? disk.id : disk.name;
    return stored.empty() ? std::string(to_string(disk.kind)) : safe_name(stored, Letters::every_script);
}

// Gives each wish a name that nobody has yet. A file can have tens of thousands of snapshots of one name, so where the
// last number of each was is remembered.
class FreeNames {
public:
    std::string take(const std::string& wished) {
        std::string name = wished;
        for (std::size_t& number = last_[wished]; !taken_.insert(name).second;)
            name = fmt::format("{}-{}", wished, number = std::max<std::size_t>(number + 1, 2));
        return name;
    }

private:
    std::set<std::string> taken_;
    std::map<std::string, std::size_t> last_;
};

} // namespace

std::vector<ShownDisk> shown_disks(const DiskFile& file, std::span<const std::size_t> which, timespec changed) {
    std::map<std::string, FreeNames> free;
    std::vector<ShownDisk> shown;
    for (const std::size_t index : which) {
        const Disk& disk = file.disks()[index];
        const std::string folder = folder_of(disk.kind);
        shown.push_back({.folder = folder,
                         .name = free[folder].take(wished_name(disk)) + ".raw",
                         .index = index,
                         .size = disk.size,
                         .time = time_of(disk).value_or(changed)});
    }
    return shown;
}

} // namespace vdisk::tools
