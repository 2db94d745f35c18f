// SPDX-License-Identifier: Apache-2.0
#include "capi/vdisk.h"

#include "base/text.hpp"
#include "base/zeros.hpp"
#include "capi/boundary.hpp"
#include "config.h"
#include "open/open.hpp"
#include "open/report.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>

namespace {

// What a program reads in its own way.
class CallersSource final : public vdisk::ByteSource {
public:
    explicit CallersSource(const vdisk_source& source) : source_(source), name_(vdisk::printable(source.name)) {}
    ~CallersSource() override {
        if (source_.close != nullptr) source_.close(source_.data);
    }

    std::uint64_t size() const noexcept override { return source_.size; }
    std::string_view name() const noexcept override { return name_; }

    vdisk::Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
        if (offset >= source_.size || out.empty()) return std::size_t{0};
        const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), source_.size - offset));
        const std::int64_t got = source_.read(source_.data, out.data(), wanted, offset);
        if (got == static_cast<std::int64_t>(wanted)) return wanted;
        return vdisk::fail_at(offset, vdisk::ErrorKind::io, "{}: reading {} bytes at offset {}: the program gave {}",
                              name_, wanted, offset, got);
    }

private:
    vdisk_source source_;
    std::string name_;
};

} // namespace

struct vdisk_file {
    struct Texts {
        std::string name, id, description;
    };
    vdisk::OpenedFile opened;
    vdisk::OpenOptions options;
    std::vector<Texts> texts; ///< one a disk
};

struct vdisk_disk {
    vdisk::OpenedDisk opened;
    std::string remarks;
};

