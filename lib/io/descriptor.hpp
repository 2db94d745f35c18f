// SPDX-License-Identifier: Apache-2.0
/// A file descriptor that somebody owns.
#pragma once

#include <unistd.h>

#include <utility>

namespace vdisk {

/// Closes what it holds. One thread.
class Descriptor {
public:
    Descriptor() = default;
    /// Takes over `number`; a negative one is none.
    explicit Descriptor(int number) noexcept : number_(number) {}
    ~Descriptor() { reset(); }
    Descriptor(Descriptor&& other) noexcept : number_(other.release()) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        reset();
        number_ = other.release();
        return *this;
    }

    [[nodiscard]] bool is_open() const noexcept { return number_ >= 0; }
    [[nodiscard]] int get() const noexcept { return number_; }
    /// The number, which is the caller's from now on.
    [[nodiscard]] int release() noexcept { return std::exchange(number_, -1); }

    /// Closes it now. Returns what close() does; 0 if there was nothing to close.
    int reset() noexcept { return number_ < 0 ? 0 : ::close(release()); }

private:
    int number_ = -1;
};

} // namespace vdisk
