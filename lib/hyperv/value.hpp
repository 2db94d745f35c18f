// SPDX-License-Identifier: Apache-2.0
/// What the bytes of a value mean.
#pragma once

#include "base/utf16.hpp"
#include "hyperv/storage.hpp"

namespace vdisk::hyperv {

/// The value's first bytes as a number of the type that `Number` is; nothing if there are too few.
[[nodiscard]] std::optional<std::int64_t> as_integer(std::span<const std::byte> bytes) noexcept;
[[nodiscard]] std::optional<std::uint64_t> as_unsigned(std::span<const std::byte> bytes) noexcept;
[[nodiscard]] std::optional<double> as_real(std::span<const std::byte> bytes) noexcept;
[[nodiscard]] std::optional<bool> as_boolean(std::span<const std::byte> bytes) noexcept;

/// A node's change tracking sequence.
[[nodiscard]] std::uint64_t change_tracking_sequence(const KeyEntry& node) noexcept;

/// A name as one step of a path: what is not printable, and the characters that paths and listings give a meaning
/// (/ \ [ ] =), as \xNN. Unambiguous for any bytes.
[[nodiscard]] std::string escape_name(std::string_view name);

/// The path of a key: "/configuration/devices/device[2]/name", numbers from 1 where siblings share a name. Keys that
/// are not in the tree begin with "orphan:" or "cycle:".
[[nodiscard]] std::string path_of(const Storage& storage, KeyId key);

/// One step of a path, as path_of() prints it.
[[nodiscard]] std::string step_of(const Storage& storage, KeyId key);

/// The keys at a path in the tree. A step without a number stands for all siblings of that name. "" is all root keys,
/// and so is "/" unless one has no name. Empty if there are none; an error (`usage`) if the path can't be one.
[[nodiscard]] Result<std::vector<KeyId>> find_keys(const Storage& storage, std::string_view path);

/// The first key at a plain path, or kNoKey; for names that are known beforehand.
[[nodiscard]] KeyId find_key(const Storage& storage, std::string_view path);
/// The first child of that name (ASCII letters of either case), or kNoKey.
[[nodiscard]] KeyId find_child(const Storage& storage, KeyId parent, std::string_view name);

} // namespace vdisk::hyperv
