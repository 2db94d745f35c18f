// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/parsed.hpp"

#include <algorithm>

namespace vdisk::vmdk {
namespace {

Result<Descriptor> parse_text(const ByteSource& file, const Limits& limits) {
    if (file.size() > limits.descriptor_bytes)
        return fail(ErrorKind::limit_exceeded, "{}: is a descriptor of {} bytes, the limit is {}", file.name(),
                    file.size(), limits.descriptor_bytes);
    VDISK_TRY(bytes, read_bytes(file, 0, file.size(), "descriptor"));
    return Descriptor::parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, file.name(), limits);
}

// The size that counts is the header's, since its tables go with it.
void compare_sizes(Parsed& parsed) {
    const std::uint64_t header = parsed.sparse->disk_size;
    const std::uint64_t text = parsed.descriptor->disk_size();
    if (header == text) return;
    const bool rounded = align_up(text, parsed.sparse->grain_size) == header;
    parsed.remarks.push_back(
        {rounded ? Remark::Weight::note : Remark::Weight::doubt,
         fmt::format("its header says {} bytes, which are taken, and its descriptor {}", header, text)});
}

Result<void> take_embedded(Parsed& parsed, const ByteSource& file, const Limits& limits) {
    if (!parsed.sparse->descriptor) return ok();
    auto read = Descriptor::parse(*parsed.sparse->descriptor, file.name(), limits);
    if (read.has_error()) {
        if (read.error().kind != ErrorKind::corrupt) return std::move(read).error();
        parsed.remarks.push_back(Remark::doubt("its descriptor can't be used: " + read.error().what));
        return ok();
    }
    const std::vector<ExtentLine>& extents = read.value().extents;
    if (extents.size() != 1 || extents.front().type != ExtentLine::Type::sparse)
        return fail(ErrorKind::unsupported, "{}: its descriptor names other extents than the file itself", file.name());
    parsed.descriptor = std::move(read).value();
    compare_sizes(parsed);
    return ok();
}

} // namespace

Result<Parsed> Parsed::parse(const ByteSource& file, const Limits& limits) {
    std::vector<std::byte> head(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), kSector)));
    VDISK_CHECK(read_exact(file, 0, head));
    Parsed parsed;
    if (begins_descriptor(head)) {
        VDISK_TRY(descriptor, parse_text(file, limits));
        parsed.descriptor = std::move(descriptor);
        return parsed;
    }
    VDISK_TRY(sparse, Sparse::parse(file, limits));
    parsed.remarks = sparse.remarks;
    parsed.sparse = std::move(sparse);
    VDISK_CHECK(take_embedded(parsed, file, limits));
    return parsed;
}

bool Parsed::is_orphan() const noexcept {
    if (descriptor) return !descriptor->has_parent() && !descriptor->is_base();
    return !sparse->own_disk;
}

} // namespace vdisk::vmdk
