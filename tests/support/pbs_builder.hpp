// SPDX-License-Identifier: Apache-2.0
/// Datastores of Proxmox Backup Server, built in a folder: chunks of every encoding, indexes, manifests, keys.
#pragma once

#include "base/digest.hpp"
#include "base/text.hpp"
#include "format/pbs/key.hpp"
#include "put_bytes.hpp"
#include "temporary_folder.hpp"

#include <libdeflate.h>
#include <openssl/evp.h>
#include <zstd.h>

namespace vdisk::test {

struct PbsEncoding {
    bool compressed = false;
    const pbs::Key* key = nullptr;
};

inline Bytes pbs_compress(std::span<const std::byte> content) {
    Bytes packed(ZSTD_compressBound(content.size()));
    packed.resize(ZSTD_compress(packed.data(), packed.size(), content.data(), content.size(), 1));
    return packed;
}

struct PbsSealed {
    Bytes iv, tag, text;
};

inline PbsSealed pbs_encipher(const Bytes& plain, const pbs::Key& key) {
    PbsSealed sealed{.iv = Bytes(16, std::byte{0x5A}), .tag = Bytes(16), .text = Bytes(plain.size())};
    EVP_CIPHER_CTX* const context = EVP_CIPHER_CTX_new();
    const auto raw = [](auto& bytes) { return reinterpret_cast<unsigned char*>(bytes.data()); };
    int done = 0;
    EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), nullptr, nullptr, nullptr);
    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_IVLEN, 16, nullptr);
    EVP_EncryptInit_ex(context, nullptr, nullptr, reinterpret_cast<const unsigned char*>(key.bytes().data()),
                       raw(sealed.iv));
    EVP_EncryptUpdate(context, raw(sealed.text), &done, reinterpret_cast<const unsigned char*>(plain.data()),
                      static_cast<int>(plain.size()));
    EVP_EncryptFinal_ex(context, raw(sealed.text) + done, &done);
    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, sealed.tag.data());
    EVP_CIPHER_CTX_free(context);
    return sealed;
}

/// A chunk's file, or any blob.
inline Bytes pbs_blob(std::span<const std::byte> content, PbsEncoding how) {
    constexpr std::string_view kMagics[] = {
        "\x42\xab\x38\x07\xbe\x83\x70\xa1",
        "\x31\xb9\x58\x42\x6f\xb6\xa3\x7f",
        "\x7b\x67\x85\xbe\x22\x2d\x4c\xf0",
        "\xe6\x59\x1b\xbf\x0b\xbf\xd8\x0b",
    };
    Bytes payload = how.compressed ? pbs_compress(content) : Bytes(content.begin(), content.end());
    Bytes file;
    put_text(file, 0, kMagics[(how.compressed ? 1 : 0) + (how.key != nullptr ? 2 : 0)]);
    std::size_t header = 12;
    if (how.key != nullptr) {
        const PbsSealed sealed = pbs_encipher(payload, *how.key);
        put_bytes(file, 12, sealed.iv);
        put_bytes(file, 28, sealed.tag);
        payload = sealed.text;
        header = 44;
    }
    put_little(file, 8, libdeflate_crc32(0, payload.data(), payload.size()), 4);
    put_bytes(file, header, payload);
    return file;
}

inline pbs::Digest pbs_digest(std::span<const std::byte> content, const pbs::Key* key = nullptr) {
    Hasher hasher("SHA256");
    hasher.add(content);
    if (key != nullptr) hasher.add(key->id());
    return *hasher.finish<32>();
}

/// A fixed index of these digests.
struct PbsIndex {
    std::uint64_t size = 0;
    std::uint64_t chunk_size = 0;
    std::vector<pbs::Digest> digests{};

    [[nodiscard]] Bytes build() const {
        Bytes file(4096);
        put_text(file, 0, "\x2f\x7f\x41\xed\x91\xfd\x0f\xcd");
        put_bytes(file, 8, Bytes(16, std::byte{0x33}));
        put_little(file, 24, 1'714'557'602, 8);
        put_little(file, 64, size, 8);
        put_little(file, 72, chunk_size, 8);
        Hasher hasher("SHA256");
        for (const pbs::Digest& digest : digests) {
            put_bytes(file, file.size(), digest);
            hasher.add(digest);
        }
        put_bytes(file, 32, *hasher.finish<32>());
        return file;
    }
};

/// A datastore with one snapshot, "vm/100/2024-05-01T10:00:00Z".
class PbsStore {
public:
    static constexpr const char* kSnapshot = "vm/100/2024-05-01T10:00:00Z";

    [[nodiscard]] std::filesystem::path root() const { return folder_.path(); }
    [[nodiscard]] std::filesystem::path snapshot() const { return root() / kSnapshot; }
    [[nodiscard]] std::filesystem::path chunk(const pbs::Digest& digest) const {
        const std::string name = hex(digest);
        return root() / ".chunks" / name.substr(0, 4) / name;
    }

    std::filesystem::path write(const std::filesystem::path& file, std::span<const std::byte> bytes) const {
        std::filesystem::create_directories((root() / file).parent_path());
        return folder_.write(file.string(), bytes);
    }

    /// Writes the chunk of `content` and returns its digest.
    pbs::Digest put(std::span<const std::byte> content, PbsEncoding how = {}) const {
        const pbs::Digest digest = pbs_digest(content, how.key);
        write(chunk(digest).lexically_relative(root()), pbs_blob(content, how));
        return digest;
    }

    /// Writes the chunks of a disk and returns its index.
    [[nodiscard]] PbsIndex store(const Bytes& disk, std::uint64_t chunk_size, PbsEncoding how = {}) const {
        PbsIndex index{.size = disk.size(), .chunk_size = chunk_size};
        for (std::uint64_t at = 0; at < disk.size(); at += chunk_size)
            index.digests.push_back(put(std::span(disk).subspan(at, std::min(chunk_size, disk.size() - at)), how));
        return index;
    }

    std::filesystem::path write_index(const PbsIndex& index, const std::string& name = "drive-scsi0.img.fidx") const {
        return write(std::filesystem::path(kSnapshot) / name, index.build());
    }

    void write_manifest(const std::string& json) const {
        write(std::filesystem::path(kSnapshot) / "index.json.blob", pbs_blob(std::as_bytes(std::span(json)), {}));
    }

private:
    TemporaryFolder folder_;
};

} // namespace vdisk::test
