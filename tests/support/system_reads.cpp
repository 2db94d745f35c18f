// SPDX-License-Identifier: Apache-2.0
#undef _FORTIFY_SOURCE // it would have inline functions of these names
#include "system_reads.hpp"

#include <sys/syscall.h>
#include <unistd.h>

namespace vdisk::test {
namespace {

std::atomic<SystemReads*> installed{nullptr};

} // namespace

SystemReads::SystemReads() {
    installed = this;
}
SystemReads::~SystemReads() {
    installed = nullptr;
}

ssize_t SystemReads::through(int descriptor, void* out, std::size_t count, off_t offset) {
    return static_cast<ssize_t>(::syscall(SYS_pread64, descriptor, out, count, offset));
}

ssize_t CountedReads::read(int descriptor, void* out, std::size_t count, off_t offset) {
    const ssize_t got = through(descriptor, out, count, offset);
    ++calls_;
    if (got > 0) bytes_ += static_cast<std::uint64_t>(got);
    return got;
}

} // namespace vdisk::test

extern "C" ssize_t pread(int descriptor, void* out, std::size_t count, off_t offset) {
    vdisk::test::SystemReads* const reads = vdisk::test::installed;
    return reads != nullptr ? reads->read(descriptor, out, count, offset)
                            : static_cast<ssize_t>(::syscall(SYS_pread64, descriptor, out, count, offset));
}

extern "C" ssize_t pread64(int descriptor, void* out, std::size_t count, off64_t offset) {
    return ::pread(descriptor, out, count, offset);
}
