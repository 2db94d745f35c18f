// SPDX-License-Identifier: Apache-2.0
#include "failing_new.hpp"

#include <cstdlib>
#include <new>

namespace {

thread_local std::size_t allocations_left = 0; // 0: all succeed

void* allocate(std::size_t size) noexcept {
    const bool refused = allocations_left != 0 && --allocations_left == 0;
    return refused ? nullptr : std::malloc(size == 0 ? 1 : size);
}

} // namespace

namespace vdisk::test {

Failing::Failing(std::size_t count) noexcept { allocations_left = count; }
Failing::~Failing() { allocations_left = 0; }
bool Failing::unused() noexcept { return allocations_left != 0; }

} // namespace vdisk::test

void* operator new(std::size_t size) {
    if (void* memory = allocate(size)) return memory;
    throw std::bad_alloc();
}
void* operator new[](std::size_t size) { return ::operator new(size); }
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept { return allocate(size); }
void* operator new[](std::size_t size, const std::nothrow_t& /*tag*/) noexcept { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t /*size*/) noexcept { std::free(memory); }
