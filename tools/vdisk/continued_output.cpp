// SPDX-License-Identifier: Apache-2.0
#include "vdisk/continued_output.hpp"

#include "base/checked.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"
#include "common/inputs.hpp"
#include "common/pieces.hpp"
#include "open/report.hpp"

#include <algorithm>
#include <fstream>

namespace fs = std::filesystem;

namespace vdisk::tools {
namespace {

constexpr std::uint64_t kStateVersion = 1;
constexpr std::size_t kLongestState = 64U << 20; // of what is read of a state
constexpr std::size_t kMostLost = 100000;        // ranges that a state keeps: beyond, it stays as it was
constexpr std::uint64_t kBytesBetween = 256U << 20;
constexpr std::chrono::seconds kTimeBetween{5};
constexpr std::uint64_t kComparedAtEnd = 16U << 20;
constexpr std::uint64_t kSamples = 64;
constexpr std::uint64_t kSample = 64U << 10;

std::string shown(const Facts& value) {
    return value.is_null() ? "nothing" : value_text("", value);
}

Result<Facts> read_state(const fs::path& path) {
    const std::string name = printable(utf8(path));
    std::error_code error;
    const auto size = fs::file_size(path, error);
    if (error) return fail(ErrorKind::io, "{}: {}", name, error.message());
    std::string text(static_cast<std::size_t>(std::min<std::uint64_t>(size, kLongestState)), '\0');
    if (!std::ifstream(path, std::ios::binary).read(text.data(), static_cast<std::streamsize>(text.size())))
        return fail(ErrorKind::io, "{}: can't be read", name);
    const auto state = Facts::parse(text);
    if (!state || (*state)["vdisk export"] != Facts(kStateVersion))
        return fail(ErrorKind::usage, "{}: is not the state of an export, so nothing is continued", name);
    return *state;
}

std::optional<LostRange> lost_range(const Facts& facts) {
    const auto* const offset = facts["offset"].number();
    const auto* const length = facts["length"].number();
    const auto* const why = facts["why"].text();
    if (offset == nullptr || length == nullptr || why == nullptr) return std::nullopt;
    return LostRange{*offset, *length, *why};
}

} // namespace

Facts what_is_exported(const Disk& disk, bool vm_state, std::uint64_t size) {
    Facts what{{"disk", describe(disk)}, {"vm state", vm_state}, {"size", size}};
    std::size_t number = 0;
    for (const FilePtr& file : inputs()->open())
        what[fmt::format("file {}", ++number)] =
            fmt::format("{}, inode {}, {} bytes{}", printable(utf8(file->path().filename())), file->identity().inode,
                        file->size(), file->is_regular() ? fmt::format(", modified at {} ns", file->modified()) : "");
    return what;
}

ContinuedOutput::ContinuedOutput(Output& out, const ExportSource& source) : out_(out), source_(source) {
    state_ = out.kept_path();
    state_ += ".state";
}

Result<std::unique_ptr<ContinuedOutput>> ContinuedOutput::take_up(Output& out, const ExportSource& source) {
    std::unique_ptr<ContinuedOutput> taken(new ContinuedOutput(out, source));
    VDISK_TRY(left, out.left());
    std::error_code error;
    const bool known = fs::exists(fs::symlink_status(taken->state_, error));
    if (!known && left > 0)
        return fail(ErrorKind::usage, "{}: is there, and no state beside it tells of what it is a part: remove it",
                    printable(utf8(out.kept_path())));
    if (known) {
        VDISK_TRY(state, read_state(taken->state_));
        if (left > 0) VDISK_CHECK(taken->take_state(state, left));
    }
    VDISK_CHECK(taken->compare_with_source());
    VDISK_CHECK(out.go_on_at(taken->done_));
    VDISK_CHECK(taken->save(!known));
    return taken;
}

Result<void> ContinuedOutput::take_state(const Facts& state, std::uint64_t left) {
    const std::string name = printable(utf8(state_));
    const Facts& before = state["what"];
    for (const auto& [key, now] : source_.what.members())
        if (!(before[key] == now))
            return fail(ErrorKind::usage, "{}: is of another export: {} was {} and is {}", name, key,
                        shown(before[key]), shown(now));
    if (before.size() != source_.what.size())
        return fail(ErrorKind::usage, "{}: is of another export, of a disk that is read from more files", name);
    const auto* const partial = state["partial"].number();
    const auto* const written = state["written"].number();
    if (partial == nullptr || *partial != out_.identity().inode)
        return fail(ErrorKind::usage, "{}: is not of the partial file that is there", name);
    if (written == nullptr || *written > left)
        return fail(ErrorKind::corrupt, "{}: says that {} bytes were written, but there are {}", name,
                    shown(state["written"]), left);
    for (const Facts& element : state["lost"].elements()) {
        const auto range = lost_range(element);
        if (!range || range->offset < source_.start || !fits(range->offset - source_.start, range->length, *written))
            return fail(ErrorKind::corrupt, "{}: 'lost' is damaged", name);
        lost_.push_back(*range);
    }
    done_ = at_ = saved_ = *written;
    return ok();
}

// What was left may be anything, be it that all else fits: the end is read again, and places before it.
Result<void> ContinuedOutput::compare_with_source() const {
    const std::uint64_t end = done_ - std::min(done_, kComparedAtEnd);
    VDISK_CHECK(compare(end, done_ - end));
    for (std::uint64_t i = 0; i < kSamples && end >= kSample; ++i)
        VDISK_CHECK(compare(align_down((end - kSample) / kSamples * i, kSector), kSample));
    return ok();
}

Result<void> ContinuedOutput::compare(std::uint64_t offset, std::uint64_t length) const {
    const std::uint64_t end = offset + length;
    while (offset < end) {
        std::uint64_t until = std::min(end, offset + kPiece);
        bool lost = false;
        for (const LostRange& range : lost_) {
            const std::uint64_t from = range.offset - source_.start;
            if (from <= offset && offset < from + range.length) {
                lost = true;
                until = std::min(until, from + range.length);
                break;
            }
            if (from > offset) until = std::min(until, from);
        }
        VDISK_CHECK(compare_piece(offset, until - offset, lost));
        offset = until;
    }
    return ok();
}

Result<void> ContinuedOutput::compare_piece(std::uint64_t offset, std::uint64_t length, bool lost) const {
    std::vector<std::byte> written(static_cast<std::size_t>(length)), expected(written.size());
    VDISK_CHECK(out_.read(offset, written));
    if (!lost) VDISK_CHECK(source_.image.read_at(source_.start + offset, expected));
    if (written == expected) return ok();
    return fail(ErrorKind::corrupt, "{}: has other bytes than the disk, from {} to {}: remove it",
                printable(utf8(out_.kept_path())), offset, offset + length);
}

Result<void> ContinuedOutput::write(std::span<const std::byte> bytes) {
    VDISK_CHECK(out_.write(bytes));
    return advance(bytes.size());
}

Result<void> ContinuedOutput::skip(std::uint64_t length) {
    VDISK_CHECK(out_.skip(length));
    return advance(length);
}

Result<void> ContinuedOutput::lose(std::uint64_t length, const std::string& why) {
    add_lost(lost_, source_.start + at_, length, why);
    return skip(length);
}

Result<void> ContinuedOutput::advance(std::uint64_t length) {
    at_ += length;
    const bool due = at_ - saved_ >= kBytesBetween || std::chrono::steady_clock::now() - saved_when_ >= kTimeBetween;
    return due && lost_.size() <= kMostLost ? save(false) : Result<void>(ok());
}

// The state says no more than is on the disk.
Result<void> ContinuedOutput::save(bool first) {
    VDISK_CHECK(out_.flush(at_));
    const Facts state{{"vdisk export", kStateVersion},
                      {"what", source_.what},
                      {"partial", out_.identity().inode},
                      {"written", at_},
                      {"lost", describe_lost(lost_)}};
    const std::string text = state.dump(true) + "\n";
    VDISK_TRY(file, Output::open({.path = utf8(state_), .overwrite = !first, .size = text.size()}));
    VDISK_CHECK(file->write(std::as_bytes(std::span(text))));
    VDISK_CHECK(file->finish(text.size()));
    saved_ = at_;
    saved_when_ = std::chrono::steady_clock::now();
    return ok();
}

void ContinuedOutput::remove_state() {
    std::error_code error; // what is left of it does no harm
    fs::remove(state_, error);
}

} // namespace vdisk::tools
