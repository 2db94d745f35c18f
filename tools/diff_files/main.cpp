// SPDX-License-Identifier: Apache-2.0
#include "base/system/path.hpp"
#include "base/text.hpp"
#include "common/inputs.hpp"
#include "diff_files/writers.hpp"
#include "disk/selector.hpp"
#include "open/report.hpp"
#include "vdisk/commands.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

namespace vdisk::diff_files {
namespace {

using namespace vdisk::tools;

// One state of the disk.
struct State {
    State(std::string shown_as, const OpenedDisk& opened)
        : name(std::move(shown_as)), disk(opened.image, opened.file.disks->disks()[opened.index].sector_size),
          systems(find_file_systems(disk)) {}

    std::string name;
    TskDisk disk;
    std::vector<std::unique_ptr<FileSystem>> systems;
};
using StatePtr = std::unique_ptr<State>;

// In which of the states each file is: by its file system's offset and its path.
class Lifetimes {
public:
    void add(const State& state, std::size_t number) {
        for (const auto& system : state.systems)
            for (const auto& [path, record] : system->files()) {
                auto [place, is_new] = seen_.try_emplace({system->offset(), path}, number, number);
                place->second.second = number;
            }
    }

    [[nodiscard]] std::vector<Lifetime> of_some(std::size_t states) const {
        std::vector<Lifetime> some;
        for (const auto& [place, times] : seen_)
            if (times.first > 0 || times.second + 1 < states)
                some.push_back({place.first, place.second, times.first, times.second});
        return some;
    }

private:
    std::map<std::pair<std::uint64_t, std::string>, std::pair<std::size_t, std::size_t>> seen_;
};

FileSystem* system_at(const State& state, std::uint64_t offset) {
    const auto found = std::ranges::find(state.systems, offset, [](const auto& system) { return system->offset(); });
    return found == state.systems.end() ? nullptr : found->get();
}

struct DiffFiles {
    std::vector<std::string> paths;
    std::string format, device;
    bool snapshots = false, json = false, csv = false, body = false;

    int operator()() const {
        const auto images = snapshots ? states_of_images() : Result<std::vector<std::string>>(paths);
        if (images.has_error()) return report(images.error());
        if (images.value().size() < 2)
            return report(fail(ErrorKind::usage, "two states are needed: A and B, or --snapshots and an image"));
        const auto status = compare_all(images.value());
        return status.has_error() ? report(status.error()) : status.value();
    }

private:
    // What the comparison of all came to.
    struct Outcome {
        bool changed = false, trouble = false;

        [[nodiscard]] int status() const { return trouble ? kFailed : changed ? kPartial : kDone; }
    };

    Result<std::vector<std::string>> states_of_images() const {
        std::vector<std::string> states;
        for (const std::string& path : paths) {
            VDISK_TRY(file, (ImageArgument{path, format}.open_file()));
            VDISK_TRY(found, states_of(path, file));
            states.insert(states.end(), found.begin(), found.end());
        }
        return states;
    }

    // Its snapshots in their order, and behind them the disk as it is; of backups, one disk of each.
    Result<std::vector<std::string>> states_of(const std::string& path, const OpenedFile& file) const {
        std::vector<std::string> states, last;
        for (const Disk& disk : file.disks->disks()) {
            if (disk.kind == Disk::Kind::active) last.push_back(path);
            if (disk.kind == Disk::Kind::snapshot)
                states.push_back(within(path, "snapshot", selecting_name(*file.disks, disk)));
        }
        if (states.empty() && last.empty()) return states_of_backups(path, file);
        states.insert(states.end(), last.begin(), last.end());
        return states;
    }

    // Backups are called GROUP/TIME/DISK.
    Result<std::vector<std::string>> states_of_backups(const std::string& path, const OpenedFile& file) const {
        std::map<std::string, std::map<std::string, std::string>> series; // {group and disk: {time: name}}
        for (const Disk& disk : file.disks->disks()) {
            const std::filesystem::path name = disk.name;
            const std::string* const time = disk.facts["time"].text();
            if (disk.kind != Disk::Kind::device || time == nullptr) continue;
            if (!device.empty() && name.filename() != device) continue;
            series[name.parent_path().parent_path() / name.filename()][*time] = disk.name;
        }
        if (series.size() != 1) {
            std::string choice;
            for (const auto& [name, backups] : series) choice += (choice.empty() ? "" : ", ") + shown_name(name);
            return fail(ErrorKind::usage, "{}: {}", printable(path),
                        series.empty()
                            ? "holds no snapshots or backups of one disk"
                            : "has backups of several disks; choose one by --device and the group's folder: " + choice);
        }
        std::vector<std::string> states;
        for (const auto& [time, name] : series.begin()->second) states.push_back(within(path, "device", name));
        return states;
    }

    // `path` may have a selector already: a key file.
    static std::string within(const std::string& path, std::string_view key, const std::string& name) {
        const auto selector = parse_selector(path);
        const bool selects = selector.has_value() && utf8(selector.value().path) != path;
        return fmt::format("{}{}{}={}", path, selects ? ',' : '#', key, selector_word(name));
    }

