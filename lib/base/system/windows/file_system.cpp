// SPDX-License-Identifier: Apache-2.0
// File systems, and what they lie on.
#include "base/system/file.hpp"

#include "base/system/windows/handles.hpp"

#include <winioctl.h>

#include <array>
#include <memory>
#include <set>

namespace vdisk {

// Volumes have serial numbers, which last.
std::uint64_t lasting_file_system(std::uint64_t /*type*/, std::uint64_t device) noexcept {
    return device;
}

// Programs may set NTFS's time of change.
ChangeTimes change_times_of(std::uint64_t /*type*/) noexcept {
    return ChangeTimes::doubtful;
}

namespace system {
namespace {

// The disks that a volume lies on, which differ from its own number in their partition alone, or are others.
void add_disks_of(HANDLE volume, std::set<Storage>& found) {
    constexpr std::uint64_t kPartition = 0xFFFF;
    const std::uint64_t number = device_number(volume);
    if (number == 0) return;
    found.insert({.block_device = true, .number = number});
    found.insert({.block_device = true, .number = number & ~kPartition});
    alignas(VOLUME_DISK_EXTENTS) std::array<std::byte, 4096> room{};
    DWORD got = 0;
    if (::DeviceIoControl(volume, IOCTL_VOLUME_GET_VOLUME_DISK_EXTENTS, nullptr, 0, room.data(), room.size(), &got,
                          nullptr) == 0)
        return;
    const auto* const extents = reinterpret_cast<const VOLUME_DISK_EXTENTS*>(room.data());
    for (DWORD i = 0; i < extents->NumberOfDiskExtents; ++i) {
        const std::wstring name = L"\\\\.\\PhysicalDrive" + std::to_wstring(extents->Extents[i].DiskNumber);
        const Handle disk(
            ::CreateFileW(name.c_str(), 0, FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr, OPEN_EXISTING, 0, nullptr));
        if (disk.is_open()) found.insert({.block_device = true, .number = device_number(disk.get())});
    }
}

// Calls `act` with each volume of this machine, open to be asked, and the serial number of its file system.
template<class Act> void for_each_volume(Act act) {
    std::array<wchar_t, 64> name{}; // \\?\Volume{GUID}\ has 49
    const HANDLE walk = ::FindFirstVolumeW(name.data(), static_cast<DWORD>(name.size()));
    if (walk == INVALID_HANDLE_VALUE) return;
    const std::unique_ptr<void, decltype(&::FindVolumeClose)> closing(walk, ::FindVolumeClose);
    do {
        std::wstring text(name.data());
        const auto root = status_of(std::filesystem::path(text));
        text.pop_back(); // the volume itself, not its root folder
        const Handle volume(
            ::CreateFileW(text.c_str(), 0, FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr, OPEN_EXISTING, 0, nullptr));
        if (volume.is_open()) act(volume.get(), root ? root->identity.device : 0);
    } while (::FindNextVolumeW(walk, name.data(), static_cast<DWORD>(name.size())) != 0);
}

} // namespace

std::uint64_t file_system_of(int /*file*/, std::uint64_t device) noexcept {
    return device;
}

ChangeTimes change_times(int /*file*/) noexcept {
    return ChangeTimes::doubtful;
}

void for_each_below(std::uint64_t number, bool of_file_system, const std::function<void(const Storage&)>& each) {
    std::set<Storage> found;
    if (!of_file_system) found.insert({.block_device = true, .number = number});
    for_each_volume([&](HANDLE volume, std::uint64_t serial) {
        if (of_file_system ? serial == number && serial != 0 : device_number(volume) == number)
            add_disks_of(volume, found);
    });
    for (const Storage& storage : found) each(storage);
}

} // namespace system
} // namespace vdisk
