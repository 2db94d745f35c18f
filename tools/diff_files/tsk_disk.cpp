// SPDX-License-Identifier: Apache-2.0
#include "diff_files/tsk_disk.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

namespace vdisk::diff_files {
namespace {

// By libtsk's handle: what lies behind one may be libtsk's own.
std::map<const TSK_IMG_INFO*, TskDisk*>& open_disks() {
    static std::map<const TSK_IMG_INFO*, TskDisk*> disks;
    return disks;
}

void leave_open(TSK_IMG_INFO* /*info*/) {}
void tell_nothing(TSK_IMG_INFO* /*info*/, std::FILE* /*out*/) {}

} // namespace

TskDisk::TskDisk(ImagePtr image, std::uint32_t sector_size) : image_(std::move(image)) {
    open_disks()[&handle_.info] = this;
    opened_ = ::tsk_img_open_external(&handle_.info, static_cast<TSK_OFF_T>(image_->size()), sector_size,
                                      &TskDisk::read, leave_open, tell_nothing) != nullptr;
}

TskDisk::~TskDisk() {
    open_disks().erase(&handle_.info);
}

// Where a read ahead into libtsk's cache fails it asks at once for just what it needs, which may be as much: that
// counts.
ssize_t TskDisk::read(TSK_IMG_INFO* info, TSK_OFF_T offset, char* bytes, std::size_t count) {
    TskDisk& disk = *open_disks().at(info);
    const auto failed = std::exchange(disk.ahead_failed_, std::nullopt);
    const bool again = failed && *failed <= offset && offset < *failed + TSK_IMG_INFO_CACHE_LEN;
    if (failed && !again) ++disk.failures_;
    const auto got =
        disk.image_->read_at(static_cast<std::uint64_t>(offset), std::as_writable_bytes(std::span(bytes, count)));
    if (got.has_value()) return static_cast<ssize_t>(got.value());
    const std::uint64_t rest = disk.image_->size() - static_cast<std::uint64_t>(offset);
    if (count == std::min<std::uint64_t>(TSK_IMG_INFO_CACHE_LEN, rest) && !again) disk.ahead_failed_ = offset;
    else ++disk.failures_;
    std::memset(bytes, 0, count);
    ::tsk_error_reset();
    ::tsk_error_set_errno(TSK_ERR_IMG_READ);
    ::tsk_error_set_errstr("%s", got.error().what.c_str());
    return -1;
}

} // namespace vdisk::diff_files
