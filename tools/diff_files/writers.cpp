// SPDX-License-Identifier: Apache-2.0
#include "diff_files/writers.hpp"

#include "base/text.hpp"
#include "common/json_output.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace vdisk::diff_files {
namespace {

using tools::json_document;

std::string joined(const std::vector<std::string_view>& words, std::string_view between) {
    std::string text;
    for (const std::string_view word : words) text.append(text.empty() ? "" : between).append(word);
    return text;
}

std::string time_text(const FileTime& time) {
    return time == FileTime{} ? "" : utc_time(time.seconds, time.nanoseconds);
}

// Bytes of each kind, and how many areas.
std::string sum_of(const std::vector<Area>& areas, Area::Kind kind) {
    std::uint64_t bytes = 0, count = 0;
    for (const Area& area : areas)
        if (area.kind == kind) bytes += area.length, ++count;
    return fmt::format("{} bytes in {} places", bytes, count);
}

class TextWriter final : public Writer {
public:
    void begin_step(const Step& step) override {
        fmt::print("{}{} -> {}\n", first_ ? "" : "\n", step.before, step.after);
        first_ = false;
    }

    void write(const SystemChanges& system) override {
        fmt::print("file system at {}: {}\n", system.offset, types_of(system));
        for (const Change& change : system.changes) write_change(change);
        for (const Area::Kind kind : {Area::Kind::unallocated, Area::Kind::metadata})
            if (std::ranges::any_of(system.areas, [&](const Area& area) { return area.kind == kind; }))
                fmt::print("  changed in {} blocks: {}\n", to_string(kind), sum_of(system.areas, kind));
    }

    void end_step(std::uint64_t outside) override {
        if (outside > 0) fmt::print("changed outside of file systems: {} bytes\n", outside);
    }

    void finish(const std::vector<std::string>& images, const std::vector<Lifetime>& lifetimes) override {
        if (lifetimes.empty()) return;
        fmt::print("\nfirst seen in, last seen in (of {} states)\n", images.size());
        for (const Lifetime& each : lifetimes)
            fmt::print("  {:>3} {:>3}  {}\n", each.first + 1, each.last + 1, printable(each.path));
    }

private:
    static std::string types_of(const SystemChanges& system) {
        if (system.type_before.empty()) return system.type_after + ", new";
        if (system.type_after.empty()) return system.type_before + ", gone";
        return system.type_before == system.type_after ? system.type_after
                                                       : system.type_before + " -> " + system.type_after;
    }

    static void write_change(const Change& change) {
        const std::string words = joined(words_of(change), ",");
        fmt::print("  {} {}{}{}\n", to_string(change.kind), printable(change.path),
                   change.old_path.empty() ? "" : " <- " + printable(change.old_path),
                   words.empty() ? "" : " (" + words + ")");
        if (change.before && change.after && change.is_hidden())
            fmt::print("    its content changed, though its size and its time of modification did not\n");
    }

