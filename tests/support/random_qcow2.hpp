// SPDX-License-Identifier: Apache-2.0
/// qcow2 images with clusters of every kind, drawn or chosen.
#pragma once

#include "qcow2_builder.hpp"
#include "random_bytes.hpp"
#include "zlib_stream.hpp"

namespace vdisk::test {

/// As QEMU has it: a window of 4 KiB.
inline Bytes deflated_cluster(const Bytes& plain) {
    return zlib_stream(plain, {.window_bits = -12});
}

/// A random image and what it must read as.
template<class Draw> class RandomQcow2 {
public:
    RandomQcow2(Qcow2Options options, const Bytes& parent, Draw& random)
        : options_(options), builder_(options), random_(random), model_(parent) {
        model_.resize(options.size); // zeros where the parent ends before
        for (std::uint64_t cluster = 0; cluster * builder_.cluster_size() < options.size; ++cluster) add(cluster);
    }
    const Qcow2Builder& builder() const { return builder_; }
    const Bytes& model() const { return model_; }

private:
    bool extended() const { return (options_.incompatible & kQcow2ExtendedL2) != 0; }

    void add(std::uint64_t cluster) {
        const std::uint64_t kinds = options_.version == 2 ? 4 : 6;
        switch (below(random_, kinds)) {
        case 0: return; // unallocated, perhaps with its L2 table
        case 1: return builder_.set(cluster, 0);
        case 2: return add_packed(cluster);
        case 4: return extended() ? add_subclusters(cluster, 0) : add_zero(cluster, 0);
        case 5:
            return extended() ? add_subclusters(cluster, store())
                              : add_zero(cluster, builder_.append(random_bytes(random_, 10)));
        default: return extended() ? add_subclusters(cluster, store()) : add_stored(cluster);
        }
    }
    void model(std::uint64_t offset, const Bytes& content) {
        for (std::size_t i = 0; i < content.size() && offset + i < model_.size(); ++i) model_[offset + i] = content[i];
    }
    std::uint64_t store() {
        last_ = random_bytes(random_, builder_.cluster_size());
        return builder_.append(last_);
    }
    void add_stored(std::uint64_t cluster) {
        builder_.set(cluster, kQcow2Copied | store());
        model(cluster * builder_.cluster_size(), last_);
    }
    void add_zero(std::uint64_t cluster, std::uint64_t host) {
        builder_.set(cluster, host | kQcow2Zero);
        model(cluster * builder_.cluster_size(), Bytes(builder_.cluster_size()));
    }
    void add_packed(std::uint64_t cluster) {
        Bytes plain(builder_.cluster_size(), static_cast<std::byte>(random_()));
        const Bytes noise = random_bytes(random_, below(random_, plain.size() / 4));
        std::copy(noise.begin(), noise.end(), plain.begin());
        const Bytes packed = deflated_cluster(plain);
        builder_.append_tight(random_bytes(random_, below(random_, 700))); // so that it begins anywhere
        builder_.set(cluster, builder_.packed(builder_.append_tight(packed), packed.size()),
                     extended() ? random_() : 0);
        model(cluster * builder_.cluster_size(), plain);
    }
    // Random legal bits; without a host offset none is allocated.
    void add_subclusters(std::uint64_t cluster, std::uint64_t host) {
        const std::uint64_t part = builder_.cluster_size() / 32;
        std::uint64_t bitmap = 0;
        unsigned state = 0;
        for (unsigned i = 0; i < 32; ++i) {
            if (below(random_, 3) == 0) state = static_cast<unsigned>(below(random_, 3));
            const std::uint64_t offset = cluster * builder_.cluster_size() + i * part;
            if (state == 1 && host != 0) {
                bitmap |= std::uint64_t{1} << i;
                model(offset, Bytes(last_.begin() + static_cast<std::ptrdiff_t>(i * part),
                                    last_.begin() + static_cast<std::ptrdiff_t>((i + 1) * part)));
            } else if (state == 2) {
                bitmap |= std::uint64_t{1} << (32 + i);
                model(offset, Bytes(part));
            }
        }
        builder_.set(cluster, host, bitmap);
    }

    Qcow2Options options_;
    Qcow2Builder builder_;
    Draw& random_;
    Bytes model_;
    Bytes last_;
};

} // namespace vdisk::test
