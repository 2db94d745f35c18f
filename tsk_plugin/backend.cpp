// SPDX-License-Identifier: Apache-2.0
#include "backend.hpp"

#include "common/progress_bar.hpp"
#include "door.hpp"
#include "open/report.hpp"

#include <tsk/libtsk.h>

#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>

namespace vdisk::tsk {
namespace {

// What libtsk takes a TSK_IMG_INFO to be, in the largest of its versions (4.11 to 4.14). A version's headers, its
// SONAME and its version string don't tell which layout a running libtsk has, so every handle is as large as the
// largest; only the first 40 bytes, which are the same everywhere, are written here.
constexpr std::size_t kLargestTskBytes = 2'097'896;
static_assert(sizeof(TSK_IMG_INFO) <= kLargestTskBytes);
static_assert(offsetof(TSK_IMG_INFO, itype) == 4 && offsetof(TSK_IMG_INFO, size) == 8 &&
              offsetof(TSK_IMG_INFO, num_img) == 16 && offsetof(TSK_IMG_INFO, sector_size) == 20 &&
              offsetof(TSK_IMG_INFO, images) == 32);

struct State {
    RealTskPtr tsk;
    OpenedDisk disk;
    std::string path;
    const ImageType* type;
    char* images[1];
};

// One block of memory: libtsk's structure, and behind it what we need.
struct Handle {
    alignas(std::max_align_t) std::byte libtsk[kLargestTskBytes];
    State* state;
};

Handle* handle_of(TSK_IMG_INFO* image) noexcept {
    return reinterpret_cast<Handle*>(image);
}

ssize_t read(TSK_IMG_INFO* image, TSK_OFF_T offset, char* buffer, std::size_t length) noexcept {
    const State& state = *handle_of(image)->state;
    const Image& disk = *state.disk.image;
    const auto at = static_cast<std::uint64_t>(offset);
    ssize_t got = -1;
    if (offset < 0 || at >= disk.size()) {
        state.tsk->set_error(TSK_ERR_IMG_READ_OFF,
                             fmt::format("{}: offset {} of {} bytes", state.path, offset, disk.size()));
    } else {
        got = through_door<ssize_t>(*state.tsk, TSK_ERR_IMG_READ, -1, [&]() -> Result<ssize_t> {
            VDISK_TRY(count, disk.read_at(at, std::as_writable_bytes(std::span(buffer, length))));
            return static_cast<ssize_t>(count);
        });
    }
    // libtsk up to 4.12 hands the buffer to its caller even after an error, as a success.
    if (got < 0) std::memset(buffer, 0, length);
    return got;
}

void imgstat(TSK_IMG_INFO* image, FILE* out) noexcept {
    const State& state = *handle_of(image)->state;
    through_door<int>(*state.tsk, TSK_ERR_IMG_STAT, 0, [&]() -> Result<int> {
        fmt::print(out,
                   "IMAGE FILE INFORMATION\n--------------------------------------------\n"
                   "Image Type:\t\t{}\n\nSize of data in bytes:\t{}\nSector size:\t{}\n\n{}",
                   state.type->name, image->size, image->sector_size, to_text(describe(state.disk)));
        return 0;
    });
}

void close(TSK_IMG_INFO* image) noexcept {
    Handle* const handle = handle_of(image);
    delete handle->state;
    image->tag = 0;
    std::free(handle);
}

void tell_files(const State& state) {
    fmt::print(stderr, "tsk-vdisk: {} image of {} bytes\n", state.type->name, state.disk.image->size());
    for (const ChainLink& link : state.disk.chain)
        fmt::print(stderr, "tsk-vdisk: opened {} ({}, {} bytes){}{}\n", link.path, link.format->name, link.size,
                   link.how.empty() ? "" : ", found ", link.how);
}

// Java knows libtsk's own numbers only and throws on others, amid a transaction. 0, "Auto Detect", is one that it takes
// and that makes nobody cast the handle to a structure of libtsk's.
TypeId shown_type(const ImageType& type) noexcept {
    return in_java() ? kDetect : type.id;
}

// Opens the disk, with a progress bar on a terminal for as long as that takes and no longer: the options live on in the
// disk.
Result<OpenedDisk> open_with_bar(const ImageRequest& request) {
    VDISK_TRY(options, OpenOptions::from_environment());
    options.format = request.format;
    const auto bar = std::make_shared<std::optional<tools::ProgressBar>>(std::in_place, "opening");
    options.progress = [bar](std::uint64_t done, std::uint64_t total) {
        if (*bar) (*bar)->update(done, total);
        return true;
    };
    auto disk = open_disk(request.path, options);
    bar->reset();
    return disk;
}

} // namespace

Result<TSK_IMG_INFO*> open_image(RealTskPtr tsk, const ImageRequest& request) {
    VDISK_TRY(disk, open_with_bar(request));
    const std::uint64_t size = disk.image->size();
    if (size > static_cast<std::uint64_t>(std::numeric_limits<TSK_OFF_T>::max()))
        return fail(ErrorKind::limit_exceeded, "{}: virtual size {} is beyond what The Sleuth Kit can address",
                    request.path, size);
    auto* const open_external = tsk->function<decltype(tsk_img_open_external)>("tsk_img_open_external");
    if (open_external == nullptr)
        return fail(ErrorKind::unsupported, "{}: this libtsk is too old, it has no tsk_img_open_external",
                    request.path);

    const auto allocated = static_cast<Handle*>(std::calloc(1, sizeof(Handle)));
    std::unique_ptr<Handle, decltype(&std::free)> handle(allocated, &std::free);
    if (!handle) return fail(ErrorKind::io, "{}: no memory", request.path);
    auto state = std::make_unique<State>(State{std::move(tsk), std::move(disk), request.path, request.type, {}});
    TSK_IMG_INFO* const image =
        open_external(handle.get(), static_cast<TSK_OFF_T>(size), request.sector_size, read, close, imgstat);
    if (image == nullptr) return image;

    if (state->tsk->verbose()) tell_files(*state);
    state->images[0] = state->path.data();
    image->tag = TSK_IMG_INFO_TAG;
    image->itype = static_cast<TSK_IMG_TYPE_ENUM>(shown_type(*request.type));
    image->num_img = 1;
    image->images = state->images;
    handle->state = state.release();
    (void)handle.release(); // owned by its `image` from now on
    return image;
}

} // namespace vdisk::tsk
