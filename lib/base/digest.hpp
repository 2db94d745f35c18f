// SPDX-License-Identifier: Apache-2.0
/// Message digests, by libcrypto.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

struct evp_md_ctx_st;
struct evp_md_st;

namespace vdisk {

/// A digest being taken. One thread. Can be used again after finish().
class Hasher {
public:
    /// `algorithm` as libcrypto names it: "MD5", "SHA256".
    explicit Hasher(const char* algorithm);
    Hasher(Hasher&& other) noexcept;
    Hasher& operator=(Hasher&& other) noexcept;
    ~Hasher();

    /// Whether libcrypto has the algorithm and nothing has failed yet.
    [[nodiscard]] bool good() const noexcept { return good_; }

    void add(std::span<const std::byte> bytes);
    template<class Struct> void add_struct(const Struct& value) { add(std::as_bytes(std::span(&value, 1))); }

    /// The digest of what was added; nothing if its size is not `Size` or libcrypto can't: it lacks the algorithm (MD5
    /// in FIPS mode) or memory.
    template<std::size_t Size> [[nodiscard]] std::optional<std::array<std::byte, Size>> finish() {
        std::array<std::byte, Size> digest;
        if (!finish_into(digest)) return std::nullopt;
        return digest;
    }

    /// The same, whatever its size.
    [[nodiscard]] std::optional<std::vector<std::byte>> finish();

private:
    void start();
    std::size_t size() const noexcept;
    bool finish_into(std::span<std::byte> digest);

    // Plain pointers, which this object owns: <memory> would double what this header brings into a file.
    evp_md_st* algorithm_;
    evp_md_ctx_st* context_;
    bool good_ = false;
};

} // namespace vdisk
