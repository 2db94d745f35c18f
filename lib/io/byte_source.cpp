// SPDX-License-Identifier: Apache-2.0
#include "io/byte_source.hpp"

#include <algorithm>
#include <utility>

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
    if (!std::in_range<std::ptrdiff_t>(length))
        return fail_at(offset, ErrorKind::limit_exceeded, "{}: {} at offset {} has {} bytes, more than fit into memory",
                       source.name(), what, offset, length);
    std::vector<std::byte> bytes(static_cast<std::size_t>(length));
    VDISK_CHECK(read_exact(source, offset, bytes));
    return bytes;
}

Result<std::string> read_text(const ByteSource& source, std::uint64_t offset, std::uint64_t length,
                              std::string_view what) {
    VDISK_TRY(bytes, read_bytes(source, offset, length, what));
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

} // namespace vdisk
