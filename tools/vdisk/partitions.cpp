// SPDX-License-Identifier: Apache-2.0
#include "vdisk/partitions.hpp"

#include "base/parse.hpp"
#include "base/system/other_program.hpp"
#include "common/progress_bar.hpp"
#include "vdisk/page.hpp"

#include <optional>

namespace vdisk::tools {
namespace {

constexpr std::size_t kMostPartitions = 64; // of which file systems are looked for: each is a program that runs

std::string_view first_line(std::string_view text) {
    return take_line(text);
}

std::string_view take_word(std::string_view& line) {
    line = trimmed(line);
    const std::string_view word = line.substr(0, line.find_first_of(" \t"));
    line.remove_prefix(word.size());
    return word;
}

// A line of mmls: "002:  000:000   0000002048   0000206847   0000204800   Linux (0x83)".
struct PartitionRow {
    std::string slot, start, end, length, description;
    bool is_partition = false; ///< and neither a table nor a gap

    static std::optional<PartitionRow> parse(std::string_view line) {
        const std::string_view number = take_word(line);
        if (number.size() < 2 || !number.ends_with(':') || !parse_number<unsigned>(number.substr(0, number.size() - 1)))
            return std::nullopt;
        PartitionRow row;
        for (std::string* field : {&row.slot, &row.start, &row.end, &row.length}) *field = take_word(line);
        if (!parse_number<std::uint64_t>(row.start) || !parse_number<std::uint64_t>(row.length)) return std::nullopt;
        row.description = trimmed(line);
        row.is_partition = row.slot != "Meta" && !row.slot.starts_with('-');
        return row;
    }
};

Result<system::ProgramAnswer> ask(std::vector<std::string> words) {
    words.insert(words.begin(), {"tsk-vdisk", "run"});
    return system::ask_program(words, {});
}

std::string said(const system::ProgramAnswer& answer) {
    return "<pre>" + escaped(answer.text) + "</pre>\n" +
           (answer.more ? "<p>It says more than is kept here.</p>\n" : "");
}

// What stands behind "Volume Name: " in what fsstat says.
std::string field_of(std::string_view text, std::string_view name) {
    while (!text.empty())
        if (const std::string_view line = take_line(text); line.starts_with(name))
            return std::string(trimmed(line.substr(name.size()), ": \t"));
    return "";
}

// What is found at one place: a row of the table, and all that is said of it.
class FileSystems {
public:
    FileSystems() { bar_.count(0); }

    void look_at(const std::string& image, const std::string& start, const std::string& name) {
        bar_.count(++looked_at_);
        const auto answer = ask({"fsstat", "-o", start, image});
        if (answer.has_error()) return add(name, start, answer.error().what);
        const system::ProgramAnswer& told = answer.value();
        if (told.status != 0) return add(name, start, "none that fsstat knows: " + std::string(first_line(told.text)));
        ++found_;
        add(name, start, field_of(told.text, "File System Type"), field_of(told.text, "Volume Name"));
        details_ += fmt::format("<details>\n<summary>What fsstat says of {}</summary>\n{}</details>\n", escaped(name),
                                said(told));
    }

    std::size_t found() const { return found_; }
    std::string html() const { return table_.html() + details_; }

private:
    void add(const std::string& name, const std::string& start, const std::string& type,
             const std::string& volume = "") {
        table_.rows.push_back({escaped(name), escaped(start), escaped(type), escaped(volume)});
    }

    HtmlTable table_{.caption = "File systems, as fsstat knows them",
                     .heads = {"Where", "First sector", "File system", "Volume name"}};
    std::string details_;
    std::size_t found_ = 0, looked_at_ = 0;
    ProgressBar bar_{"looking for partitions and file systems"};
};

std::string without_partitions(const std::string& image, const system::ProgramAnswer& mmls, FileSystems& whole) {
    whole.look_at(image, "0", "the whole disk");
    const std::string told = "<details>\n<summary>What mmls says</summary>\n" + said(mmls) + "</details>\n";
    if (whole.found() > 0) return "<p>There is no partition table that mmls knows.</p>\n" + told + whole.html();
    return "<p>Neither mmls nor fsstat knows a partition table or a file system here.</p>\n" + told + whole.html();
}

} // namespace

std::string partitions_of(const std::string& typed) {
    const std::string image = typed.starts_with('-') ? "./" + typed : typed; // no option
    FileSystems systems;
    const auto mmls = ask({"mmls", image});
    if (mmls.has_error()) {
        const std::string why = escaped(mmls.error().what);
        if (mmls.error().kind == ErrorKind::unsupported)
            return "<p>Not looked at: <code>tsk-vdisk</code> is not there to run The Sleuth Kit&#39;s programs.</p>\n";
        return "<p>Not known: " + why + "</p>\n";
    }
    if (mmls.value().status == 127 || sleuth_kit_version().empty())
        return "<p>Not looked at: The Sleuth Kit&#39;s programs can&#39;t be run.</p>\n" + said(mmls.value());
    HtmlTable table{.caption = "Partitions, as mmls knows them; sectors",
                    .heads = {"Slot", "First", "Last", "Length", "Description"}};
    std::size_t partitions = 0;
    for (std::string_view rest = mmls.value().text; !rest.empty();) {
        const auto row = PartitionRow::parse(take_line(rest));
        if (!row) continue;
        table.rows.push_back({escaped(row->slot), escaped(row->start), escaped(row->end), escaped(row->length),
                              escaped(row->description)});
        if (row->is_partition && ++partitions <= kMostPartitions)
            systems.look_at(image, row->start, fmt::format("{} ({})", row->slot, row->description));
    }
    if (mmls.value().status != 0 || table.rows.empty()) return without_partitions(image, mmls.value(), systems);
    std::string text = table.html();
    if (partitions > 0) text += systems.html();
    if (partitions > kMostPartitions)
        text += fmt::format("<p>File systems were looked for in the first {} partitions.</p>\n", kMostPartitions);
    return text;
}

const std::string& sleuth_kit_version() {
    static const std::string version = [] {
        const auto answer = ask({"mmls", "-V"});
        if (answer.has_error() || answer.value().status != 0) return std::string();
        return std::string(first_line(answer.value().text));
    }();
    return version;
}

} // namespace vdisk::tools
