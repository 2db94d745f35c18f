// SPDX-License-Identifier: Apache-2.0
/// Values as text and as JSON.
#pragma once

#include "hvconfig/text_output.hpp"

namespace vdisk::tools {

/// `text` as a JSON string; bytes that are not UTF-8 become U+FFFD.
[[nodiscard]] std::string json_string(std::string_view text);

/// A value whose bytes are at hand, as people read it: numbers, true, text with control characters escaped, bytes as
/// hexadecimal digits. Empty if the bytes are too few for the type.
[[nodiscard]] std::string value_text(hyperv::KeyType type, std::span<const std::byte> bytes);

/// The members of a JSON object that give such a value: `"value":5`, `"length":2,"hex":"0102"`, ...; empty as above.
[[nodiscard]] std::string value_members(hyperv::KeyType type, std::span<const std::byte> bytes);

/// Prints a key's value as `value_text` does, however large it is. What can't be read is said in the text and on
/// standard error; TextOutput::complete() tells of it.
void print_value(TextOutput& out, const hyperv::Storage& storage, hyperv::KeyId key);

/// Prints the hexadecimal digits of a key's value; false if it can't be read to its end, which is told as above.
[[nodiscard]] bool print_hex(TextOutput& out, const hyperv::Storage& storage, hyperv::KeyId key);

/// A key's whole value; nothing if it can't be read, which is told as above.
[[nodiscard]] std::optional<std::vector<std::byte>> readable_value(TextOutput& out, const hyperv::Storage& storage,
                                                                   hyperv::KeyId key);

/// `path = value` and, if the value is in doubt, why; the form that grep and diff are for.
/// What can't be read as in print_value().
void print_flat(TextOutput& out, const hyperv::Storage& storage, hyperv::KeyId key, std::string_view path);

/// Prints a key as a JSON object: its path, type, value and, if that is in doubt, why. What can't be read as in
/// print_value().
void print_json_key(TextOutput& out, const hyperv::Storage& storage, hyperv::KeyId key);

/// The names of the faults that put a key's value in doubt.
[[nodiscard]] std::vector<std::string> damage_of(const hyperv::KeyEntry& entry);

} // namespace vdisk::tools
