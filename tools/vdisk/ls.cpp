// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/text.hpp"
#include "open/report.hpp"

#include <algorithm>
#include <array>

namespace vdisk::tools {
namespace {

// What to type to reach the disk; the bare path where that does.
std::string selector_of(const OpenedFile& file, const Disk& disk) {
    const std::string path = file.context.selector.path.native();
    if (disk.kind == Disk::Kind::active) return printable(path);
    return printable(path) + "#" + selecting_word(*file.disks, disk);
}

// A table whose columns are as wide as their widest cell; the last one is not padded.
std::string table(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths(rows.front().size());
    for (const auto& row : rows)
        for (std::size_t i = 0; i + 1 < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    std::string text;
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) line += fmt::format("{:{}}  ", row[i], widths[i]);
        text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    return text;
}

// A disk's own facts on one line: "time: 2024-01-02, vm state size: 0".
std::string remarks_of(const Disk& disk) {
    std::string text;
    for (const auto& [key, value] : disk.facts.items())
        if (!value.is_structured())
            text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", key,
                                value.is_string() ? value.get<std::string>() : value.dump());
    return text;
}

// What a file as a whole is known by, where it says so.
constexpr std::array kIdentity{"uuid", "created"};

struct List {
    ImageArgument image;
    bool json = false;

    int operator()() const {
        const auto file = image.open_file();
        if (file.has_error()) return report(file.error());
        if (json) print_json(file.value());
        else print_text(file.value());
        return kDone;
    }

    static void print_json(const OpenedFile& file) {
        Facts facts = Facts::object();
        facts["file"] = file.source->name();
        facts["format"] = file.disks->format().name;
        facts.update(identity(file));
        facts["disks"] = Facts::array();
        for (const Disk& disk : file.disks->disks()) {
            Facts described = describe(disk);
            described["selector"] = selector_of(file, disk);
            facts["disks"].push_back(std::move(described));
        }
        fmt::print("{}\n", facts.dump(2));
    }

    static Facts identity(const OpenedFile& file) {
        const Facts all = file.disks->facts();
        Facts facts = Facts::object();
        for (const char* key : kIdentity)
            if (all.contains(key)) facts[key] = all[key];
        if (const auto configs = file.disks->configurations(); configs.has_value())
            for (const Configuration& config : configs.value())
                facts["configurations"].push_back(
                    Facts{{"name", printable(config.name)}, {"size", config.data.size()}});
        return facts;
    }

    static void print_text(const OpenedFile& file) {
        fmt::print("{}", to_text(identity(file)));
        std::vector<std::vector<std::string>> rows{{"KIND", "NAME", "ID", "BYTES", "SIZE", "IMAGE", "FACTS"}};
        for (const Disk& disk : file.disks->disks())
            rows.push_back({std::string(to_string(disk.kind)), disk.name.empty() ? "-" : printable(disk.name),
                            disk.id.empty() ? "-" : printable(disk.id), fmt::format("{}", disk.size),
                            human_size(disk.size), selector_of(file, disk), remarks_of(disk)});
        fmt::print("{}", table(rows));
    }
};

} // namespace

Action add_ls(CLI::App& command) {
    auto action = std::make_shared<List>();
    action->image.add_to(command);
    command.add_flag("--json", action->json, "print JSON");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
