// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"
#include "common/inputs.hpp"
#include "vdisk/copy.hpp"
#include "vdisk/hash_list.hpp"
#include "vdisk/hashes.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace vdisk::tools {
namespace {

// What was hashed: its digests by algorithm, none where something is lost that may not count as zeros.
struct Hashed {
    std::map<std::string, std::string> digests{};
    std::uint64_t size = 0;
    std::vector<LostRange> lost{};
    Distrust distrust{};
};

Result<Hashed> hash_image(const Image& image, const std::vector<std::string>& algorithms, bool lost_as_zeros) {
    VDISK_TRY(hashes, make_hashes(algorithms));
    VDISK_TRY(lost, copy_disk(image, 0, sinks_of(hashes), "hashing", lost_as_zeros ? OnLoss::zeros : OnLoss::stop));
    warn_of_lost(lost, lost_as_zeros ? "count as zeros" : "have no hash");
    Hashed hashed{.size = image.size(), .lost = lost};
    if (!lost.empty() && !lost_as_zeros) return hashed;
    VDISK_TRY(digests, finish(hashes));
    hashed.digests = std::move(digests);
    return hashed;
}

// A file of the system, hashed as sha256sum reads it.
struct HashedFile {
    const FileSource* file;
    Hashed hashed;
};

Result<Hashed> hash_file(const FileSource& file, const std::vector<std::string>& algorithms) {
    VDISK_TRY(hashes, make_hashes(algorithms));
    VDISK_CHECK(copy_file(file, sinks_of(hashes), "hashing the file"));
    VDISK_TRY(digests, finish(hashes));
    return Hashed{.digests = std::move(digests), .size = file.size()};
}

// The image file itself, or each of the parts into which it was cut.
Result<std::vector<HashedFile>> hash_container(const OpenedDisk& disk, const std::vector<std::string>& algorithms) {
    const FileSource& opened = *disk.file.context.file;
    if (opened.is_folder())
        return fail(ErrorKind::usage, "{}: is a folder, which has no bytes of its own: --container means a file",
                    opened.name());
    std::vector<HashedFile> files;
    for (const FileSource* const file : disk.file.context.file->files()) {
        VDISK_TRY(hashed, hash_file(*file, algorithms));
        files.push_back({file, std::move(hashed)});
    }
    return files;
}

Facts describe(const HashedFile& file) {
    Facts facts{{"file", file.file->name()}, {"size", file.hashed.size}};
    for (const auto& [algorithm, digest] : file.hashed.digests) facts["hashes"][algorithm] = digest;
    return facts;
}

Facts describe_container(const OpenedDisk& disk, const std::vector<HashedFile>& files) {
    const FileSource& whole = *disk.file.context.file;
    if (whole.parts().empty()) return describe(files.front());
    Facts facts{{"file", whole.name()}, {"size", whole.size()}};
    for (const HashedFile& file : files) facts["parts"].push_back(describe(file));
    return facts;
}

struct Hash {
    ImageArguments images;
    Printing printing;
    std::vector<std::string> algorithms{};
    bool lost_as_zeros = false;
    bool container = false;
    bool check = false;

    int operator()() {
        printing.several = images.several();
        if (algorithms.empty()) algorithms = kUsualAlgorithms;
        if (check) return images.for_each(false, [this](const ImageArgument& list) { return check_list(list); });
        return images.for_each(false, [this](const ImageArgument& image) { return hash(image); });
    }

private:
    int hash(const ImageArgument& image) const {
        const auto disk = image.open_disk();
        if (disk.has_error()) return report(disk.error());
        warn_of_writers();
        const auto hashed = hash_disk(disk.value());
        if (hashed.has_error()) return report(hashed.error());
        const auto files = container ? hash_container(disk.value(), algorithms)
                                     : Result<std::vector<HashedFile>>(std::vector<HashedFile>());
        if (files.has_error()) return report(files.error());
        if (printing.json) printing.print_json(described(image.path, hashed.value(), files.value(), disk.value()));
        else print_text(image.path, hashed.value(), files.value());
        const bool changed = warn_of_changes();
        return hashed.value().lost.empty() && !changed ? kDone : kPartial;
    }

    Result<Hashed> hash_disk(const OpenedDisk& disk) const {
        VDISK_TRY(hashed, hash_image(*disk.image, algorithms, lost_as_zeros));
        VDISK_TRY(distrust, distrusted(disk, hashed.lost));
        hashed.distrust = std::move(distrust);
        warn_of_distrusted(hashed.distrust);
        return std::move(hashed);
    }

