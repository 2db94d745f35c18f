// SPDX-License-Identifier: Apache-2.0
/// The form in which a datastore keeps chunks and small files: a magic, a CRC, a payload that may be compressed,
/// enciphered, or both.
#pragma once

#include "format/pbs/key.hpp"

namespace vdisk::pbs {

/// A blob's header.
struct BlobHeader {
    static constexpr std::size_t kMostBytes = 44;

    bool compressed = false; ///< zstd, before it was enciphered
    bool encrypted = false;
    std::uint32_t crc = 0; ///< of what follows the header, as the header says
    std::array<std::byte, 16> iv{};
    std::array<std::byte, 16> tag{};
    std::size_t bytes = 0; ///< of the header itself

    /// Of a whole file. Errors, without the file's name: `truncated`, `not_this_format` where the magic is missing,
    /// `unsupported` for the signed blobs of 2020.
    [[nodiscard]] static Result<BlobHeader> parse(std::span<const std::byte> file);
};

/// Bytes that a file may have whose blob expands to `plain` bytes at most.
[[nodiscard]] constexpr std::uint64_t most_stored(std::uint64_t plain) noexcept {
    return plain + plain / 64 + 1024 +
           BlobHeader::kMostBytes; // a compressed payload may be a little larger than what it is of
}

/// Whether the CRC of a whole file is that of its header. It covers neither IV nor tag, and proves nothing.
[[nodiscard]] bool crc_fits(const BlobHeader& header, std::span<const std::byte> file) noexcept;

/// Puts what the blob in `file` holds at the start of `out` and returns how many bytes that are; `file` is changed.
/// `key` may be null. Errors, without the file's name, after which nothing in `out` may be used: `usage` where there is
/// no key for an enciphered one; `corrupt` for a tag that does not fit, for what does not expand, and for what is
/// longer than `out`; and those of BlobHeader::parse().
[[nodiscard]] Result<std::size_t> unpack(std::span<std::byte> file, const Key* key, std::span<std::byte> out);

/// What a chunk is called by: the SHA-256 of its content, with the key's id behind it where there is a key. Error: `io`
/// where libcrypto fails.
[[nodiscard]] Result<Digest> digest_of(std::span<const std::byte> content, const Key* key);

/// The same of `length` zeros.
[[nodiscard]] Result<Digest> digest_of_zeros(std::uint64_t length, const Key* key);

/// The content of the small file `file`, a blob, with its CRC checked: at most `most` bytes. Errors name the file: as
/// unpack(), and `limit_exceeded`, `corrupt` for a CRC that does not fit, `io`.
[[nodiscard]] Result<std::string> read_blob(const ByteSource& file, const Key* key, std::uint64_t most);

} // namespace vdisk::pbs
