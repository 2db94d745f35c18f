// SPDX-License-Identifier: Apache-2.0
// A program that is linked with failing_new.cpp can let one allocation fail: by operator new, and, where no sanitizer
// has malloc() for itself, by malloc(), calloc() and realloc() too, as C libraries ask.
#pragma once

#include <cstddef>

namespace vdisk::test {

// While it lives, the `count`th allocation of this thread from now on fails, and that one only.
class Failing {
public:
    explicit Failing(std::size_t count) noexcept;
    ~Failing();
    Failing(const Failing&) = delete;
    Failing& operator=(const Failing&) = delete;

    // Whether there were too few allocations so far for one to fail.
    static bool unused() noexcept;

    // Whether malloc() and the like fail too.
    static bool reaches_c() noexcept;
};

} // namespace vdisk::test
