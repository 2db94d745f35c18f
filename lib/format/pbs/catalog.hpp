// SPDX-License-Identifier: Apache-2.0
/// Catalogs (.pcat1): the names, sizes and times of the files in a container's archive, which clients before 3.2.5 keep
/// beside it. The layout is Proxmox's, pbs-datastore/src/catalog.rs.
#pragma once

#include "base/limits.hpp"
#include "io/byte_source.hpp"

#include <string>

namespace vdisk::pbs {

/// What a catalog lists.
struct Catalog {
    std::string text{};    ///< a line for each entry: kind, size and time of a file, path; paths are safe to show
    std::string problem{}; ///< what of it could not be listed; empty if nothing
};

/// Lists the catalog that the bytes of `content` are. Tables that are damaged cost what is in them. Errors:
/// `not_this_format`; `limit_exceeded` where it is larger than Limits::catalog_bytes; `io`, and whatever reading
/// `content` gives.
[[nodiscard]] Result<Catalog> list_catalog(const ByteSource& content, const Limits& limits);

} // namespace vdisk::pbs
