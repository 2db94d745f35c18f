// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"
#include "open/report.hpp"

#include <algorithm>
#include <array>

namespace vdisk::tools {
namespace {

constexpr std::size_t kShownId = 12; // bytes of an id in the table: all of a number, the beginning of a UUID

// The text that opens the disk; the bare path where that does.
std::string selector_of(const OpenedFile& file, const Disk& disk) {
    const std::string path = utf8(file.context.selector.path);
    return disk.kind == Disk::Kind::active ? path : path + "#" + selecting_word(*file.disks, disk);
}

// Columns of a character of UTF-8 are counted as one: close enough for a name.
std::size_t columns(std::string_view text) {
    return static_cast<std::size_t>(
        std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

std::string cut(std::string text, std::size_t most) {
    while (columns(text) > most) text = shortened(text, text.size() - 1);
    return text;
}

// Day and time of a snapshot, to the second.
std::string date_of(const Disk& disk) {
    for (const char* key : {"date", "time"}) {
        const std::string* told = disk.facts[key].text();
        if (told == nullptr) continue;
        std::string time = *told;
        if (const std::size_t point = time.find('.'); point != std::string::npos && time.ends_with('Z'))
            time.erase(point, time.size() - 1 - point);
        return shortened(time, sizeof "2024-01-02T03:04:05Z" - 1);
    }
    return "-";
}

struct Row {
    std::string kind, name, id, size, date;
    std::string more; // a line below it; empty: none
};

// A row with what must be typed on a line of its own, if that does not stand in it.
Row row_of(const OpenedFile& file, const Disk& disk) {
    Row row{.kind = std::string(to_string(disk.kind)),
            .name = disk.name.empty() ? "-" : printable(disk.name),
            .id = disk.id.empty() ? "-" : shortened(printable(disk.id), kShownId),
            .size = shown_size(disk),
            .date = date_of(disk)};
    const std::string word = disk.kind == Disk::Kind::active ? "" : selecting_word(*file.disks, disk);
    if (!word.empty() && word != row.name && word != row.id) row.more = selector_of(file, disk);
    return row;
}

std::vector<Row> rows_of(const OpenedFile& file) {
    std::vector<Row> rows{{"KIND", "NAME", "ID", "SIZE", "DATE", ""}};
    for (const Disk& disk : file.disks->disks()) rows.push_back(row_of(file, disk));
    return rows;
}

std::size_t widest(const std::vector<Row>& rows, std::string Row::*cell) {
    std::size_t width = 0;
    for (const Row& row : rows) width = std::max(width, columns(row.*cell));
    return width;
}

std::string padded(const std::string& text, std::size_t width) {
    return text + std::string(width - std::min(width, columns(text)), ' ');
}

// In 80 columns, for which names are cut.
std::string table(const OpenedFile& file, std::vector<Row> rows) {
    const std::size_t kind = widest(rows, &Row::kind), id = widest(rows, &Row::id), size = widest(rows, &Row::size),
                      date = widest(rows, &Row::date);
    const std::size_t others = kind + id + size + date + 8; // two blanks behind each but the last
    const std::size_t name = std::min(widest(rows, &Row::name), kColumns - others);
    std::string text;
    for (Row& row : rows) {
        if (columns(row.name) > name && row.more.empty()) row.more = utf8(file.context.selector.path) + "#" + row.name;
        text += fmt::format("{}  {}  {}  {}  {}\n", padded(row.kind, kind), padded(cut(row.name, name), name),
                            padded(row.id, id), padded(row.size, size), row.date);
        if (!row.more.empty()) text += fmt::format("  {}\n", shell_quoted(row.more));
    }
    return text;
}

// What a file as a whole is known by, where it says so.
constexpr std::array kIdentity{"uuid", "created"};

struct List {
    ImageArguments images;
    Printing printing;

    int operator()() {
        printing.several = images.several();
        return images.for_each(!printing.json, [this](const ImageArgument& image) { return list(image); });
    }

private:
    int list(const ImageArgument& image) const {
        const auto file = image.open_file();
        if (file.has_error()) return report(file.error());
        if (printing.json) printing.print_json(described(file.value()));
        else print_text(file.value());
        return warn_of_unreadable(file.value());
    }

    // Disks that are listed and can't be opened: a machine's image that is missing.
    static int warn_of_unreadable(const OpenedFile& file) {
        int status = kDone;
        for (const Disk& disk : file.disks->disks()) {
            const std::string* const why = disk.facts["unreadable"].text();
            if (why == nullptr) continue;
            warn(fmt::format("{}: '{}' can't be read: {}", file.source->name(),
                             shown_name(disk.name.empty() ? disk.id : disk.name), *why));
            status = kPartial;
        }
        return status;
    }

    static Facts described(const OpenedFile& file) {
        Facts facts = Facts::object();
        facts["file"] = file.source->name();
        facts["format"] = file.disks->format().name;
        facts.update(identity(file));
        facts["disks"] = Facts::array();
        for (const Disk& disk : file.disks->disks()) {
            Facts described = describe(disk);
            described["selector"] = printable(selector_of(file, disk));
            facts["disks"].push_back(std::move(described));
        }
        if (Facts drives = removable(file); !drives.empty()) facts["removable"] = std::move(drives);
        return facts;
    }

    // A machine's drives that hold no disk of it.
    static Facts removable(const OpenedFile& file) {
        const Facts all = file.disks->facts();
        Facts drives = Facts::array();
        for (const Facts& drive : all["drives"].elements())
            if (const bool* is = drive["removable"].boolean(); is != nullptr && *is) drives.push_back(drive);
        return drives;
    }

    static std::string line_of(const Facts& drive) {
        const auto text = [&](const char* key) {
            return drive[key].text() == nullptr ? std::string() : *drive[key].text();
        };
        return fmt::format("removable {}: {}, {}{}", text("name"), text("kind"),
                           text("medium") == "none" ? "no medium" : text("medium"),
                           drive.contains("missing") ? ", which is missing" : "");
    }

    // The files that a machine's disk is read from now, where these are several.
    static void print_chain(const Disk& disk) {
        std::string names;
        for (const Facts& file : disk.facts["chain"].elements())
            names += fmt::format("{}{}", names.empty() ? "" : ", over ", *file["file"].text());
        if (disk.kind == Disk::Kind::device && disk.facts["chain"].elements().size() > 1)
            fmt::print("{}: {}\n", printable(disk.name), names);
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

    void print_text(const OpenedFile& file) const {
        if (printing.several) fmt::print("file: {}\n", file.source->name());
        fmt::print("{}{}", to_text(identity(file)), table(file, rows_of(file)));
        for (const Disk& disk : file.disks->disks()) print_chain(disk);
        const Facts drives = removable(file);
        for (const Facts& drive : drives.elements()) fmt::print("{}\n", line_of(drive));
        if (file.disks->disks().size() > 1)
            fmt::print("open one as {} (by its NAME or ID)\n",
                       shell_quoted(utf8(file.context.selector.path) + "#NAME"));
    }
};

} // namespace

Action add_ls(CommandLine& line) {
    auto action = std::make_shared<List>();
    action->images.add_to(line);
    action->printing.add_to(line);
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
