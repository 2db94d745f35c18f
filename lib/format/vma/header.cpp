// SPDX-License-Identifier: Apache-2.0
#include "format/vma/header.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace vdisk::vma {
namespace {

using Bytes = std::vector<std::byte>;
using Blob = std::optional<std::string_view>;

constexpr std::size_t kStep = 64U << 10;
// What Proxmox calls the configuration of the machine; beside it there may be that of its firewall.
constexpr std::string_view kMainConfiguration = "qemu-server.conf";

// Bytes are asked for in steps: the length comes from the file, and how long that is may not be known yet.
Result<void> read_up_to(ForwardReader& reader, Bytes& bytes, std::size_t size, std::string_view name) {
    while (bytes.size() < size) {
        const std::size_t start = bytes.size();
        const std::size_t step = std::min(kStep, size - start);
        bytes.resize(start + step);
        VDISK_TRY(got, reader.read(std::span(bytes).subspan(start)));
        if (got < step)
            return fail_at(start + got, ErrorKind::truncated, "{}: the header is cut off: {} of its {} bytes are there",
                           name, start + got, size);
    }
    return ok();
}

Result<void> check_start(const RawVmaHeader& raw, std::string_view name, const Limits& limits) {
    if (raw.version.value() != 1)
        return fail_at(4, ErrorKind::unsupported, "{}: version is {}, known is 1", name, raw.version.value());
    const std::uint64_t size = raw.header_size.value();
    if (size <= sizeof raw)
        return fail_at(56, ErrorKind::corrupt, "{}: header_size is {}, but the tables end at {}", name, size,
                       sizeof raw);
    if (size > limits.table_bytes)
        return fail_at(56, ErrorKind::limit_exceeded, "{}: header_size is {}, more than {} are not read", name, size,
                       limits.table_bytes);
    return ok();
}

Result<void> check_md5(const RawVmaHeader& raw, Bytes& bytes, std::string_view name) {
    const auto field = std::span(bytes).subspan(offsetof(RawVmaHeader, md5sum), sizeof raw.md5sum);
    std::ranges::fill(field, std::byte{0});
    Hasher hasher("MD5");
    hasher.add(bytes);
    const auto md5 = hasher.finish<sizeof(Md5)>();
    if (!md5) return md5_missing(name);
    if (*md5 == raw.md5sum) return ok();
    return fail_at(offsetof(RawVmaHeader, md5sum), ErrorKind::corrupt,
                   "{}: the header's checksum is wrong: md5sum is {}, its bytes give {}", name, hex(raw.md5sum),
                   hex(*md5));
}

// The blob buffer: a pad byte, then blobs of a 16-bit length (the only little-endian number in the format) and so many
// bytes.
class Blobs {
public:
    explicit Blobs(std::span<const std::byte> buffer) : buffer_(buffer) {}

    // Nothing if the blob is not all inside the buffer, where it stays.
    Blob at(std::uint32_t pointer) const {
        boost::endian::little_uint16_buf_t length;
        if (!fits(pointer, sizeof length, buffer_.size())) return std::nullopt;
        std::memcpy(&length, buffer_.data() + pointer, sizeof length);
        const std::size_t start = pointer + sizeof length;
        if (!fits(start, length.value(), buffer_.size())) return std::nullopt;
        return std::string_view(reinterpret_cast<const char*>(buffer_.data()) + start, length.value());
    }

