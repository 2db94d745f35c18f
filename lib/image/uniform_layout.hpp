// SPDX-License-Identifier: Apache-2.0
/// The layout of a disk that is one run.
#pragma once

#include "image/layout.hpp"

namespace vdisk {

/// A disk all of which is `whole`, that long: a raw file, a layer without bytes of its own, one that is not there.
class UniformLayout final : public Layout {
public:
    explicit UniformLayout(Mapping whole) : whole_(std::move(whole)) {}
    [[nodiscard]] std::uint64_t disk_size() const noexcept override { return whole_.length(); }
    [[nodiscard]] Result<Mapping> map(GuestOffset at, std::uint64_t /*wanted*/) const override {
        return whole_.without_start(at.value);
    }

private:
    Mapping whole_;
};

} // namespace vdisk
