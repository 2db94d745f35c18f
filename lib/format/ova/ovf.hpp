// SPDX-License-Identifier: Apache-2.0
/// What an OVF descriptor (DMTF DSP0243) says of a machine and its disks, and what a manifest says of an archive's
/// files.
#pragma once

#include "disk/machine.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdisk::ova {

/// A disk of the machine, with the file that it is stored in. All texts are as stored.
struct OvfDisk {
    std::string id;                          ///< diskId
    std::string parent;                      ///< diskId of the disk whose changes it holds; empty: it is whole
    std::string file_ref;                    ///< the file's identifier; empty: a new disk without content
    std::string href;                        ///< the file's name; empty if there is no such file
    std::string compression;                 ///< of the file: empty, "identity" or "gzip"
    std::optional<std::uint64_t> chunk_size; ///< bytes of each chunk that the file was cut into, > 0
    std::optional<std::uint64_t> file_size;  ///< bytes
    std::optional<std::uint64_t> capacity;   ///< bytes of the disk
    std::string format;                      ///< a URI
};

struct Ovf {
    Machine machine{.encrypted = std::string(Machine::kNotTold)}; ///< its drives are those of the hardware's items
    std::vector<OvfDisk> disks;                                   ///< in the descriptor's order
    std::string damage;                                           ///< where the XML breaks off; empty if it is whole

    /// A drive's `identifier` is the diskId, its `file` the name of the disk's file; no place of it is told yet. Of
    /// several machines the first is told, which is one of its problems. Errors: `not_this_format` where there is no
    /// Envelope, `limit_exceeded` beyond Limits::search_files disks.
    [[nodiscard]] static Result<Ovf> parse(std::string_view xml, std::string_view source, const Limits& limits);
};

/// One line of a manifest: "SHA256(name)= 0123...".
struct ManifestLine {
    std::string algorithm; ///< as libcrypto names it: "SHA1", "SHA256", "SHA512"
    std::string name;      ///< of the file, as stored
    std::vector<std::byte> digest;
};

struct Manifest {
    std::vector<ManifestLine> lines;
    std::vector<std::string> unknown; ///< lines that are none, as stored; the first few
};

[[nodiscard]] Manifest parse_manifest(std::string_view text);

} // namespace vdisk::ova
