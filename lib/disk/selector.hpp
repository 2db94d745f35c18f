// SPDX-License-Identifier: Apache-2.0
/// PATH#key=value,...: what a user types to reach one disk inside a file.
#pragma once

#include "base/error.hpp"

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace vdisk {

/// A path and what was selected in it. Every member but `path` may be absent.
struct Selector {
    std::filesystem::path path;
    std::optional<std::string> device;
    std::optional<std::string> snapshot; ///< id or name
    std::optional<std::string> key_file;
    std::optional<std::string> backing;
    std::optional<std::string> data_file;
    std::optional<std::string> parent;
    std::optional<std::string> word; ///< a bare word: a device's or snapshot's name or id

    /// Whether anything was selected at all.
    [[nodiscard]] bool empty() const noexcept;

    friend bool operator==(const Selector&, const Selector&) = default;
};

/// A key as it is typed, and the member that holds its value.
struct SelectorKey {
    std::string_view name;
    std::optional<std::string> Selector::*member;
};

/// Every key that has a name; `word` has none.
[[nodiscard]] std::span<const SelectorKey> selector_keys() noexcept;

/// Reads `text` as PATH or PATH#key=value[,key=value]. A file that really has the whole text as its name wins; else the
/// last
/// '#' behind which a selector can be read separates. A backslash takes the special meaning from a comma or a
/// backslash. Errors: `usage`, naming the key.
[[nodiscard]] Result<Selector> parse_selector(std::string_view text);

/// The text behind '#' that selects by a bare word, escaped.
[[nodiscard]] std::string selector_word(std::string_view word);

/// The text that parse_selector() reads as `selector`. Errors: `usage` if there is none, because of files with a '#' in
/// their names.
[[nodiscard]] Result<std::string> selector_text(const Selector& selector);

} // namespace vdisk
