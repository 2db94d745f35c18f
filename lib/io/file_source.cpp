// SPDX-License-Identifier: Apache-2.0
#include "io/file_source.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <atomic>
#include <limits>

namespace vdisk {
namespace {

bool allowed(const system::FileStatus& status, FileKinds kinds) {
    const bool all = kinds == FileKinds::any_of_these;
    return status.is_regular() || (status.is_block_device() && (all || kinds == FileKinds::regular_or_block_device)) ||
           (status.is_folder() && (all || kinds == FileKinds::regular_or_folder));
}

} // namespace

FileSource::FileSource(Descriptor descriptor, std::filesystem::path path)
    : descriptor_(std::move(descriptor)), path_(std::move(path)), name_(printable(utf8(path_))) {}

Result<FilePtr> FileSource::open(const std::filesystem::path& path, FileKinds kinds) {
    // Looked at before it is opened, because opening a device can do something to it; and again afterwards, because the
    // name may have changed hands.
    const auto before = system::status_of(path);
    if (!before) return fail(ErrorKind::io, "{}: {}", printable(utf8(path)), system::reason());
    if (!allowed(*before, kinds))
        return fail(ErrorKind::io, "{}: is {}, not an image file", printable(utf8(path)),
                    system::kind_name(before->kind));

    Descriptor descriptor = system::open_to_read(path);
    if (!descriptor.is_open()) return fail(ErrorKind::io, "{}: {}", printable(utf8(path)), system::reason());
    return take(std::move(descriptor), path, kinds);
}

Result<FilePtr> FileSource::take(Descriptor descriptor, const std::filesystem::path& path, FileKinds kinds) {
    const std::shared_ptr<FileSource> file(new FileSource(std::move(descriptor), path));
    const int number = file->descriptor_.get();
    const auto status = system::status_of(number);
    if (!status) return fail(ErrorKind::io, "{}: {}", file->name(), system::reason());
    if (!allowed(*status, kinds))
        return fail(ErrorKind::io, "{}: is {}, not an image file", file->name(), system::kind_name(status->kind));
    file->folder_ = status->is_folder();
    file->regular_ = status->is_regular();
    const auto size = status->is_block_device() ? system::size_of(number) : status->size;
    if (!size) return fail(ErrorKind::io, "{}: {}", file->name(), system::reason());

    file->size_ = *size;
    file->identity_ = status->identity;
    file->modified_ = status->modified;
    file->changed_ = status->changed;
    return FilePtr(file);
}

std::uint64_t FileSource::file_system() const noexcept {
    if (!parts_.empty()) return parts_.front().file->file_system();
    return system::file_system_of(descriptor_.get(), identity_.device);
}

FilePtr FileSource::join(std::vector<FilePart> parts) {
    const FileSource& first = *parts.front().file;
    const std::shared_ptr<FileSource> whole(new FileSource(Descriptor(), first.path_));
    whole->size_ = parts.back().start + parts.back().length;
    whole->identity_ = first.identity_;
    whole->modified_ = first.modified_;
    whole->changed_ = first.changed_;
    whole->parts_ = std::move(parts);
    whole->regular_ = std::ranges::all_of(whole->files(), &FileSource::regular_);
    return whole;
}

FilePtr FileSource::over(SourcePtr bytes, const std::filesystem::path& name) {
    static std::atomic<std::uint64_t> next{0};
    constexpr auto kNoDevice = std::numeric_limits<std::uint64_t>::max(); // no file of the system is on it
    const std::shared_ptr<FileSource> file(new FileSource(Descriptor(), name));
    file->size_ = bytes->size();
    file->identity_ = {kNoDevice, next.fetch_add(1)};
    file->given_ = std::move(bytes);
    return FilePtr(file);
}

std::vector<const FileSource*> FileSource::files() const {
    if (parts_.empty()) return {this};
    std::vector<const FileSource*> files;
    for (const FilePart& part : parts_)
        if (part.file) files.push_back(part.file.get());
    return files;
}

Origin FileSource::origin(std::uint64_t offset, std::uint64_t wanted) const {
    if (given_) return given_->origin(offset, wanted);
    if (parts_.empty()) return {.length = std::min(wanted, size_ - offset), .file = this, .offset = offset};
    const FilePart& part = part_at(offset);
    const std::uint64_t within = offset - part.start;
    return {.length = std::min(wanted, part.length - within), .file = part.file.get(), .offset = within};
}

FileSource::Allocation FileSource::allocation(std::uint64_t offset) const noexcept {
    return system::stored_at(descriptor_.get(), offset, size_, regular_);
}

ChangeTimes FileSource::change_times() const noexcept {
    const auto is_doubtful = [](const FilePart& part) {
        return part.file && part.file->change_times() == ChangeTimes::doubtful;
    };
    if (!parts_.empty()) return std::ranges::any_of(parts_, is_doubtful) ? ChangeTimes::doubtful : ChangeTimes::sure;
    return system::change_times(descriptor_.get());
}

std::optional<std::string> FileSource::change() const {
    for (const FilePart& part : parts_)
        if (auto change = part.file ? part.file->change() : std::nullopt) return change;
    if (!parts_.empty()) return std::nullopt;
    const auto now = regular_ ? system::status_of(descriptor_.get()) : std::nullopt;
    if (!now) return std::nullopt;
    if (now->size != size_) return fmt::format("its size was {} and is {}", size_, now->size);
    if (now->modified != modified_) return "its time of modification changed";
    if (now->changed != changed_) return "its time of status change did";
    return std::nullopt;
}

bool FileSource::has_writer() const noexcept {
    if (!parts_.empty())
        return std::ranges::any_of(parts_, [](const FilePart& part) { return part.file && part.file->has_writer(); });
    return system::has_writer(descriptor_.get());
}

const FilePart& FileSource::part_at(std::uint64_t offset) const noexcept {
    return *std::prev(std::ranges::upper_bound(parts_, offset, {}, &FilePart::start));
}

Readability FileSource::readability(std::uint64_t offset, std::uint64_t wanted) const {
    if (given_) return given_->readability(offset, wanted);
    if (parts_.empty() || offset >= size_) return ByteSource::readability(offset, wanted);
    const FilePart* part = &part_at(offset);
    const std::shared_ptr<const Error> why = part->why;
    std::uint64_t end = part->start + part->length;
    while (end - offset < wanted && end < size_ && !why && !(++part)->why) end = part->start + part->length;
    return {std::min(wanted, end - offset), why};
}

Result<std::size_t> FileSource::read_parts(std::uint64_t offset, std::span<std::byte> out) const {
    std::size_t done = 0;
    while (done < out.size()) {
        const std::uint64_t at = offset + done;
        const FilePart& part = part_at(at);
        if (part.why) return Error(*part.why);
        const std::uint64_t left = part.start + part.length - at;
        const auto piece =
            out.subspan(done, static_cast<std::size_t>(std::min<std::uint64_t>(left, out.size() - done)));
        VDISK_CHECK(read_exact(*part.file, at - part.start, piece));
        done += piece.size();
    }
    return done;
}

Result<std::size_t> FileSource::read_at(std::uint64_t offset, std::span<std::byte> out) const {
    if (offset >= size_) return std::size_t{0};
    const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size_ - offset));
    if (!parts_.empty()) return read_parts(offset, out.first(wanted));
    if (given_) return given_->read_at(offset, out.first(wanted));
    std::size_t done = 0;
    while (done < wanted) {
        const std::int64_t got = system::read_at(descriptor_.get(), out.data() + done, wanted - done, offset + done);
        if (got < 0)
            return fail_at(offset + done, ErrorKind::io, "{}: reading at offset {}: {}", name_, offset + done,
                           system::reason());
        if (got == 0)
            return fail_at(offset + done, ErrorKind::truncated,
                           "{}: ends at offset {} now, but had {} bytes when opened", name_, offset + done, size_);
        done += static_cast<std::size_t>(got);
    }
    return done;
}

} // namespace vdisk
