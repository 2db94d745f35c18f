// SPDX-License-Identifier: Apache-2.0
/// Standard output in large pieces, and walking a tree without recursion.
#pragma once

#include "hyperv/storage.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <iterator>

namespace vdisk::tools {

/// A tree is printed with no more blanks before a key, however deep it is.
inline constexpr std::size_t kDeepestIndent = 40;

/// Collects text and writes it in large pieces. A failure is told when the tool ends. Remembers whether
/// something that belongs into the text could not be read.
class TextOutput {
public:
    TextOutput() = default;
    ~TextOutput() { flush(); }
    TextOutput(const TextOutput&) = delete;
    TextOutput& operator=(const TextOutput&) = delete;

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

private:
    static constexpr std::size_t kPiece = 1U << 16;
    void flush() {
        std::fwrite(buffer_.data(), 1, buffer_.size(), stdout);
        buffer_.clear();
    }

    fmt::memory_buffer buffer_;
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
