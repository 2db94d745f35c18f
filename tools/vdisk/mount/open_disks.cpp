// SPDX-License-Identifier: Apache-2.0
#include "vdisk/mount/open_disks.hpp"

#include "common/exit_status.hpp"

#include <algorithm>

namespace vdisk::tools {

OpenDisks::OpenDisks(OpenedFile file, OpenOptions options, std::size_t most)
    : file_(std::move(file)), options_(std::move(options)), most_(most), slots_(file_.disks->disks().size()) {}

Result<ImagePtr> OpenDisks::open(std::size_t index) {
    auto image = find_or_open(index);
    if (image.has_value()) keep(image.value());
    return image;
}

Result<ImagePtr> OpenDisks::find_or_open(std::size_t index) {
    Slot& slot = slots_[index];
    const std::lock_guard lock(slot.opening);
    if (ImagePtr image = slot.image.lock()) return image;
    auto opened = open_anew(index);
    if (opened.has_value()) slot.image = opened.value();
    else tell_problem(index, opened.error());
    return opened;
}

Result<ImagePtr> OpenDisks::open_anew(std::size_t index) {
    VDISK_TRY(disk, open_disk_at(file_, index, options_));
    const std::vector<Remark> remarks = disk.remarks();
    std::string lines;
    for (const Remark& remark : remarks) lines += remark.text + '\n';
    const std::lock_guard lock(telling_);
    tell_remarks(remarks);
    slots_[index].remarks = std::move(lines);
    return disk.image;
}

// What falls out is closed by whoever reads it last: the closing of a disk may take long, and no lock is held then.
void OpenDisks::keep(const ImagePtr& image) {
    std::list<ImagePtr> dropped;
    const std::lock_guard lock(keeping_);
    const auto found = std::ranges::find(kept_, image);
    if (found != kept_.end()) return kept_.splice(kept_.begin(), kept_, found);
    kept_.push_front(image);
    if (kept_.size() > most_) dropped.splice(dropped.begin(), kept_, std::prev(kept_.end()));
}

Result<std::size_t> OpenDisks::read(std::size_t index, std::uint64_t offset, std::span<std::byte> out) {
    VDISK_TRY(image, open(index));
    auto got = image->read_at(offset, out);
    if (got.has_error()) tell_problem(index, got.error());
    return got;
}

// A program that tries again and again, sector by sector, gets the same answer and one line.
void OpenDisks::tell_problem(std::size_t index, const Error& error) {
    const std::lock_guard lock(telling_);
    if (slots_[index].problem == error.what) return;
    slots_[index].problem = error.what;
    report(error);
}

std::string OpenDisks::problem(std::size_t index) {
    const std::lock_guard lock(telling_);
    return slots_[index].problem;
}

std::string OpenDisks::remarks(std::size_t index) {
    const std::lock_guard lock(telling_);
    return slots_[index].remarks;
}

} // namespace vdisk::tools
