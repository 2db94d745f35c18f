// SPDX-License-Identifier: Apache-2.0
#include "unreadable.hpp"

namespace vdisk::tsk {

Unreadable find_unreadable(const Image& disk, std::chrono::milliseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    Unreadable found;
    bool goes_on = false;
    while (found.looked_at < disk.size() && std::chrono::steady_clock::now() < end) {
        const auto next = disk.resolve(GuestOffset{found.looked_at}, disk.size() - found.looked_at);
        if (next.has_error()) break; // what can't be read just now is told by whoever reads it
        const Extent& extent = next.value().extent;
        const bool lost = extent.kind == Extent::Kind::unreadable;
        if (lost && !found.why) {
            found.first = found.looked_at;
            found.why = extent.why;
        }
        if (lost) found.bytes += extent.length;
        if (lost && !goes_on) ++found.ranges;
        goes_on = lost;
        found.looked_at += extent.length;
    }
    return found;
}

std::string text_of(const Unreadable& found, std::uint64_t disk_size) {
    if (!found.why) return {};
    return fmt::format("{} bytes of the disk can't be read, in {} range{}{}; the first from disk offset {} on: {}",
                       found.bytes, found.ranges, found.ranges == 1 ? "" : "s",
                       found.looked_at < disk_size ? fmt::format(" of its first {} bytes", found.looked_at) : "",
                       found.first, found.why->what);
}

} // namespace vdisk::tsk
