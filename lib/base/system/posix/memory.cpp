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

std::byte* resize_zeros(std::byte* memory, std::size_t now, std::size_t size) noexcept {
#ifdef MREMAP_MAYMOVE
    if (void* const moved = ::mremap(memory, now, size, MREMAP_MAYMOVE); moved != MAP_FAILED)
        return static_cast<std::byte*>(moved);
#endif
    release_zeros(memory, now);
    return reserve_zeros(size);
}

void expect_all_used(std::byte* memory, std::size_t size) noexcept {
#ifdef MADV_HUGEPAGE
    (void)::madvise(memory, size, MADV_HUGEPAGE); // a kernel without them gives small ones
#else
    (void)memory, (void)size;
#endif
}

} // namespace vdisk::system
