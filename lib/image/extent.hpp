// SPDX-License-Identifier: Apache-2.0
/// A run of guest bytes that all come from one place.
#pragma once

#include "base/address.hpp"
#include "base/error.hpp"
#include "codec/codec.hpp"

#include <cstdint>
#include <memory>

namespace vdisk {

/// One compressed cluster: where its bytes lie and what they expand to. The host range is Extent::host and
/// `host_length`.
struct PackedCluster {
    Codec codec = Codec::deflate;
    GuestOffset start{};           ///< the guest byte that the first expanded byte is
    std::uint32_t expanded = 0;    ///< bytes it must expand to
    std::uint64_t host_length = 0; ///< bytes stored at most: formats count whole sectors, and the last may be cut off
};

/// What a Layout answers. Only the members that the kind names mean something.
struct Extent {
    enum class Kind : std::uint8_t {
        zero,   ///< reads as zeros, also over a parent
        stored, ///< `length` bytes at `host` in source number `source`
        packed, ///< part of the compressed cluster `packed`, stored at `host` in source number `source`
        parent, ///< not in this layer: the parent's bytes at the same guest offset, zeros without one or past its end
        unreadable, ///< damaged metadata: an error for this range alone, told by `why`
    };

    Kind kind = Kind::zero;
    std::uint64_t length = 0; ///< > 0, never past the end of the disk
    std::uint32_t source = 0;
    HostOffset host{};
    bool enciphered = false; ///< stored alone: the bytes go through the layer's Encryption
    PackedCluster packed{};
    std::shared_ptr<const Error> why{}; ///< never null in an unreadable extent

    [[nodiscard]] static Extent zero(std::uint64_t length) { return {.kind = Kind::zero, .length = length}; }
    [[nodiscard]] static Extent from_parent(std::uint64_t length) { return {.kind = Kind::parent, .length = length}; }
    [[nodiscard]] static Extent stored(std::uint64_t length, HostOffset host, std::uint32_t source = 0) {
        return {.kind = Kind::stored, .length = length, .source = source, .host = host};
    }
    [[nodiscard]] static Extent unreadable(std::uint64_t length, Error why) {
        return {.kind = Kind::unreadable, .length = length, .why = std::make_shared<const Error>(std::move(why))};
    }

    /// Whether `next`, the extent behind this one on the disk, comes from where this one ends, so that both are one
    /// run.
    [[nodiscard]] bool goes_on_in(const Extent& next) const noexcept;

    /// The same extent less its first `skipped` bytes, which must be fewer than its length.
    [[nodiscard]] Extent without_start(std::uint64_t skipped) const;
};

/// A stable word for a kind, for `vdisk map`.
std::string_view to_string(Extent::Kind kind) noexcept;

} // namespace vdisk
