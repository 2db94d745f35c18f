// SPDX-License-Identifier: Apache-2.0
/// Bytes and numbers that are drawn, the same ones every time, or that the bytes of an input choose.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

namespace vdisk::test {

using Bytes = std::vector<std::byte>;
using Random = std::mt19937_64;

inline std::uint64_t below(Random& random, std::uint64_t limit) {
    return std::uniform_int_distribution<std::uint64_t>(0, limit - 1)(random);
}

inline Bytes random_bytes(Random& random, std::size_t count) {
    Bytes bytes(count);
    for (std::size_t at = 0; at < count; at += sizeof(std::uint64_t)) {
        const std::uint64_t drawn = random();
        std::memcpy(bytes.data() + at, &drawn, std::min(sizeof drawn, count - at));
    }
    return bytes;
}

/// In the place of Random: an input's bytes, from its start, choose; zeros when they are used up.
class Chosen {
public:
    explicit Chosen(std::span<const std::byte> bytes) : left_(bytes) {}

    std::uint64_t next(std::size_t count) {
        std::uint64_t value = 0;
        for (; count > 0; --count) value = value << 8 | take();
        return value;
    }
    std::uint64_t operator()() { return next(8); }

private:
    std::uint64_t take() {
        if (left_.empty()) return 0;
        const auto first = std::to_integer<std::uint64_t>(left_.front());
        left_ = left_.subspan(1);
        return first;
    }

    std::span<const std::byte> left_;
};

inline std::uint64_t below(Chosen& chosen, std::uint64_t limit) {
    return chosen.next(limit <= 256 ? 1 : limit <= 65536 ? 2 : 8) % limit;
}

/// Of a pattern that two bytes choose: all of them would leave none for what matters.
inline Bytes random_bytes(Chosen& chosen, std::size_t count) {
    std::uint64_t pattern = chosen.next(2);
    Bytes bytes(count);
    for (std::size_t at = 0; at < count; at += sizeof pattern) {
        pattern = pattern * 6364136223846793005 + 1442695040888963407; // Knuth's, for MMIX
        std::memcpy(bytes.data() + at, &pattern, std::min(sizeof pattern, count - at));
    }
    return bytes;
}

} // namespace vdisk::test
