// SPDX-License-Identifier: Apache-2.0
/// PBKDF2's iterations over SHA-1, SHA-256 and SHA-512: two compressions of the hash function each and nothing else,
/// where libcrypto's own PBKDF2 copies contexts.
#pragma once

#include "codec/secret.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

namespace vdisk {

/// A key of HMAC as a block of the hash function, with each of the two pads.
struct HmacPads {
    SecretBytes inner;
    SecretBytes outer;
};

/// Told of each so many iterations that were done; returns false to have them stopped.
using Iterated = std::function<bool(std::uint32_t count)>;

/// Whether iterate() knows the hash function, by LUKS's name.
[[nodiscard]] bool can_iterate(std::string_view hash) noexcept;

/// Makes of `sum`, the first iteration's result for one block of a key, what `iterations` (> 0) make of it. `hash` must
/// be one that can_iterate(). `iterated` is called every few milliseconds. Returns false if that said stop.
[[nodiscard]] bool iterate(std::string_view hash, const HmacPads& pads, std::span<std::byte> sum,
                           std::uint32_t iterations, const Iterated& iterated);

} // namespace vdisk
