// SPDX-License-Identifier: Apache-2.0
/// A file of a VMDK as it stands alone: a descriptor, a sparse extent with one inside, or an extent without.
#pragma once

#include "format/vmdk/sparse.hpp"

namespace vdisk::vmdk {

/// At least one of both members is there.
struct Parsed {
    std::optional<Descriptor> descriptor{};
    std::optional<Sparse> sparse{}; ///< the file's own header; its descriptor names no other file
    std::vector<Remark> remarks{};  ///< about both

    /// Errors: `not_this_format`, and as Descriptor::parse and Sparse::parse.
    [[nodiscard]] static Result<Parsed> parse(const ByteSource& file, const Limits& limits);

    [[nodiscard]] std::uint64_t disk_size() const noexcept {
        return sparse ? sparse->disk_size : descriptor->disk_size();
    }
    [[nodiscard]] bool has_parent() const noexcept { return descriptor && descriptor->has_parent(); }
    /// Whether nothing tells if there is a parent.
    [[nodiscard]] bool is_orphan() const noexcept;
};

} // namespace vdisk::vmdk
