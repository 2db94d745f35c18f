// SPDX-License-Identifier: Apache-2.0
#include "disk/backing_link.hpp"

#include "base/text.hpp"

namespace vdisk {

ParentLink backing_link(const std::string& name, const std::string& format) {
    ParentLink link;
    link.described = fmt::format("backing file '{}'", printable(name));
    link.format = format;
    link.key = "backing";
    link.locate = [name](const References& references) { return references.open(name); };
    return link;
}

Result<StoredName> read_backing_name(const ByteSource& file, std::uint64_t offset, std::uint64_t length,
                                     std::uint64_t header_bytes) {
    constexpr std::uint64_t kMostBytes = 1023; // as QEMU has it
    if (length > kMostBytes)
        return fail_at(offset, ErrorKind::corrupt, "{}: the backing file's name has {} bytes, must be at most {}",
                       file.name(), length, kMostBytes);
    VDISK_TRY(bytes, read_bytes(file, offset, length, "backing file name"));
    StoredName stored{.name = std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())};
    std::byte around{};
    bool set_off = stored.name.find('\0') == std::string::npos;
    for (const std::uint64_t at : {offset - 1, offset + length}) {
        if (at >= file.size() || at < header_bytes) continue;
        VDISK_CHECK(read_exact(file, at, std::span(&around, 1)));
        set_off = set_off && around == std::byte{0};
    }
    if (!set_off)
        stored.problem = fmt::format("the backing file's name is said to have {} bytes at offset {}, but it does not "
                                     "begin and end there",
                                     length, offset);
    return stored;
}

} // namespace vdisk
