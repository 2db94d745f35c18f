// SPDX-License-Identifier: Apache-2.0
/// Memory for large parts of files and disks.
#pragma once

#include <cstddef>
#include <utility>

namespace vdisk {

/// Memory for bytes that are whatever they were until their maker fills them: clearing them first costs a twentieth of
/// expanding. Of the C library, which keeps what it is given back for the next one, or pages of the system.
class BlockMemory {
public:
    /// Pages where `size` is more than `heap_most`.
    BlockMemory(std::size_t size, std::size_t heap_most);
    BlockMemory(BlockMemory&& other) noexcept
        : bytes_(std::exchange(other.bytes_, nullptr)), size_(std::exchange(other.size_, 0)), pages_(other.pages_) {}
    BlockMemory& operator=(BlockMemory&& other) noexcept {
        std::swap(bytes_, other.bytes_);
        std::swap(size_, other.size_);
        std::swap(pages_, other.pages_);
        return *this;
    }
    ~BlockMemory();

    [[nodiscard]] std::byte* data() const noexcept { return bytes_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool pages() const noexcept { return pages_; }
    /// Makes pages more or fewer.
    void resize(std::size_t size);

private:
    std::byte* bytes_;
    std::size_t size_;
    bool pages_;
};

} // namespace vdisk
