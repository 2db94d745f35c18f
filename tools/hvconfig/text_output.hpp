// SPDX-License-Identifier: Apache-2.0
/// Standard output in large pieces, and walking a tree without recursion.
#pragma once

#include "hyperv/storage.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <iterator>

namespace vdisk::tools {

/// Collects text and writes it in large pieces. A failure is remembered and told by finish(). Remembers too whether
/// something that belongs into the text could not be read.
class TextOutput {
public:
    template<class... Args> void print(fmt::format_string<Args...> format, Args&&... args) {
        fmt::format_to(std::back_inserter(buffer_), format, std::forward<Args>(args)...);
        if (buffer_.size() > kPiece) flush();
    }
    void put(std::string_view text) {
        buffer_.append(text.data(), text.data() + text.size());
        if (buffer_.size() > kPiece) flush();
    }
    /// Notes that something is missing in the text.
    void miss() noexcept { complete_ = false; }
    [[nodiscard]] bool complete() const noexcept { return complete_; }

    /// Writes what is left; an error if any of the writing failed.
    [[nodiscard]] Result<void> finish() {
        flush();
        if (std::fflush(stdout) != 0 || failed_) return fail(ErrorKind::io, "standard output: writing failed");
        return ok();
    }

private:
    static constexpr std::size_t kPiece = 1U << 16;
    void flush() {
        failed_ = failed_ || std::fwrite(buffer_.data(), 1, buffer_.size(), stdout) != buffer_.size();
        buffer_.clear();
    }

    fmt::memory_buffer buffer_;
    bool failed_ = false;
    bool complete_ = true;
};

/// Depth first: enter(key, depth) before a key's children and leave(key, depth) behind them. Both return Result<void>.
template<class Enter, class Leave>
[[nodiscard]] Result<void> walk(const hyperv::Tree& tree, std::span<const hyperv::KeyId> tops, Enter&& enter,
                                Leave&& leave) {
    struct Level {
        std::span<const hyperv::KeyId> keys;
        std::size_t next = 0;
    };
    std::vector<Level> levels{{tops}};
    while (!levels.empty()) {
        Level& level = levels.back();
        const std::size_t depth = levels.size() - 1;
        if (level.next == level.keys.size()) {
            levels.pop_back();
            if (!levels.empty()) VDISK_CHECK(leave(levels.back().keys[levels.back().next - 1], depth - 1));
            continue;
        }
        const hyperv::KeyId key = level.keys[level.next++];
        VDISK_CHECK(enter(key, depth));
        levels.push_back({tree.children(key)});
    }
    return ok();
}

} // namespace vdisk::tools
