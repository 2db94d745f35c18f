// SPDX-License-Identifier: Apache-2.0
/// Arithmetic on numbers that came from a file: nothing here wraps.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>

namespace vdisk {

/// a + b, or nothing if that does not fit.
template<std::unsigned_integral T> [[nodiscard]] constexpr std::optional<T> checked_add(T a, T b) noexcept {
    T sum{};
    if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
    return sum;
}

/// a * b, or nothing if that does not fit.
template<std::unsigned_integral T> [[nodiscard]] constexpr std::optional<T> checked_mul(T a, T b) noexcept {
    T product{};
    if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
    return product;
}

/// Whether [offset, offset + length) lies within a file of `size` bytes.
[[nodiscard]] constexpr bool fits(std::uint64_t offset, std::uint64_t length, std::uint64_t size) noexcept {
    return offset <= size && length <= size - offset;
}

/// The quotient, rounded up. `divisor` must not be 0.
[[nodiscard]] constexpr std::uint64_t div_ceil(std::uint64_t value, std::uint64_t divisor) noexcept {
    return value / divisor + (value % divisor != 0 ? 1 : 0);
}

[[nodiscard]] constexpr std::uint64_t align_down(std::uint64_t value, std::uint64_t step) noexcept {
    return value - value % step;
}

/// `value` rounded up to a multiple of `step`, or nothing if that does not fit.
[[nodiscard]] constexpr std::optional<std::uint64_t> align_up(std::uint64_t value, std::uint64_t step) noexcept {
    return checked_mul(div_ceil(value, step), step);
}

[[nodiscard]] constexpr bool is_power_of_two(std::uint64_t value) noexcept {
    return value != 0 && (value & (value - 1)) == 0;
}

} // namespace vdisk