namespace vdisk::capi {
namespace {

vdisk_disk_kind to_c(Disk::Kind kind) {
    switch (kind) {
    case Disk::Kind::active: return VDISK_KIND_ACTIVE;
    case Disk::Kind::snapshot: return VDISK_KIND_SNAPSHOT;
    case Disk::Kind::device: return VDISK_KIND_DEVICE;
    case Disk::Kind::memory: return VDISK_KIND_MEMORY;
    }
    return VDISK_KIND_DEVICE;
}

vdisk_extent_kind to_c(Extent::Kind kind) {
    switch (kind) {
    case Extent::Kind::stored: return VDISK_EXTENT_STORED;
    case Extent::Kind::packed: return VDISK_EXTENT_PACKED;
    case Extent::Kind::zero: return VDISK_EXTENT_ZERO;
    case Extent::Kind::unreadable: return VDISK_EXTENT_UNREADABLE;
    }
    return VDISK_EXTENT_STORED;
}

// The largest size of options that can be one: beyond is a program's mistake.
constexpr std::size_t kMostOptions = 4096;

Result<void> need(bool given, std::string_view what) {
    if (!given) return fail(ErrorKind::usage, "{} is NULL", what);
    return ok();
}

// What this version knows of them. The program may be older, with fewer of them, or newer.
Result<vdisk_open_options> known_options(const vdisk_open_options* given) {
    constexpr std::size_t kFirst = offsetof(vdisk_open_options, threads); // bytes of the first version's
    const std::size_t size = given->struct_size;
    if (size < kFirst || size > kMostOptions)
        return fail(ErrorKind::usage, "vdisk_open_options::struct_size is {}, not {}", size, sizeof *given);
    vdisk_open_options known{};
    std::memcpy(&known, given, std::min(size, sizeof known));
    // What a later version's program asks for must not be passed over.
    const auto bytes = std::span(reinterpret_cast<const std::byte*>(given), size);
    if (!all_zeros(bytes.subspan(std::min(size, sizeof known))))
        return fail(ErrorKind::unsupported, "vdisk_open_options has an option that libvdisk {} does not know",
                    PACKAGE_VERSION);
    return known;
}

Result<OpenOptions> to_options(const vdisk_open_options* given) {
    VDISK_TRY(options, OpenOptions::from_environment());
    if (given == nullptr) return options;
    VDISK_TRY(known, known_options(given));
    if (known.format != nullptr) options.format = known.format;
    if (known.progress != nullptr)
        options.progress = [progress = known.progress, data = known.progress_data](
                               std::uint64_t done, std::uint64_t total) { return progress(data, done, total) == 0; };
    if (known.threads != 0) options.limits.threads = known.threads;
    return options;
}

Result<void> check_source(const vdisk_source* source) {
    VDISK_CHECK(need(source != nullptr, "source"));
    if (source->struct_size != sizeof *source)
        return fail(ErrorKind::usage, "vdisk_source::struct_size is {}, not {}", source->struct_size, sizeof *source);
    VDISK_CHECK(need(source->name != nullptr, "vdisk_source::name"));
    return need(source->read != nullptr, "vdisk_source::read");
}

FilePtr file_over(const vdisk_source& source) {
    return FileSource::over(std::make_shared<const CallersSource>(source), source.name);
}

vdisk_file* to_file(OpenedFile opened, OpenOptions options) {
    auto file = std::make_unique<vdisk_file>(vdisk_file{std::move(opened), std::move(options), {}});
    for (const Disk& disk : file->opened.disks->disks())
        file->texts.push_back({printable(disk.name), printable(disk.id), one_line(disk)});
    return file.release();
}

Result<vdisk_file*> open_file(const char* path, const vdisk_open_options* given) {
    VDISK_CHECK(need(path != nullptr, "path"));
    VDISK_TRY(options, to_options(given));
    VDISK_TRY(opened, vdisk::open_file(path, options));
    return to_file(std::move(opened), std::move(options));
}

Result<vdisk_file*> open_source(const vdisk_source* source, const char* selector, const vdisk_open_options* given) {
    VDISK_CHECK(check_source(source));
    const FilePtr bytes = file_over(*source); // whatever happens from here on, it closes the source
    VDISK_TRY(options, to_options(given));
    VDISK_TRY(opened, open_given(bytes, selector == nullptr ? "" : selector, options));
    options.references = ReferencePolicy::deny;
    return to_file(std::move(opened), std::move(options));
}

Result<const char*> identify(const char* path) {
    VDISK_CHECK(need(path != nullptr, "path"));
    VDISK_TRY(format, identify_file(path));
    return format == nullptr ? "" : format->name.data(); // the names of formats are literals, so they end in NUL
}

Result<const char*> identify_source(const vdisk_source* source) {
    VDISK_CHECK(check_source(source));
    vdisk_source borrowed = *source;
    borrowed.close = nullptr;
    VDISK_TRY(format, identify_given(file_over(borrowed)));
    return format == nullptr ? "" : format->name.data();
}

Result<int> disk_info(const vdisk_file* file, std::size_t index, vdisk_disk_info* info) {
    VDISK_CHECK(need(file != nullptr, "file"));
    VDISK_CHECK(need(info != nullptr, "info"));
    if (index >= file->texts.size())
        return fail(ErrorKind::usage, "{}: has {} disks, none is number {}", file->opened.source->name(),
                    file->texts.size(), index);
    const Disk& disk = file->opened.disks->disks()[index];
    const vdisk_file::Texts& texts = file->texts[index];
    *info = {to_c(disk.kind), texts.name.c_str(), texts.id.c_str(), texts.description.c_str(), disk.size};
    return 0;
}

Result<std::size_t> selected(const vdisk_file* file) {
    VDISK_CHECK(need(file != nullptr, "file"));
    return select_disk(file->opened);
}

Result<vdisk_disk*> open_disk(const vdisk_file* file, std::size_t index) {
    vdisk_disk_info info;
    VDISK_CHECK(disk_info(file, index, &info));
    VDISK_TRY(opened, open_disk_at(file->opened, index, file->options));
    std::string remarks;
    for (const Remark& remark : opened.remarks())
        remarks += fmt::format("{}: {}\n", remark.weight == Remark::Weight::doubt ? "warning" : "note", remark.text);
    return new vdisk_disk{std::move(opened), std::move(remarks)};
}

Result<std::int64_t> read(const vdisk_disk* disk, void* buffer, std::size_t count, std::uint64_t offset) {
    VDISK_CHECK(need(disk != nullptr, "disk"));
    VDISK_CHECK(need(buffer != nullptr || count == 0, "buffer"));
    VDISK_TRY(got, disk->opened.image->read_at(offset, std::span(static_cast<std::byte*>(buffer), count)));
    return static_cast<std::int64_t>(got);
}

Result<int> extent_at(const vdisk_disk* disk, std::uint64_t offset, std::uint64_t wanted, vdisk_extent* extent) {
    VDISK_CHECK(need(disk != nullptr, "disk"));
    VDISK_CHECK(need(extent != nullptr, "extent"));
    const Image& image = *disk->opened.image;
    if (wanted == 0 || offset >= image.size())
        return fail(ErrorKind::usage, "{}: no extent of {} bytes at disk offset {}: the disk has {}", image.name(),
                    wanted, offset, image.size());
    VDISK_TRY(found, image.resolve(GuestOffset{offset}, wanted));
    *extent = {to_c(found.extent.kind), static_cast<std::uint32_t>(found.depth), offset, found.extent.length};
    return 0;
}

} // namespace
} // namespace vdisk::capi

