// SPDX-License-Identifier: Apache-2.0
/// The two copies of a file's header, at offsets 0 and 4096.
#pragma once

#include "hyperv/finding.hpp"
#include "io/byte_source.hpp"

#include <array>

namespace vdisk::hyperv {

/// The layout that this reader knows.
inline constexpr std::uint32_t kFormatVersion = 0x0400;

struct HeaderCopy {
    std::uint64_t offset = 0;
    bool inside_file = false;
    bool signature_good = false;
    bool checksum_good = false;
    std::uint16_t sequence = 0;
    std::uint32_t version = 0; ///< (major << 8) | minor
    std::uint32_t data_version = 0;
    std::uint32_t flags = 0;
    std::uint32_t alignment = 0;
    std::uint64_t log_offset = 0;
    std::uint64_t log_size = 0;
    std::uint32_t log_header_size = 0;

    [[nodiscard]] bool good() const noexcept { return inside_file && signature_good && checksum_good; }
};

struct Headers {
    std::array<HeaderCopy, 2> copies;
    std::optional<std::size_t> active; ///< which copy counts: good, and of two good ones the newer

    /// The copy that counts, or nullptr.
    [[nodiscard]] const HeaderCopy* current() const noexcept { return active ? &copies[*active] : nullptr; }
};

/// Reads both copies and chooses. An error only if the file itself can't be read.
[[nodiscard]] Result<Headers> read_headers(const ByteSource& source);

/// Adds what is wrong with the copies.
void judge_headers(const Headers& headers, Findings& findings);

/// Whether 16-bit counter `a` is ahead of `b`. The counters of headers and key tables wrap, so the nearer way counts.
[[nodiscard]] constexpr bool newer(std::uint16_t a, std::uint16_t b) noexcept {
    const auto ahead = static_cast<std::uint16_t>(a - b);
    return ahead != 0 && ahead < 0x8000;
}

} // namespace vdisk::hyperv