    // As at(), for names: they end in a NUL, which is taken off.
    Blob name_at(std::uint32_t pointer) const {
        Blob name = at(pointer);
        if (!name || name->empty() || name->back() != '\0') return std::nullopt;
        name->remove_suffix(1);
        return name;
    }

private:
    std::span<const std::byte> buffer_;
};

void add_device(Header& header, std::size_t id, const RawDevice& raw, const Blobs& blobs) {
    const std::uint32_t pointer = raw.name.value();
    const std::uint64_t size = raw.size.value();
    if (pointer == 0 && size == 0) return;
    const Blob found = pointer == 0 ? std::nullopt : blobs.name_at(pointer);
    const std::string name(found.value_or(""));
    if (!found)
        header.remarks.push_back(fmt::format("device {}: its name at {} of the blob buffer is damaged", id, pointer));
    if (id == 0) {
        header.remarks.push_back("the device table's entry 0, which is no device, is in use");
    } else if (size == 0 || size > kMaxDeviceSize) {
        header.remarks.push_back(
            fmt::format("device {} '{}': its size of {} bytes is impossible", id, shown_name(name), size));
        header.sizeless.push_back({.id = static_cast<std::uint8_t>(id), .name = name, .listed = false});
    } else {
        header.devices.push_back({.id = static_cast<std::uint8_t>(id), .name = name, .size = size});
    }
}

void add_configuration(Header& header, std::size_t slot, std::uint32_t name_pointer, std::uint32_t data_pointer,
                       const Blobs& blobs) {
    if (name_pointer == 0 && data_pointer == 0) return;
    Configuration config;
    const Blob name = name_pointer == 0 ? std::nullopt : blobs.name_at(name_pointer);
    const Blob data = data_pointer == 0 ? std::nullopt : blobs.at(data_pointer);
    config.name = name.value_or("");
    config.data = data.value_or("");
    config.is_main = config.name == kMainConfiguration;
    if (!name) config.problem = fmt::format("its name at {} of the blob buffer is damaged", name_pointer);
    if (!data) config.problem = fmt::format("its content at {} of the blob buffer is damaged", data_pointer);
    if (!config.problem.empty())
        header.remarks.push_back(
            fmt::format("configuration {} '{}': {}", slot, shown_name(config.name), config.problem));
    header.configurations.push_back(std::move(config));
}

Result<Blobs> blob_buffer(const RawVmaHeader& raw, const Bytes& bytes, std::string_view name) {
    const std::uint32_t offset = raw.blob_buffer_offset.value();
    const std::uint32_t size = raw.blob_buffer_size.value();
    if (offset < sizeof raw || !fits(offset, size, bytes.size()))
        return fail_at(48, ErrorKind::corrupt,
                       "{}: blob_buffer_offset is {} and blob_buffer_size is {}, but the header has {} bytes of which "
                       "{} are tables",
                       name, offset, size, bytes.size(), sizeof raw);
    return Blobs(std::span(bytes).subspan(offset, size));
}

} // namespace

Result<Header> Header::read(ForwardReader& reader, std::string_view name, const Limits& limits) {
    Bytes bytes;
    RawVmaHeader raw;
    VDISK_CHECK(read_up_to(reader, bytes, kMagic.size(), name));
    if (std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0)
        return fail_at(0, ErrorKind::not_this_format, "{}: no VMA archive", name);
    VDISK_CHECK(read_up_to(reader, bytes, sizeof raw, name));
    std::memcpy(&raw, bytes.data(), sizeof raw);
    VDISK_CHECK(check_start(raw, name, limits));
    VDISK_CHECK(read_up_to(reader, bytes, raw.header_size.value(), name));
    VDISK_CHECK(check_md5(raw, bytes, name));
    VDISK_TRY(blobs, blob_buffer(raw, bytes, name));

    Header header;
    header.uuid = raw.uuid;
    header.created = raw.ctime.value();
    header.md5 = raw.md5sum;
    header.size = bytes.size();
    for (std::size_t i = 0; i < raw.config_names.size(); ++i)
        add_configuration(header, i, raw.config_names[i].value(), raw.config_data[i].value(), blobs);
    for (std::size_t i = 0; i < raw.dev_info.size(); ++i) add_device(header, i, raw.dev_info[i], blobs);
    return header;
}

Device Header::unlisted(std::uint8_t id) const {
    const auto named = std::ranges::find(sizeless, id, &Device::id);
    if (named != sizeless.end()) return *named;
    return {.id = id, .name = fmt::format("device-{}", id), .listed = false};
}

std::string uuid_text(const Uuid& uuid) {
    std::string text = hex(uuid);
    for (const std::size_t at : {8U, 13U, 18U, 23U}) text.insert(at, 1, '-');
    return text;
}

Error md5_missing(std::string_view name) {
    return fail(ErrorKind::unsupported, "{}: VMA archives need MD5, which this system's libcrypto refuses", name);
}

} // namespace vdisk::vma
