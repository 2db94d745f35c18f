// SPDX-License-Identifier: Apache-2.0
#include "backend.hpp"

#include "base/text.hpp"
#include "common/progress_bar.hpp"
#include "door.hpp"
#include "open/report.hpp"
#include "unreadable.hpp"

#include <tsk/libtsk.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <unordered_set>

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

// Opening waits so long at most to learn what can't be read; img_stat waits until it knows.
constexpr std::chrono::milliseconds kLookAtOpening{50};
constexpr std::chrono::hours kLookAtLeisure{24};

struct State {
    State(RealTskPtr library, OpenedDisk opened, const ImageRequest& request)
        : tsk(std::move(library)), disk(std::move(opened)), path(request.path), type(request.type),
          more_parts(request.more_parts) {
        images.push_back(path.data());
        for (std::string& part : more_parts) images.push_back(part.data());
    }

    RealTskPtr tsk;
    OpenedDisk disk;
    std::string path;
    const ImageType* type;
    std::vector<std::string> more_parts;
    std::vector<char*> images{}; ///< all that were given
};

// One block of memory: libtsk's structure, and behind it what we need.
struct Handle {
    alignas(std::max_align_t) std::byte libtsk[kLargestTskBytes];
    State* state;
};

Handle* handle_of(TSK_IMG_INFO* image) noexcept {
    return reinterpret_cast<Handle*>(image);
}

// The handles that are open. Nothing in a handle of unknown origin may be read to tell whose it is.
class Handles {
public:
    void add(const TSK_IMG_INFO* image) {
        const std::lock_guard lock(mutex_);
        open_.insert(image);
    }
    void remove(const TSK_IMG_INFO* image) noexcept {
        const std::lock_guard lock(mutex_);
        open_.erase(image);
    }
    bool has(const TSK_IMG_INFO* image) const noexcept {
        const std::shared_lock lock(mutex_);
        return open_.contains(image);
    }

private:
    mutable std::shared_mutex mutex_;
    std::unordered_set<const TSK_IMG_INFO*> open_;
};

Handles& handles() {
    static auto* const all = new Handles; // handles may be closed while the process ends
    return *all;
}

ssize_t past_the_end(const State& state, TSK_OFF_T offset) {
    state.tsk->set_error(TSK_ERR_IMG_READ_OFF,
                         fmt::format("{}: offset {} of {} bytes", state.path, offset, state.disk.image->size()));
    return -1;
}

ssize_t read(TSK_IMG_INFO* image, TSK_OFF_T offset, char* buffer, std::size_t length) noexcept {
    const State& state = *handle_of(image)->state;
    const Image& disk = *state.disk.image;
    const auto at = static_cast<std::uint64_t>(offset);
    const ssize_t got = offset < 0 || at >= disk.size()
                            ? past_the_end(state, offset)
                            : through_door<ssize_t>(*state.tsk, TSK_ERR_IMG_READ, -1, [&]() -> Result<ssize_t> {
                                  VDISK_TRY(count, disk.read_at(at, std::as_writable_bytes(std::span(buffer, length))));
                                  return static_cast<ssize_t>(count);
                              });
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
                   state.type->name, image->size, image->sector_size, to_text(state.disk.file, describe(state.disk)));
        const Unreadable lost = find_unreadable(*state.disk.image, kLookAtLeisure);
        if (lost.why) fmt::print(out, "unreadable: {}\n", text_of(lost, state.disk.image->size()));
        return 0;
    });
}

void close(TSK_IMG_INFO* image) noexcept {
    Handle* const handle = handle_of(image);
    handles().remove(image);
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

void tell_unreadable(const State& state) {
    const std::uint64_t size = state.disk.image->size();
    const Unreadable lost = find_unreadable(*state.disk.image, kLookAtOpening);
    if (lost.why)
        fmt::print(stderr,
                   "tsk-vdisk: {}: {}. Files and folders that lie there are cut off or missing, not always with an "
                   "error.\n",
                   state.path, text_of(lost, size));
}

// libtsk's tools have no place for remarks. What throws doubt on the bytes is told always, the rest in verbose mode.
void tell_remarks(const State& state) {
    for (const Remark& remark : state.disk.remarks())
        if (remark.weight == Remark::Weight::doubt || state.tsk->verbose())
            fmt::print(stderr, "tsk-vdisk: {}: {}\n", remark.weight == Remark::Weight::doubt ? "warning" : "note",
                       remark.text);
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
    auto disk = open_disk(request.path, request.more_parts, options);
    bar->reset();
    return disk;
}

} // namespace

bool is_ours(const TSK_IMG_INFO* image) noexcept {
    return handles().has(image);
}

std::int64_t read_image(TSK_IMG_INFO* image, std::int64_t offset, char* buffer, std::size_t length) noexcept {
    return read(image, offset, buffer, length);
}

Result<TSK_IMG_INFO*> open_image(RealTskPtr tsk, const ImageRequest& request) {
    VDISK_TRY(disk, open_with_bar(request));
    if (request.type->compressed && !disk.file.context.stream)
        return fail(ErrorKind::not_this_format, "{}: is not compressed: {} is for compressed raw disks only",
                    printable(request.path), request.type->name);
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
    const std::uint32_t own_sectors = disk.file.disks->disks()[disk.index].sector_size;
    const unsigned sector_size = request.sector_size != 0 ? request.sector_size : own_sectors;
    auto state = std::make_unique<State>(std::move(tsk), std::move(disk), request);
    TSK_IMG_INFO* const image =
        open_external(handle.get(), static_cast<TSK_OFF_T>(size), sector_size, read, close, imgstat);
    if (image == nullptr) return image;

    if (state->tsk->verbose()) tell_files(*state);
    tell_unreadable(*state);
    tell_remarks(*state);
    image->tag = TSK_IMG_INFO_TAG;
    image->itype = static_cast<TSK_IMG_TYPE_ENUM>(shown_type(*request.type));
    image->num_img = static_cast<int>(state->images.size());
    image->images = state->images.data();
    handles().add(image);
    handle->state = state.release();
    (void)handle.release(); // owned by its `image` from now on
    return image;
}

} // namespace vdisk::tsk
