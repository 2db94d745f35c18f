// SPDX-License-Identifier: Apache-2.0
/// What a file is that no format here reads: so that it is named, and never taken for a raw disk unasked.
#pragma once

#include "disk/signature.hpp"

namespace vdisk {

/// A kind of file. Rows are data; a format that is read here has its signatures in its own row (format.hpp).
struct KnownFile {
    /// What the file's bytes are.
    enum class Content : std::uint8_t {
        other, ///< no disk's bytes as they are: a container, an archive, a text
        disk,  ///< a disk's or disc's bytes as they are, which may well stand on a raw disk: LUKS, ISO 9660
    };

    std::string_view what; ///< goes behind "is": "a Bochs disk"
    Signature signature{}; ///< no magic: only `test` tells
    Content content = Content::other;
    std::string_view advice{}; ///< a sentence's end on how to get at the disk; may be empty
    /// Asked once the signature is there: what data can't tell. May be null.
    bool (*test)(std::span<const std::byte> head) = nullptr;
};

/// The row of which `look` shows the signature, or nullptr. A file that begins and ends as different kinds do is the
/// first of them in the table.
[[nodiscard]] const KnownFile* known_file(const FirstLook& look) noexcept;

/// The kind that `look` shows at the file's end alone, or nullptr: what a file is whatever its start looks like.
[[nodiscard]] const KnownFile* known_by_its_end(const FirstLook& look) noexcept;

/// "is a Bochs disk, which is not read here", with the advice behind it.
[[nodiscard]] std::string in_words(const KnownFile& known);

/// What can be said of a file that is in no row: that it is empty, that its start is all zeros, or nothing.
[[nodiscard]] std::string_view plain_words(const FirstLook& look) noexcept;

} // namespace vdisk
