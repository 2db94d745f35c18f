// SPDX-License-Identifier: Apache-2.0
/// Memory for keys and passphrases, wiped when it is let go.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace vdisk {

/// Overwrites `bytes` in a way that no optimizer leaves out.
void cleanse(void* bytes, std::size_t count) noexcept;

/// std::allocator that wipes what it frees, the old buffer of a vector that grew included.
template<class T> struct CleansingAllocator {
    using value_type = T;

    CleansingAllocator() = default;
    template<class U> explicit CleansingAllocator(const CleansingAllocator<U>& /*other*/) noexcept {}

    [[nodiscard]] T* allocate(std::size_t count) { return std::allocator<T>{}.allocate(count); }
    void deallocate(T* memory, std::size_t count) noexcept {
        cleanse(memory, count * sizeof(T));
        std::allocator<T>{}.deallocate(memory, count);
    }
    friend bool operator==(const CleansingAllocator&, const CleansingAllocator&) noexcept { return true; }
};

using SecretBytes = std::vector<std::byte, CleansingAllocator<std::byte>>;

} // namespace vdisk