    void print_text(const std::string& path, const Hashed& disk, const std::vector<HashedFile>& files) const {
        for (const std::string& algorithm : algorithms)
            if (disk.digests.contains(algorithm))
                fmt::print("{}\n", to_line({algorithm, true, path, disk.digests.at(algorithm)}));
        for (const auto& [file, hashed] : files)
            for (const std::string& algorithm : algorithms)
                fmt::print("{}\n", to_line({algorithm, false, utf8(file->path()), hashed.digests.at(algorithm)}));
    }

    static Facts described(const std::string& path, const Hashed& disk, const std::vector<HashedFile>& files,
                           const OpenedDisk& opened) {
        Facts facts = Facts::object();
        facts["image"] = printable(path);
        facts["size"] = disk.size;
        for (const auto& [algorithm, digest] : disk.digests) facts["hashes"][algorithm] = digest;
        if (!disk.lost.empty()) facts["lost"] = describe_lost(disk.lost);
        if (!disk.distrust.ranges.empty()) facts["distrusted"] = describe_distrusted(disk.distrust);
        if (!files.empty()) facts["container"] = describe_container(opened, files);
        return facts;
    }

    // Compares all that a list says, each file and disk read once.
    int check_list(const ImageArgument& list) const {
        const auto lines = read_hash_list(list.path);
        if (lines.has_error()) return report(lines.error());
        std::size_t good = 0, bad = 0;
        Facts rows = Facts::array();
        std::set<std::pair<bool, std::string>> done;
        for (const HashLine& line : lines.value()) {
            if (!done.insert({line.virtual_disk, line.path}).second) continue;
            check_same(lines.value(), line, list.format, [&](const HashLine& one, const std::string& now) {
                ++(now == one.digest ? good : bad);
                if (printing.json) rows.push_back(row_of(one, now));
                else
                    fmt::print("{} ({}): {}\n", label_of(one), one.algorithm,
                               now == one.digest ? "OK"
                               : now.empty()     ? "FAILED: could not be read"
                                                 : "FAILED");
            });
        }
        if (printing.json)
            printing.print_json({{"list", printable(list.path)}, {"good", good}, {"bad", bad}, {"checks", rows}});
        else if (bad > 0) warn(fmt::format("{}: {} of {} hashes do not match", printable(list.path), bad, good + bad));
        return bad == 0 ? kDone : kPartial;
    }

    // All lines about the same disk or file as `first`.
    template<class Tell>
    void check_same(const std::vector<HashLine>& lines, const HashLine& first, const std::string& format,
                    const Tell& tell) const {
        std::vector<std::string> wanted;
        for (const HashLine& line : lines)
            if (line.virtual_disk == first.virtual_disk && line.path == first.path) wanted.push_back(line.algorithm);
        const auto now = hash_again(first, wanted, format);
        if (now.has_error()) report(now.error());
        for (const HashLine& line : lines) {
            if (line.virtual_disk != first.virtual_disk || line.path != first.path) continue;
            const bool known = now.has_value() && now.value().digests.contains(line.algorithm);
            tell(line, known ? now.value().digests.at(line.algorithm) : std::string());
        }
    }

    Result<Hashed> hash_again(const HashLine& line, const std::vector<std::string>& wanted,
                              const std::string& format) const {
        if (line.virtual_disk) {
            VDISK_TRY(disk, (ImageArgument{line.path, format}.open_disk()));
            return hash_image(*disk.image, wanted, lost_as_zeros);
        }
        VDISK_TRY(file, FileSource::open(line.path, FileKinds::regular_or_block_device));
        return hash_file(*file, wanted);
    }

    static Facts row_of(const HashLine& line, const std::string& now) {
        Facts row{{line.virtual_disk ? "image" : "file", printable(line.path)},
                  {"algorithm", line.algorithm},
                  {"expected", line.digest},
                  {"result", now == line.digest ? "ok"
                             : now.empty()      ? "unreadable"
                                                : "different"}};
        if (!now.empty()) row["found"] = now;
        return row;
    }
};

} // namespace

Action add_hash(CommandLine& line) {
    auto action = std::make_shared<Hash>();
    action->images.add_to(line);
    action->images.add_threads_to(line);
    add_algorithms(line, "-a,--algorithm", action->algorithms,
                   "the hashes to take at once, with commas between them; md5,sha1,sha256 if not given");
    line.flag("--container", action->container, "also print hashes of the image file itself, as sha256sum takes them")
        .excludes("check");
    line.flag("--lost-as-zeros", action->lost_as_zeros,
              "where bytes can't be read, hash zeros for them, as 'vdisk export' writes; without it there is no hash "
              "then");
    line.flag("--check", action->check,
              "the operands are lists of hashes, as this command and sha256sum --tag print them: take them again and "
              "compare");
    action->printing.add_to(line);
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
