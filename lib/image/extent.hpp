// SPDX-License-Identifier: Apache-2.0
/// A run of guest bytes that all come from one place.
#pragma once

#include "base/address.hpp"
#include "base/error.hpp"
#include "codec/codec.hpp"

#include <array>
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
    /// A cryptographic digest by which its content is proven at each read; zeros if it has none. Two clusters of one
    /// digest have the same bytes, wherever they lie.
    std::array<std::byte, 32> digest{};
};

/// Where a run of a disk comes from in the end, whatever layer it was found in. Only the members that the kind names
/// mean something.
struct Extent {
    enum class Kind : std::uint8_t {
        zero,       ///< reads as zeros, also over a parent
        stored,     ///< `length` bytes at `host` in source number `source`
        packed,     ///< part of the compressed cluster `packed`, stored at `host` in source number `source`
        unreadable, ///< damaged metadata or lost bytes: an error for this range alone, told by `why`
    };

    Kind kind = Kind::zero;
    std::uint64_t length = 0; ///< > 0, never past the end of the disk
    std::uint32_t source = 0;
    HostOffset host{};
    bool enciphered = false; ///< stored alone: the bytes go through the layer's Encryption
    PackedCluster packed{};
    std::shared_ptr<const Error> why{}; ///< never null in an unreadable extent

    [[nodiscard]] static Extent zero(std::uint64_t length) { return {.kind = Kind::zero, .length = length}; }
    [[nodiscard]] static Extent stored(std::uint64_t length, HostOffset host, std::uint32_t source = 0) {
        return {.kind = Kind::stored, .length = length, .source = source, .host = host};
    }
    [[nodiscard]] static Extent unreadable(std::uint64_t length, std::shared_ptr<const Error> why) {
        return {.kind = Kind::unreadable, .length = length, .why = std::move(why)};
    }
    [[nodiscard]] static Extent unreadable(std::uint64_t length, Error why) {
        return unreadable(length, std::make_shared<const Error>(std::move(why)));
    }

    /// Whether `next`, the extent behind this one on the disk, comes from where this one ends, so that both are one
    /// run.
    [[nodiscard]] bool goes_on_in(const Extent& next) const noexcept;

    /// The same extent less its first `skipped` bytes, which must be fewer than its length.
    [[nodiscard]] Extent without_start(std::uint64_t skipped) const;
};

/// What one layer knows of a run: an extent of its own, or nothing, so that its parent has to be asked at the same
/// guest offset (zeros without a parent or past its end). An Extent is the whole chain's answer and never asks.
class Mapping {
public:
    /// The layer's own extent.
    Mapping(Extent own) : extent_(std::move(own)) {} // NOLINT(google-explicit-constructor): every extent is an answer
    /// `length` bytes that are not in this layer.
    [[nodiscard]] static Mapping ask_parent(std::uint64_t length) {
        Mapping mapping(Extent::zero(length));
        mapping.asks_parent_ = true;
        return mapping;
    }

    [[nodiscard]] bool asks_parent() const noexcept { return asks_parent_; }
    /// Bytes, > 0, never past the end of the disk.
    [[nodiscard]] std::uint64_t length() const noexcept { return extent_.length; }
    /// The layer's own extent; nullptr if it asks its parent.
    [[nodiscard]] const Extent* own() const noexcept { return asks_parent_ ? nullptr : &extent_; }

    /// Takes `next`, the answer for what lies behind this run on the disk, into it if both come from one place. Whether
    /// it did.
    bool absorb(const Mapping& next) noexcept;

    /// The same answer less its first `skipped` bytes, which must be fewer than its length.
    [[nodiscard]] Mapping without_start(std::uint64_t skipped) const;
    /// The same answer cut to `length` bytes (> 0) if it is longer.
    [[nodiscard]] Mapping cut_to(std::uint64_t length) const;

private:
    Extent extent_;
    bool asks_parent_ = false;
};

} // namespace vdisk
