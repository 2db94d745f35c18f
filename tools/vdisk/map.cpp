// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/parse.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"
#include "common/inputs.hpp"
#include "image/disk_map.hpp"

#include <algorithm>

namespace vdisk::tools {
namespace {

// A byte's number, in decimal or behind "0x".
Result<std::uint64_t> parse_offset(std::string_view option, std::string_view text) {
    const bool hexadecimal = text.starts_with("0x");
    const auto number = parse_number<std::uint64_t>(text.substr(hexadecimal ? 2 : 0), hexadecimal ? 16 : 10);
    if (number) return *number;
    return fail(ErrorKind::usage, "{} can't be '{}', it is the number of a byte, such as 65536 or 0x10000", option,
                printable(text));
}

// The files that a disk is read from, by the numbers that a table has for them.
class Files {
public:
    explicit Files(const Image& disk) : all_(files_of(disk)) {
        for (const FileSource* file : all_) largest_offset_ = std::max(largest_offset_, file->size());
        for (const Image* layer = &disk; layer != nullptr; layer = layer->parent())
            for (const SourcePtr& source : layer->sources()) note_compressed(*source);
    }

    const std::vector<const FileSource*>& all() const noexcept { return all_; }

    std::size_t number_of(const FileSource& file) const {
        const auto found = std::ranges::find(all_, file.identity(), &FileSource::identity);
        return static_cast<std::size_t>(found - all_.begin());
    }

    // Whether the file is compressed as a whole: then offsets count what it decompresses to, which may be longer.
    bool is_compressed(const FileSource& file) const {
        return std::ranges::find(compressed_, file.identity()) != compressed_.end();
    }

    std::uint64_t largest_offset() const noexcept { return largest_offset_; }

    // The one that `path` leads to, or the only one.
    Result<const FileSource*> find(const std::optional<std::string>& path) const {
        if (!path && all_.size() == 1) return all_.front();
        if (!path && all_.empty()) return fail(ErrorKind::usage, "no byte of the disk is read from a file");
        if (path) {
            const InputFile wanted = look_at(*path);
            for (const FileSource* file : all_)
                if (wanted.identity == file->identity()) return file;
        }
        std::string names;
        for (const FileSource* file : all_) names += fmt::format("\n  {}", shell_quoted(utf8(file->path())));
        if (!path) return fail(ErrorKind::usage, "the disk is read from several files, say which by --file:{}", names);
        return fail(ErrorKind::usage, "{}: is none of the files that the disk is read from:{}", printable(*path),
                    names);
    }

private:
    void note_compressed(const ByteSource& source) {
        const Origin start = source.size() > 0 ? source.origin(0, 1) : Origin();
        if (!start.decompressed) return;
        compressed_.push_back(start.file->identity());
        largest_offset_ = std::max(largest_offset_, start.offset + source.size());
    }

    std::vector<const FileSource*> all_;
    std::vector<FileIdentity> compressed_;
    std::uint64_t largest_offset_ = 0;
};

// Takes the runs that are to be told, one by one.
class Printer {
public:
    Printer() = default;
    Printer(const Printer&) = delete;
    Printer& operator=(const Printer&) = delete;
    virtual ~Printer() = default;
    virtual void begin() = 0;
    virtual void print(const MapRun& run) = 0;
    virtual void end() = 0;
};

// A table of 80 columns, of numbers that fit the largest that can come.
class Table final : public Printer {
public:
    Table(const Image& disk, const Files& files)
        : files_(files), bytes_(width_of(disk.size(), "LENGTH")), place_(width_of(files.largest_offset(), "OFFSET")),
          gap_(2 * bytes_ + kOthers + place_ + 2 * kGaps <= kColumns ? "  " : " ") {}

    void begin() override {
        for (const FileSource* file : files_.all())
            fmt::print("file {}: {}{}\n", files_.number_of(*file), file->name(),
                       files_.is_compressed(*file) ? " (offsets are of what it decompresses to)" : "");
        row("START", "LENGTH", "KIND", "DEPTH", "FILE", "OFFSET");
    }

    void print(const MapRun& run) override {
        const auto number = [](std::uint64_t value) { return fmt::format("{}", value); };
        const bool placed = run.place.file != nullptr;
        row(number(run.start.value), number(run.length), std::string(to_string(run.kind)), number(run.depth),
            placed ? number(files_.number_of(*run.place.file)) : "-", placed ? number(run.place.offset) : "-");
        if (run.why) fmt::print("  {}\n", folded(printable(run.why->what), 2, 2));
    }

    void end() override {}

private:
    static constexpr std::size_t kKind = 11, kDepth = 5, kFile = 4, kOthers = kKind + kDepth + kFile, kGaps = 5;

    static std::size_t width_of(std::uint64_t most, std::string_view title) {
        return std::max(fmt::formatted_size("{}", most), title.size());
    }

    void row(const std::string& start, const std::string& length, const std::string& kind, const std::string& depth,
             const std::string& file, const std::string& offset) const {
        fmt::print("{1:>{2}}{0}{3:>{2}}{0}{4:<{5}}{0}{6:>{7}}{0}{8:>{9}}{0}{10:>{11}}\n", gap_, start, bytes_, length,
                   kind, kKind, depth, kDepth, file, kFile, offset, place_);
    }

