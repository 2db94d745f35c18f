// SPDX-License-Identifier: Apache-2.0
#include "io/byte_source.hpp"

#include <algorithm>

namespace vdisk {

Readability ByteSource::readability(std::uint64_t offset, std::uint64_t wanted) const {
    return {std::min(wanted, size() - std::min(offset, size())), nullptr};
}

Origin ByteSource::origin(std::uint64_t offset, std::uint64_t wanted) const {
    return {.length = std::min(wanted, size() - offset)};
}

Result<void> read_exact(const ByteSource& source, std::uint64_t offset, std::span<std::byte> out) {
    VDISK_TRY(got, source.read_at(offset, out));
    if (got != out.size())
        return fail_at(offset, ErrorKind::truncated, "{}: {} bytes wanted at offset {}, but only {} are there",
                       source.name(), out.size(), offset, got);
    return ok();
}

Result<std::vector<std::byte>> read_bytes(const ByteSource& source, std::uint64_t offset, std::uint64_t length,
                                          std::string_view what) {
    if (!fits(offset, length, source.size()))
        return fail_at(offset, ErrorKind::truncated, "{}: {} at offset {} needs {} bytes, but the file ends at {}",
                       source.name(), what, offset, length, source.size());
    std::vector<std::byte> bytes(length);
    VDISK_CHECK(read_exact(source, offset, bytes));
    return bytes;
}

Result<std::string> read_text(const ByteSource& source, std::uint64_t offset, std::uint64_t length,
                              std::string_view what) {
    VDISK_TRY(bytes, read_bytes(source, offset, length, what));
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

} // namespace vdisk
