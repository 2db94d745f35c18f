// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "common/inputs.hpp"
#include "common/output.hpp"
#include "common/pieces.hpp"
#include "common/progress_bar.hpp"
#include "io/byte_source.hpp"

#include <algorithm>

namespace vdisk::tools {
namespace {

// Writes ranges of a file one after the other. A sector that can't be read is left as zeros and told.
class Packer {
public:
    Packer(const ByteSource& source, Output& output) : source_(source), output_(output) {}

    Result<void> add(HostRange range) {
        for (std::uint64_t done = 0; done < range.length;) {
            const std::uint64_t at = range.offset.value + done;
            const Readability run = source_.readability(at, range.length - done);
            const std::uint64_t length = std::min(run.why ? run.length : kPiece, range.length - done);
            VDISK_CHECK(run.why ? lose(at, length, *run.why) : copy(at, length));
            done += length;
        }
        return ok();
    }

    std::uint64_t lost_sectors() const { return lost_sectors_; }
    std::uint64_t written() const { return written_; }

private:
    Result<void> copy(std::uint64_t at, std::uint64_t length) {
        buffer_.resize(static_cast<std::size_t>(length));
        const auto read = read_exact(source_, at, buffer_);
        if (read.has_value()) {
            written_ += length;
            return output_.write(buffer_);
        }
        if (length > kSector) {
            const std::uint64_t half = first_half(length);
            VDISK_CHECK(copy(at, half));
            return copy(at + half, length - half);
        }
        return lose(at, length, read.error());
    }

    Result<void> lose(std::uint64_t at, std::uint64_t length, const Error& why) {
        lost_sectors_ += div_ceil(length, kSector);
        warn(fmt::format("file offset {}, {} bytes can't be read and are zeros in the output: {}", at, length,
                         why.what));
        written_ += length;
        return output_.skip(length);
    }

    const ByteSource& source_;
    Output& output_;
    std::vector<std::byte> buffer_;
    std::uint64_t lost_sectors_ = 0;
    std::uint64_t written_ = 0;
};

void print_ranges(std::span<const HostRange> ranges, const Printing& printing) {
    Facts list = Facts::array();
    std::uint64_t at = 0;
    for (const HostRange& range : ranges) {
        if (printing.json)
            list.push_back(
                {{"offset in image", range.offset.value}, {"length", range.length}, {"offset in output", at}});
        else fmt::print("{} {} {}\n", range.offset.value, range.length, at);
        at += range.length;
    }
    if (printing.json) printing.print_json({{"ranges", std::move(list)}});
}

struct Leaked {
    ImageArgument image;
    std::string output;
    bool overwrite = false;
    Printing printing;

    int operator()() const {
        const auto options = image.options("auditing");
        if (options.has_error()) return report(options.error());
        const auto file = image.open_file(options.value());
        if (file.has_error()) return report(file.error());
        auto audited = wiped(file.value().disks->audit({.progress = options.value().progress}));
        if (audited.has_error()) return report(std::move(audited).error().in(file.value().source->name()));
        find_inputs(file.value(), options.value());
        ProgressBar::wipe();
        const auto out = Output::open({.path = output, .overwrite = overwrite, .size = audited.value().leaked_bytes()});
        if (out.has_error()) return report(out.error());
        if (out.value()->is_standard_output())
            return report(fail(ErrorKind::usage, "OUT can't be standard output: the list of ranges goes there"));
        warn_of_writers();
        const auto written = write(*file.value().source, audited.value(), *out.value());
        if (written.has_error()) return report(written.error());
        print_ranges(audited.value().leaked(), printing);
        return warn_of_changes() ? kPartial : written.value();
    }

    static Result<int> write(const ByteSource& source, const AuditReport& audited, Output& out) {
        Packer packer(source, out);
        ProgressBar bar("writing", ProgressBar::Counts::bytes);
        for (const HostRange& range : audited.leaked()) {
            VDISK_CHECK(packer.add(range));
            bar.update(packer.written(), audited.leaked_bytes());
        }
        VDISK_CHECK(out.finish(packer.written()));
        return packer.lost_sectors() > 0 ? kPartial : kDone;
    }
};

} // namespace

Action add_leaked(CommandLine& line) {
    auto action = std::make_shared<Leaked>();
    action->image.add_to(line);
    line.operand("OUT", action->output, "the file to write the bytes to, range after range");
    line.writes(action->output);
    line.flag("--force", action->overwrite, "overwrite OUT if it exists");
    action->printing.add_to(line);
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
