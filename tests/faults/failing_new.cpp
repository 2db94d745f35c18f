// SPDX-License-Identifier: Apache-2.0
#include "failing_new.hpp"

#include <cerrno>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VDISK_OWN_MALLOC 0 // a sanitizer has a malloc() of its own
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define VDISK_OWN_MALLOC 0
#endif
#endif
#if !defined(VDISK_OWN_MALLOC) && defined(__GLIBC__)
#define VDISK_OWN_MALLOC 1
#endif

#if VDISK_OWN_MALLOC
// What glibc calls its own.
extern "C" void* __libc_malloc(std::size_t size);                    // NOLINT
extern "C" void* __libc_calloc(std::size_t count, std::size_t size); // NOLINT
extern "C" void* __libc_realloc(void* memory, std::size_t size);     // NOLINT
#endif

namespace {

thread_local std::size_t allocations_left = 0; // 0: all succeed

bool refused() noexcept {
    return allocations_left != 0 && --allocations_left == 0;
}

void* allocate(std::size_t size) noexcept {
    if (refused()) return nullptr;
#if VDISK_OWN_MALLOC
    return __libc_malloc(size == 0 ? 1 : size);
#else
    return std::malloc(size == 0 ? 1 : size);
#endif
}

} // namespace

namespace vdisk::test {

Failing::Failing(std::size_t count) noexcept {
    allocations_left = count;
}
Failing::~Failing() {
    allocations_left = 0;
}
bool Failing::unused() noexcept {
    return allocations_left != 0;
}
bool Failing::reaches_c() noexcept {
    return VDISK_OWN_MALLOC != 0;
}

} // namespace vdisk::test

void* operator new(std::size_t size) {
    if (void* memory = allocate(size)) return memory;
    throw std::bad_alloc();
}
void* operator new[](std::size_t size) {
    return ::operator new(size);
}
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
    return allocate(size);
}
void* operator new[](std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
    return allocate(size);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete[](void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t /*size*/) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t /*size*/) noexcept {
    std::free(memory);
}

#if VDISK_OWN_MALLOC
// What zlib, zstd, lzo, libdeflate, libcrypto and pugixml ask for.
extern "C" void* malloc(std::size_t size) {
    if (!refused()) return __libc_malloc(size);
    errno = ENOMEM;
    return nullptr;
}
extern "C" void* calloc(std::size_t count, std::size_t size) {
    if (!refused()) return __libc_calloc(count, size);
    errno = ENOMEM;
    return nullptr;
}
extern "C" void* realloc(void* memory, std::size_t size) {
    if (!refused()) return __libc_realloc(memory, size);
    errno = ENOMEM;
    return nullptr;
}
#endif
