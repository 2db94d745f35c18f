// SPDX-License-Identifier: Apache-2.0
/// What a backup says of itself (index.json.blob): a list of claims, which only a signature and its key prove.
#pragma once

#include "base/facts.hpp"
#include "format/pbs/key.hpp"

namespace vdisk::pbs {

struct Manifest {
    static constexpr const char* kName = "index.json.blob";

    struct File {
        std::string name;       ///< any bytes, and never to be used as a path
        std::string crypt_mode; ///< "none", "encrypt", "sign-only"; "none" where it is absent, as before version 0.8
        std::optional<std::uint64_t> size{};
        std::optional<Digest> checksum{};
    };

    std::string type{}; ///< "vm", "ct", "host"
    std::string id{};
    std::optional<std::int64_t> time{}; ///< Unix seconds, by the client's clock
    std::vector<File> files{};
    std::size_t unreadable_files = 0; ///< entries without a name
    std::optional<std::string> notes{};
    std::optional<Digest> fingerprint{}; ///< of the key
    std::string verify_state{};          ///< "ok", "failed"; empty if no verification was made
    std::string verify_task{};
    std::optional<Digest> signature{};
    Facts json{};

    /// Errors, without the file's name: `corrupt`.
    [[nodiscard]] static Result<Manifest> parse(std::string_view text);
    /// Of its file. Errors name that: as parse(), and those of read_blob().
    [[nodiscard]] static Result<Manifest> read(const ByteSource& file, const Limits& limits);

    /// What it says of a file; nullptr if nothing.
    [[nodiscard]] const File* find(std::string_view name) const noexcept;

    /// Whether it was signed with `key` as it stands, its changeable part apart. It must have a signature. Error: `io`
    /// where libcrypto fails.
    [[nodiscard]] Result<bool> signed_by(const Key& key) const;

    /// For `vdisk info`.
    [[nodiscard]] Facts facts() const;
};

} // namespace vdisk::pbs