    bool first_ = true;
};

Facts described(const std::optional<FileRecord>& record) {
    Facts facts{{"inode", record->inode},
                {"mode", record->mode_text()},
                {"uid", record->owner},
                {"gid", record->group},
                {"size", record->size}};
    const std::array times{std::pair("accessed", record->accessed), std::pair("modified", record->modified),
                           std::pair("changed", record->changed), std::pair("created", record->created)};
    for (const auto& [name, time] : times)
        if (const std::string text = time_text(time); !text.empty()) facts[name] = text;
    return facts;
}

Facts described(const Change& change) {
    Facts facts{{"change", to_string(change.kind)}, {"path", printable(change.path)}};
    if (!change.old_path.empty()) facts["old path"] = printable(change.old_path);
    facts["what"] = Facts::array();
    for (const std::string_view word : words_of(change)) facts["what"].push_back(word);
    if (change.before) facts["before"] = described(change.before);
    if (change.after) facts["after"] = described(change.after);
    return facts;
}

Facts described(const SystemChanges& system) {
    Facts facts{{"offset", system.offset}};
    if (!system.type_before.empty()) facts["type before"] = system.type_before;
    if (!system.type_after.empty()) facts["type after"] = system.type_after;
    facts["changes"] = Facts::array();
    for (const Change& change : system.changes) facts["changes"].push_back(described(change));
    facts["areas"] = Facts::array();
    for (const Area& area : system.areas)
        facts["areas"].push_back(Facts{{"kind", to_string(area.kind)}, {"start", area.start}, {"length", area.length}});
    facts["problems"] = Facts::array();
    for (const std::string& problem : system.problems) facts["problems"].push_back(problem);
    return facts;
}

// One object a step, a line each; of a series one more.
class JsonWriter final : public Writer {
public:
    void begin_step(const Step& step) override {
        step_ = Facts{{"before", step.before}, {"after", step.after}};
        step_["file systems"] = Facts::array();
    }
    void write(const SystemChanges& system) override { step_["file systems"].push_back(described(system)); }
    void end_step(std::uint64_t outside) override {
        step_["outside bytes"] = outside;
        fmt::print("{}", json_document(step_, tools::JsonLayout::one_line));
    }
    void finish(const std::vector<std::string>& images, const std::vector<Lifetime>& lifetimes) override {
        Facts series{{"states", Facts::array()}, {"files", Facts::array()}};
        for (const std::string& image : images) series["states"].push_back(image);
        for (const Lifetime& each : lifetimes)
            series["files"].push_back(Facts{
                {"offset", each.offset}, {"path", printable(each.path)}, {"first", each.first}, {"last", each.last}});
        fmt::print("{}", json_document(series, tools::JsonLayout::one_line));
    }

private:
    Facts step_ = Facts::object();
};

// Quoted always; what a spreadsheet would calculate is text.
std::string cell(std::string_view text) {
    std::string quoted = "\"";
    if (!text.empty() && std::string_view("=+-@\t").find(text.front()) != std::string_view::npos) quoted += '\'';
    for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
    return quoted + '"';
}

class CsvWriter final : public Writer {
public:
    CsvWriter() {
        fmt::print("before,after,offset,type,change,what,path,old_path,inode,size_before,size_after,modified_before,"
                   "modified_after,accessed_after,changed_after,created_after\r\n");
    }
    void begin_step(const Step& step) override { step_ = step; }
    void write(const SystemChanges& system) override {
        const std::string& type = system.type_after.empty() ? system.type_before : system.type_after;
        for (const Change& each : system.changes) {
            const FileRecord& now = each.after ? *each.after : *each.before;
            const auto size = [](const auto& record) { return record ? std::to_string(record->size) : ""; };
            const auto modified = [](const auto& record) { return record ? time_text(record->modified) : ""; };
            fmt::print("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\r\n", cell(step_.before), cell(step_.after),
                       system.offset, cell(type), to_string(each.kind), cell(joined(words_of(each), " ")),
                       cell(printable(each.path)), cell(printable(each.old_path)), now.inode, size(each.before),
                       size(each.after), modified(each.before), modified(each.after), time_text(now.accessed),
                       time_text(now.changed), time_text(now.created));
        }
    }

private:
    Step step_;
};

// A '|' would begin the next field.
std::string field(std::string text) {
    std::ranges::replace(text, '|', '_');
    return text;
}

class BodyWriter final : public Writer {
public:
    void write(const SystemChanges& system) override {
        for (const Change& change : system.changes) {
            std::vector<std::string_view> words = words_of(change);
            words.insert(words.begin(), to_string(change.kind));
            const FileRecord& record = change.after ? *change.after : *change.before;
            const std::string renamed = change.old_path.empty() ? "" : " <- " + printable(change.old_path);
            fmt::print("0|{}{} ({})|{}|{}|{}|{}|{}|{}|{}|{}|{}\n", field(printable(change.path)), field(renamed),
                       joined(words, ", "), record.inode, record.mode_text(), record.owner, record.group, record.size,
                       record.accessed.seconds, record.modified.seconds, record.changed.seconds,
                       record.created.seconds);
        }
    }
};

} // namespace

std::unique_ptr<Writer> make_writer(Form form) {
    switch (form) {
    case Form::text: return std::make_unique<TextWriter>();
    case Form::json: return std::make_unique<JsonWriter>();
    case Form::csv: return std::make_unique<CsvWriter>();
    case Form::body: return std::make_unique<BodyWriter>();
    }
    return nullptr;
}

} // namespace vdisk::diff_files
