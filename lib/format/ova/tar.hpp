// SPDX-License-Identifier: Apache-2.0
/// The members of a tar archive, read in place (POSIX ustar and pax, GNU tar).
#pragma once

#include "base/limits.hpp"
#include "io/byte_source.hpp"

#include <string>
#include <vector>

namespace vdisk::ova {

/// A regular file in the archive.
struct Member {
    std::string name;         ///< as stored: any bytes, and never to be used as a path
    std::uint64_t offset = 0; ///< of its first byte in the archive
    std::uint64_t size = 0;   ///< bytes, as its header says: the archive may end before
};

/// What an archive holds, as far as its headers can be followed.
struct Members {
    std::vector<Member> list; ///< in the archive's order; of one name the last is the one that is unpacked last
    std::string damage;       ///< why what follows the last one can't be found; empty if nothing is amiss
};

/// Bytes of a header, and what members' starts are multiples of.
constexpr std::uint64_t kTarBlock = 512;

/// Follows the headers from the archive's start. A header that can't be read or whose checksum does not hold, or an end
/// before the blocks of zeros that tar writes there, is `damage`; not so an end within the last member, which its size
/// shows. Error: `limit_exceeded` beyond Limits::search_files.
[[nodiscard]] Result<Members> read_members(const ByteSource& archive, const Limits& limits);

/// Whether one of the first members is called as an OVF descriptor is. Quick: looks at no more than a few headers.
[[nodiscard]] bool has_descriptor(const ByteSource& archive);

} // namespace vdisk::ova