    const Files& files_;
    std::size_t bytes_, place_;
    std::string_view gap_;
};

// A list with the keys of `qemu-img map --output=json`, for whose readers "data" means: to be read, and "offset": from
// there, as it is.
class JsonList final : public Printer {
public:
    void begin() override { fmt::print("["); }

    void print(const MapRun& run) override {
        std::string line = json_document(describe(run), JsonLayout::one_line);
        line.pop_back(); // the newline comes with the next one
        fmt::print("{}{}", first_ ? "" : ",\n", line);
        first_ = false;
    }

    void end() override { fmt::print("]\n"); }

private:
    static Facts describe(const MapRun& run) {
        Facts facts{{"start", run.start.value},
                    {"length", run.length},
                    {"depth", run.depth},
                    {"present", run.kind != MapRun::Kind::unallocated},
                    {"zero", run.reads_as_zeros()},
                    {"data", !run.reads_as_zeros()},
                    {"compressed", run.kind == MapRun::Kind::compressed}};
        const bool as_it_is = run.kind == MapRun::Kind::data || run.kind == MapRun::Kind::zero;
        if (run.place.file != nullptr && as_it_is) facts["offset"] = run.place.offset;
        facts["kind"] = to_string(run.kind);
        if (run.place.file != nullptr) facts["file"] = run.place.file->name();
        if (run.place.file != nullptr && !as_it_is) {
            facts["stored offset"] = run.place.offset;
            if (run.stored_length > 0) facts["stored length"] = run.stored_length;
            if (run.place.decompressed) facts["in stream"] = true;
        }
        if (run.why) facts["why"] = printable(run.why->what);
        return facts;
    }

    bool first_ = true;
};

struct Map {
    ImageArgument image;
    std::optional<std::string> at, file_offset, file;
    Printing printing;

    int operator()() const {
        const auto disk = image.open_disk();
        if (disk.has_error()) return report(disk.error());
        warn_of_writers();
        const Files files(*disk.value().image);
        const auto status = at            ? print_byte(*disk.value().image, files)
                            : file_offset ? print_back(*disk.value().image, files)
                                          : print_all(*disk.value().image, files);
        if (status.has_error()) return report(Error(status.error()).in(printable(image.path)));
        return warn_of_changes() ? kPartial : status.value();
    }

private:
    std::unique_ptr<Printer> printer(const Image& disk, const Files& files) const {
        if (printing.json) return std::make_unique<JsonList>();
        return std::make_unique<Table>(disk, files);
    }

    Result<int> print_all(const Image& disk, const Files& files) const {
        const auto out = printer(disk, files);
        ProgressBar bar("mapping", ProgressBar::Counts::bytes);
        DiskMap map(disk);
        int status = kDone;
        out->begin();
        while (const auto run = map.next_run()) {
            if (run->why) status = kPartial;
            ProgressBar::wipe();
            out->print(*run);
            bar.update(run->end(), disk.size());
        }
        out->end();
        return status;
    }

    // The run from that byte on, as far as one look at the metadata tells: it may be long.
    Result<int> print_byte(const Image& disk, const Files& files) const {
        VDISK_TRY(offset, parse_offset("--at", *at));
        if (offset >= disk.size())
            return fail(ErrorKind::usage, "--at is {}, but the disk ends at {}", offset, disk.size());
        const auto run = DiskMap(disk, GuestOffset{offset}, disk.size()).next_piece();
        const auto out = printer(disk, files);
        out->begin();
        out->print(*run);
        out->end();
        return run->why ? kPartial : kDone;
    }

    // Each part of the disk that the byte belongs to: from that byte on, or the whole of a compressed cluster.
    Result<int> print_back(const Image& disk, const Files& files) const {
        VDISK_TRY(offset, parse_offset("--file-offset", *file_offset));
        VDISK_TRY(from, files.find(file));
        if (offset >= from->size() && !files.is_compressed(*from))
            return fail(ErrorKind::usage, "--file-offset is {}, but {} ends at {}", offset, from->name(), from->size());
        const auto out = printer(disk, files);
        ProgressBar bar("searching", ProgressBar::Counts::bytes);
        DiskMap map(disk);
        bool found = false;
        bool lost = false;
        out->begin();
        while (const auto run = map.next_piece()) {
            bar.update(run->end(), disk.size());
            lost = lost || run->why;
            if (!has_byte(*run, *from, offset)) continue;
            found = true;
            ProgressBar::wipe();
            out->print(run->is_byte_by_byte() ? run->without_start(offset - run->place.offset) : *run);
        }
        out->end();
        ProgressBar::wipe();
        if (!found)
            warn(fmt::format("{}: byte {} of the file is not read by this disk{}", from->name(), offset,
                             lost ? ", as far as it can be read" : ""));
        return found ? kDone : kPartial;
    }

    static bool has_byte(const MapRun& run, const FileSource& file, std::uint64_t offset) {
        return run.place.file != nullptr && run.place.file->identity() == file.identity() &&
               offset >= run.place.offset && offset - run.place.offset < run.bytes_in_file();
    }
};

} // namespace

Action add_map(CommandLine& line) {
    auto action = std::make_shared<Map>();
    action->image.add_to(line);
    line.option("--at", "N", action->at, "tell of byte N of the disk alone: the run from there on");
    line.option("--file-offset", "N", action->file_offset, "tell which bytes of the disk byte N of the file is")
        .excludes("at");
    line.option("--file", "FILE", action->file, "the file that is meant, where the disk is read from several")
        .needs("file-offset");
    action->printing.add_to(line);
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
