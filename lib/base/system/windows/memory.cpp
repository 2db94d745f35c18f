// SPDX-License-Identifier: Apache-2.0
#include "base/system/memory.hpp"

#include "base/system/windows/handles.hpp"

namespace vdisk::system {

// Windows promises room for all of it and gives pages to those that are touched.
std::byte* reserve_zeros(std::size_t size) noexcept {
    return static_cast<std::byte*>(::VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
}

void release_zeros(std::byte* memory, std::size_t /*size*/) noexcept {
    ::VirtualFree(memory, 0, MEM_RELEASE);
}

std::byte* resize_zeros(std::byte* memory, std::size_t now, std::size_t size) noexcept {
    release_zeros(memory, now);
    return reserve_zeros(size);
}

void expect_all_used(std::byte* /*memory*/, std::size_t /*size*/) noexcept {} // large pages need a privilege

} // namespace vdisk::system
