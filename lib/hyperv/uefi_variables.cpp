// SPDX-License-Identifier: Apache-2.0
// The records of BIOS_NVRAM. Source: OpenVMM, hcl_compat_uefi_nvram_storage; times and attributes: UEFI specification.
#include "base/parse.hpp"
#include "base/utf16.hpp"
#include "base/zeros.hpp"
#include "hyperv/guest_state.hpp"

#include <boost/endian/buffers.hpp>

#include <cstring>

namespace vdisk::hyperv {
namespace {

using namespace boost::endian;

struct EfiTimeRecord {
    little_uint16_buf_t year;
    little_uint8_buf_t month, day, hour, minute, second, padding;
    little_uint32_buf_t nanosecond;
    little_int16_buf_t time_zone;
    little_uint8_buf_t daylight, more_padding;
};
static_assert(sizeof(EfiTimeRecord) == 16);

struct VariableRecord {
    little_uint32_buf_t type; // 0: a variable, and nothing else is known
    little_uint32_buf_t length;
    little_uint32_buf_t attributes;
    EfiTimeRecord time;
    std::array<std::byte, 16> vendor;
    little_uint16_buf_t name_bytes;
    little_uint16_buf_t data_bytes;
};
static_assert(sizeof(VariableRecord) == 48);

std::string shown_time(const EfiTimeRecord& time) {
    if (time.year.value() == 0 && time.month.value() == 0 && time.day.value() == 0) return "";
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", time.year.value(), time.month.value(), time.day.value(),
                       time.hour.value(), time.minute.value(), time.second.value());
}

struct AttributeName {
    std::uint32_t bit;
    std::string_view name;
};
// As firmware's own shells shorten them.
constexpr std::array kAttributeNames{AttributeName{1, "NV"},  AttributeName{2, "BS"},  AttributeName{4, "RT"},
                                     AttributeName{8, "HR"},  AttributeName{16, "AW"}, AttributeName{32, "AT"},
                                     AttributeName{64, "AP"}, AttributeName{128, "EA"}};

// Why a record can't be one; empty if it can.
std::string objection_to(const VariableRecord& record, std::size_t left) {
    const std::uint64_t needed = sizeof record + record.name_bytes.value() + record.data_bytes.value();
    if (record.type.value() != 0) return fmt::format("its type is {}, known is 0", record.type.value());
    if (record.length.value() > left)
        return fmt::format("it has {} bytes where {} are left", record.length.value(), left);
    if (record.length.value() != needed)
        return fmt::format("it has {} bytes, but header, name and value have {}", record.length.value(), needed);
    return "";
}

UefiVariable variable_of(const VariableRecord& record, std::span<const std::byte> name, std::uint64_t offset) {
    const Utf16Text text = decode_utf16(name);
    const bool ended =
        name.size() >= 2 && name[name.size() - 1] == std::byte{0} && name[name.size() - 2] == std::byte{0};
    return {.name = text.utf8,
            .vendor = Uuid::from_mixed(record.vendor),
            .attributes = record.attributes.value(),
            .size = record.data_bytes.value(),
            .time = shown_time(record.time),
            .offset = offset,
            .name_exact = text.exact && ended};
}

} // namespace

UefiVariables parse_uefi_variables(std::span<const std::byte> bytes) {
    UefiVariables found;
    std::size_t at = 0;
    while (at < bytes.size()) {
        const auto rest = bytes.subspan(at);
        if (all_zeros(rest)) break;
        if (rest.size() < sizeof(VariableRecord)) {
            found.fault = fmt::format("{} bytes at offset {} are too few for a variable", rest.size(), at);
            break;
        }
        VariableRecord record;
        std::memcpy(&record, rest.data(), sizeof record);
        if (const std::string why = objection_to(record, rest.size()); !why.empty()) {
            found.fault = fmt::format("the record at offset {} is no variable: {}", at, why);
            break;
        }
        found.list.push_back(variable_of(record, rest.subspan(sizeof record, record.name_bytes.value()), at));
        at += record.length.value();
    }
    return found;
}

std::string uefi_attributes(std::uint32_t attributes) {
    std::string names;
    for (const auto& [bit, name] : kAttributeNames) {
        if ((attributes & bit) == 0) continue;
        names += fmt::format("{}{}", names.empty() ? "" : "+", name);
        attributes &= ~bit;
    }
    if (attributes != 0 || names.empty()) names += fmt::format("{}{:#x}", names.empty() ? "" : "+", attributes);
    return names;
}

} // namespace vdisk::hyperv
