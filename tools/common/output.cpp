// SPDX-License-Identifier: Apache-2.0
#include "common/output.hpp"

#include "base/system/program.hpp"
#include "base/text.hpp"
#include "common/inputs.hpp"
#include "common/pieces.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <vector>

namespace fs = std::filesystem;

namespace vdisk::tools {
namespace {

Error os_error(const std::string& path, const std::string& why = system::reason()) {
    return fail(ErrorKind::io, "{}: {}", printable(path), why);
}

// The number of the open descriptor that a path stands for: opened by its name, a file would be another one that knows
// nothing of what was written by that descriptor.
std::optional<int> descriptor_named(std::string_view path) {
    if (path == "-" || path == "/dev/stdout") return system::kStandardOutput;
    if (path == "/dev/stderr") return system::kStandardError;
    for (const std::string_view folder : {"/dev/fd/", "/proc/self/fd/"}) {
        if (!path.starts_with(folder)) continue;
        const std::string_view digits = path.substr(folder.size());
        int number = -1;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
        if (error == std::errc() && end == digits.data() + digits.size() && number >= 0) return number;
    }
    return std::nullopt;
}

} // namespace

Result<std::unique_ptr<Output>> Output::open(const OutputRequest& request) {
    const auto number = descriptor_named(request.path);
    auto opened = [&]() -> Result<std::unique_ptr<Output>> {
        if (number) return open_descriptor(*number);
        VDISK_CHECK(check_no_input(request.path));
        const auto status = system::status_of(std::filesystem::path(request.path));
        if (status && status->is_folder()) return os_error(request.path, system::reason(EISDIR));
        return status && !status->is_regular() ? open_special(request, status->is_block_device()) : open_file(request);
    }();
    if (opened.has_error()) return opened;
    if (request.kept && !opened.value()->file_)
        return fail(ErrorKind::usage, "{}: is no file, and only a file can be continued", printable(request.path));
    if (request.out_of_order && !opened.value()->seekable_)
        return fail(ErrorKind::usage, "{}: is written out of order, which only a file can be", printable(request.path));
    if (opened.value()->seekable_) VDISK_CHECK(opened.value()->check_room(request));
    return opened;
}

Result<std::unique_ptr<Output>> Output::open_descriptor(int number) {
    const std::string name =
        number == system::kStandardOutput ? "standard output" : fmt::format("descriptor {}", number);
    VDISK_CHECK(check_no_input(number, name));
    return std::unique_ptr<Output>(new Output(number, name));
}

// A pipe or a device. One that is in use, as a mounted one is, is refused by the kernel.
Result<std::unique_ptr<Output>> Output::open_special(const OutputRequest& request, bool block_device) {
    if (block_device && !request.overwrite)
        return fail(ErrorKind::usage, "{}: is a block device; with --force its content is overwritten",
                    printable(request.path));
    Descriptor opened = system::open_to_write(request.path, block_device);
    if (!opened.is_open()) return os_error(request.path);
    std::unique_ptr<Output> output(new Output(opened.get(), printable(request.path)));
    output->owned_ = std::move(opened);
    output->seekable_ = block_device;
    // Once more, as the name may have changed hands.
    VDISK_CHECK(check_no_input(output->descriptor_, output->name_));
    const auto status = system::status_of(output->descriptor_);
    if (!status) return os_error(request.path);
    if (status->is_regular() || status->is_block_device() != block_device)
        return fail(ErrorKind::io, "{}: has become another file just now", printable(request.path));
    return output;
}

// A link stays one: the file that it leads to is what is replaced.
Result<std::unique_ptr<Output>> Output::open_file(const OutputRequest& request) {
    std::error_code error;
    fs::path path = request.path;
    if (path.filename().empty()) return os_error(request.path, system::reason(path.empty() ? ENOENT : ENOTDIR));
    const fs::file_status own = fs::symlink_status(path, error);
    if (fs::exists(own) && !request.overwrite)
        return fail(ErrorKind::usage, "{}: is there already; --force replaces it", printable(request.path));
    if (fs::is_symlink(own)) {
        path = fs::canonical(path, error);
        if (error) return fail(ErrorKind::io, "{}: is a link that leads nowhere", printable(request.path));
    }
    if (request.kept) VDISK_CHECK(check_no_input(UnfinishedFile::kept_path(path)));
    VDISK_TRY(file, request.kept ? UnfinishedFile::keep(path, request.overwrite)
                                 : UnfinishedFile::create(path, request.overwrite));
    std::unique_ptr<Output> output(new Output(file->descriptor(), printable(request.path)));
    output->file_ = std::move(file);
    output->seekable_ = true;
    return output;
}

// Tells at once what writing would tell hours later.
Result<void> Output::check_room(const OutputRequest& request) const {
    constexpr std::uint64_t kMost = std::uint64_t{1} << 62;
    const std::uint64_t size = request.size;
    if (file_) {
        if (size <= kMost && system::can_have(descriptor_, size)) return ok();
        return fail(ErrorKind::io, "{}: {} bytes are more than a file can have on this file system",
                    printable(request.path), size);
    }
    const auto end = system::size_of(descriptor_);
    if (!end) return os_error(request.path);
    if (size > *end)
        return fail(ErrorKind::io, "{}: has {} bytes, and {} are to be written", printable(request.path), *end, size);
    return ok();
}

bool Output::is_standard_output() const noexcept {
    return descriptor_ == system::kStandardOutput;
}

Result<void> Output::write(std::span<const std::byte> bytes) {
    if (!system::write(descriptor_, bytes.data(), bytes.size())) return failed("writing");
    return ok();
}

Error Output::failed(std::string_view doing) const {
    return fail(ErrorKind::io, "{}: {}: {}", name_, doing, system::reason());
}

Result<void> Output::skip(std::uint64_t length) {
    if (file_) {
        if (!system::skip(descriptor_, length)) return failed("seeking");
        return ok();
    }
    static const std::vector<std::byte> zeros(kPiece);
    for (; length > 0; length -= std::min(length, kPiece))
        VDISK_CHECK(write(std::span(zeros).first(static_cast<std::size_t>(std::min(length, kPiece)))));
    return ok();
}

Result<void> Output::rewrite(std::uint64_t offset, std::span<const std::byte> bytes) {
    if (!system::write_at(descriptor_, bytes.data(), bytes.size(), offset)) return failed("writing");
    return ok();
}

fs::path Output::kept_path() const {
    return file_->kept_path();
}

FileIdentity Output::identity() const {
    const auto status = system::status_of(descriptor_);
    return status ? status->identity : FileIdentity{};
}

Result<std::uint64_t> Output::left() const {
    const auto size = system::size_of(descriptor_);
    if (!size) return failed("looking at it");
    return *size;
}

Result<void> Output::read(std::uint64_t offset, std::span<std::byte> out) const {
    while (!out.empty()) {
        const std::int64_t got = system::read_at(descriptor_, out.data(), out.size(), offset);
        if (got < 0) return failed("reading");
        if (got == 0) return fail(ErrorKind::truncated, "{}: ends at {}", name_, offset);
        out = out.subspan(static_cast<std::size_t>(got));
        offset += static_cast<std::uint64_t>(got);
    }
    return ok();
}

Result<void> Output::go_on_at(std::uint64_t offset) {
    if (!system::set_size(descriptor_, offset)) return failed("setting the size");
    if (!system::skip(descriptor_, offset)) return failed("seeking");
    return ok();
}

Result<void> Output::flush(std::uint64_t size) {
    if (!system::set_size(descriptor_, size)) return failed("setting the size");
    if (!system::flush(descriptor_) && !system::is_no_matter()) return failed("flushing");
    return ok();
}

Result<void> Output::finish(std::uint64_t size) {
    if (file_) {
        if (!system::set_size(descriptor_, size)) return failed("setting the size");
        return file_->commit();
    }
    if (!system::flush(descriptor_) && !system::is_no_matter()) return failed("flushing");
    return ok();
}

} // namespace vdisk::tools
