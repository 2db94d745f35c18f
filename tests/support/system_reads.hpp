// SPDX-License-Identifier: Apache-2.0
// A program that is linked with system_reads.cpp sees every pread() that the library does, and may answer it itself.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace vdisk::test {

// Stands between the library and the system. One at a time, for all threads; while there is none, reads go through.
class SystemReads {
public:
    SystemReads();
    virtual ~SystemReads();
    SystemReads(const SystemReads&) = delete;
    SystemReads& operator=(const SystemReads&) = delete;

    // As pread(), errno included.
    virtual ssize_t read(int descriptor, void* out, std::size_t count, off_t offset) = 0;

protected:
    // What the system answers.
    static ssize_t through(int descriptor, void* out, std::size_t count, off_t offset);
};

// Counts what is read.
class CountedReads final : public SystemReads {
public:
    ssize_t read(int descriptor, void* out, std::size_t count, off_t offset) override;
    std::uint64_t calls() const noexcept { return calls_; }
    std::uint64_t bytes() const noexcept { return bytes_; }

private:
    std::atomic<std::uint64_t> calls_{0};
    std::atomic<std::uint64_t> bytes_{0};
};

} // namespace vdisk::test