namespace capi = vdisk::capi;

extern "C" {

const char* vdisk_version(void) {
    return PACKAGE_VERSION;
}

vdisk_file* vdisk_file_open(const char* path, const vdisk_open_options* options) {
    return capi::guarded<vdisk_file*>(nullptr, [&] { return capi::open_file(path, options); });
}

const char* vdisk_identify(const char* path) {
    return capi::guarded<const char*>(nullptr, [&] { return capi::identify(path); });
}

vdisk_file* vdisk_file_open_source(const vdisk_source* source, const char* selector,
                                   const vdisk_open_options* options) {
    return capi::guarded<vdisk_file*>(nullptr, [&] { return capi::open_source(source, selector, options); });
}

const char* vdisk_identify_source(const vdisk_source* source) {
    return capi::guarded<const char*>(nullptr, [&] { return capi::identify_source(source); });
}

void vdisk_file_close(vdisk_file* file) {
    delete file;
}

const char* vdisk_file_format(const vdisk_file* file) {
    // The names of formats are literals, so they end in NUL.
    return file == nullptr ? "" : file->opened.disks->format().name.data();
}

size_t vdisk_file_disk_count(const vdisk_file* file) {
    return file == nullptr ? 0 : file->texts.size();
}

int vdisk_file_disk_info(const vdisk_file* file, size_t index, vdisk_disk_info* info) {
    return capi::guarded(-1, [&] { return capi::disk_info(file, index, info); });
}

int64_t vdisk_file_selected(const vdisk_file* file) {
    return capi::guarded<std::int64_t>(-1, [&]() -> vdisk::Result<std::int64_t> {
        VDISK_TRY(index, capi::selected(file));
        return static_cast<std::int64_t>(index);
    });
}

vdisk_disk* vdisk_file_open_disk(const vdisk_file* file, size_t index) {
    return capi::guarded<vdisk_disk*>(nullptr, [&] { return capi::open_disk(file, index); });
}

vdisk_disk* vdisk_open(const char* path, const vdisk_open_options* options) {
    return capi::guarded<vdisk_disk*>(nullptr, [&]() -> vdisk::Result<vdisk_disk*> {
        VDISK_TRY(opened, capi::open_file(path, options));
        const std::unique_ptr<vdisk_file> file(opened);
        VDISK_TRY(index, capi::selected(file.get()));
        return capi::open_disk(file.get(), index);
    });
}

const char* vdisk_remarks(const vdisk_disk* disk) {
    return disk == nullptr ? "" : disk->remarks.c_str();
}

void vdisk_close(vdisk_disk* disk) {
    delete disk;
}

uint64_t vdisk_size(const vdisk_disk* disk) {
    return disk == nullptr ? 0 : disk->opened.image->size();
}

int64_t vdisk_read(const vdisk_disk* disk, void* buffer, size_t count, uint64_t offset) {
    return capi::guarded<std::int64_t>(-1, [&] { return capi::read(disk, buffer, count, offset); });
}

int vdisk_extent_at(const vdisk_disk* disk, uint64_t offset, uint64_t wanted, vdisk_extent* extent) {
    return capi::guarded(-1, [&] { return capi::extent_at(disk, offset, wanted, extent); });
}

} // extern "C"
