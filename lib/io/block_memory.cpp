// SPDX-License-Identifier: Apache-2.0
#include "io/block_memory.hpp"

#include "base/system/memory.hpp"

#include <new>

namespace vdisk {

BlockMemory::BlockMemory(std::size_t size, std::size_t heap_most)
    : bytes_(size > heap_most ? system::reserve_zeros(size) : new std::byte[size]), size_(size),
      pages_(size > heap_most) {
    if (bytes_ == nullptr) throw std::bad_alloc();
    if (pages_) system::expect_all_used(bytes_, size);
}

BlockMemory::~BlockMemory() {
    if (!pages_) delete[] bytes_;
    else if (bytes_ != nullptr) system::release_zeros(bytes_, size_);
}

void BlockMemory::resize(std::size_t size) {
    bytes_ = system::resize_zeros(bytes_, std::exchange(size_, 0), size);
    if (bytes_ == nullptr) throw std::bad_alloc();
    size_ = size;
}

} // namespace vdisk