    [[nodiscard]] std::unique_ptr<Writer> writer() const {
        return make_writer(json ? Form::json : csv ? Form::csv : body ? Form::body : Form::text);
    }

    Result<StatePtr> open(const std::string& path) const {
        VDISK_TRY(opened, (ImageArgument{path, format}.open_disk()));
        auto state = std::make_unique<State>(printable(path), opened);
        if (state->disk.info() == nullptr)
            return fail(ErrorKind::unsupported, "{}: libtsk does not take the disk", state->name);
        for (const auto& system : state->systems)
            if (!system->problem().empty())
                warn(fmt::format("{}: file system at {}: {}", state->name, system->offset(), system->problem()));
        return state;
    }

    Result<int> compare_all(const std::vector<std::string>& images) const {
        Outcome outcome;
        Lifetimes lifetimes;
        VDISK_TRY(before, open(images[0]));
        const bool series = images.size() > 2;
        if (series) lifetimes.add(*before, 0);
        warn_of_writers();
        const std::unique_ptr<Writer> out = writer();
        for (std::size_t i = 1; i < images.size(); ++i) {
            VDISK_TRY(after, open(images[i]));
            if (series) lifetimes.add(*after, i);
            compare(*before, *after, *out, outcome);
            before = std::move(after);
        }
        if (series) out->finish(shown(images), lifetimes.of_some(images.size()));
        outcome.trouble = warn_of_changes() || outcome.trouble || settled(kDone) != kDone;
        return outcome.status();
    }

    static std::vector<std::string> shown(std::vector<std::string> images) {
        for (std::string& image : images) image = printable(image);
        return images;
    }

    static void compare(const State& before, const State& after, Writer& out, Outcome& outcome) {
        ChangedRanges changed;
        compare_disks(before.disk.image(), after.disk.image(), true, changed);
        ProgressBar::wipe();
        outcome.changed = outcome.changed || !changed.ranges().empty();
        if (changed.unreadable() > 0) {
            warn(fmt::format("{} -> {}: {} bytes can't be read, and count as changed", before.name, after.name,
                             changed.unreadable()));
            outcome.trouble = true;
        }
        out.begin_step({before.name, after.name});
        std::set<std::uint64_t> offsets;
        for (const State* state : {&before, &after})
            for (const auto& system : state->systems) offsets.insert(system->offset());
        for (const std::uint64_t offset : offsets) out.write(changes_at(offset, before, after, changed, outcome));
        out.end_step(outside(after, changed));
    }

    static SystemChanges changes_at(std::uint64_t offset, const State& before, const State& after,
                                    const ChangedRanges& changed, Outcome& outcome) {
        FileSystem* const old = system_at(before, offset);
        FileSystem* const now = system_at(after, offset);
        SystemChanges found{.offset = offset,
                            .type_before = old == nullptr ? "" : old->type(),
                            .type_after = now == nullptr ? "" : now->type()};
        for (const FileSystem* const system : {old, now})
            if (system != nullptr && !system->problem().empty()) found.problems.push_back(system->problem());
        found.changes = changes_between(old, now, changed);
        if (now != nullptr) found.areas = changed_areas(*now, changed, found.problems);
        const bool unreadable = std::ranges::any_of(found.changes, &Change::unreadable);
        outcome.trouble = outcome.trouble || unreadable || !found.problems.empty();
        outcome.changed = outcome.changed || !found.changes.empty();
        return found;
    }

    static std::uint64_t outside(const State& state, const ChangedRanges& changed) {
        std::uint64_t bytes = 0;
        for (const ChangedRanges::Range& range : changed.ranges()) {
            bytes += range.end - range.start;
            for (const auto& system : state.systems) {
                const std::uint64_t start = std::max(range.start, system->offset());
                const std::uint64_t end = std::min(range.end, system->end());
                if (start < end) bytes -= std::min(bytes, end - start);
            }
        }
        return bytes;
    }
};

Action add_diff_files(CommandLine& line) {
    auto action = std::make_shared<DiffFiles>();
    line.operands("IMAGE", action->paths, "two states of a disk or more, the earliest first: PATH or PATH#SELECTOR");
    add_format(line, action->format);
    line.flag("--snapshots", action->snapshots,
              "the states are the snapshots of each IMAGE, and then its disk; or the backups in a group");
    line.option("--device", "NAME", action->device, "which disk of the backups").needs("snapshots");
    line.flag("--json", action->json, "print JSON, a line for each pair of states").excludes("csv").excludes("body");
    line.flag("--csv", action->csv, "print a table for spreadsheets").excludes("body");
    line.flag("--body", action->body, "print a body file, for mactime");
    return [action] { return (*action)(); };
}

} // namespace
} // namespace vdisk::diff_files

int main(int argc, char** argv) {
    return vdisk::tools::run_program("vdisk-diff-files",
                                     "Tells which files of a disk changed between states of it, as The Sleuth Kit's "
                                     "library finds them.",
                                     vdisk::diff_files::add_diff_files, argc, argv);
}
