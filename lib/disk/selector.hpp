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
    std::optional<std::string> format;       ///< by which the file is read, whatever it looks like
    std::optional<std::string> root;         ///< the folder below which the evidence is mounted
    std::optional<std::string> parts{};      ///< which parts of a file that was cut are read: "one" or "all"
    std::optional<std::string> block_size{}; ///< of a VDI whose header is lost; with the three that follow, in bytes
    std::optional<std::string> map_offset{};
    std::optional<std::string> data_offset{};
    std::optional<std::string> size{};
    std::optional<std::string> passphrase_file{}; ///< of a key file that has one
    std::optional<std::string> chunks{};          ///< the folder with a backup's chunks
    std::optional<std::string> word;              ///< a bare word: a device's or snapshot's name or id

    /// Whether anything was selected at all.
    [[nodiscard]] bool empty() const noexcept;

    friend bool operator==(const Selector&, const Selector&) = default;
};

/// The value of `backing` and `parent` that leaves the parent out. A file of that name is "./none".
constexpr std::string_view kNoParent = "none";

/// A key as it is typed, the member that holds its value, and what help says of it.
struct SelectorKey {
    std::string_view name;
    std::optional<std::string> Selector::*member;
    std::string_view placeholder;
    std::string_view help;
};

/// Every key that has a name; `word` has none.
[[nodiscard]] std::span<const SelectorKey> selector_keys() noexcept;

/// Reads `text` as PATH or PATH#key=value[,key=value]. A file that really has the whole text as its name wins; else the
/// first
/// '#' behind an existing file separates. A backslash takes the special meaning from a comma or a backslash. Errors:
/// `usage`, naming the key.
[[nodiscard]] Result<Selector> parse_selector(std::string_view text);

/// parse_selector() of a path that has to be there. Where no file is called as `text` or its beginning up to a '#', an
/// `io` error tells the path as it was typed.
[[nodiscard]] Result<Selector> parse_typed(std::string_view text);

/// What stands behind '#', of a file called `path`, which is not looked for. Empty: no selector. Errors: as
/// parse_selector().
[[nodiscard]] Result<Selector> parse_selector_of(const std::filesystem::path& path, std::string_view words);

/// A word or a value of a key as it stands behind '#': escaped.
[[nodiscard]] std::string selector_word(std::string_view word);

/// Whether `word`, bare behind '#', is read as a key and its value, known or not.
[[nodiscard]] bool reads_as_key(std::string_view word) noexcept;

/// The text that parse_selector() reads as `selector`. Errors: `usage` if there is none, because of files with a '#' in
/// their names.
[[nodiscard]] Result<std::string> selector_text(const Selector& selector);

} // namespace vdisk
