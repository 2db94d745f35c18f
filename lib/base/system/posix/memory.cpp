// SPDX-License-Identifier: Apache-2.0
#include "base/system/memory.hpp"

#include <sys/mman.h>

namespace vdisk::system {

// Not by calloc(), which may clear recycled memory by writing to all of it.
std::byte* reserve_zeros(std::size_t size) noexcept {
    void* const memory =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
}

void release_zeros(std::byte* memory, std::size_t size) noexcept {
    ::munmap(memory, size);
}

} // namespace vdisk::system
