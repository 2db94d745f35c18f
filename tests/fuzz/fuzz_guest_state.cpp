// SPDX-License-Identifier: Apache-2.0
// A guest state with everything that `hvconfig guest-state` does with one, and its firmware's variables by themselves.
// Bit 0 of the last byte has the headers' checksums made right first, or no changed field would be looked at; bit 1
// takes the input for variables.
#include "hyperv/checksum.hpp"
#include "hyperv/guest_state.hpp"
#include "io/memory_source.hpp"
#include "target.hpp"

#include <cstring>

using namespace vdisk;
using namespace vdisk::hyperv;
using vdisk::fuzz::require;

namespace {

constexpr std::uint64_t kMostContent = 1U << 20;

void check_variables(std::span<const std::byte> bytes) {
    const UefiVariables found = parse_uefi_variables(bytes);
    std::uint64_t end = 0;
    for (const UefiVariable& variable : found.list) {
        require(variable.offset >= end);
        end = variable.offset + variable.size;
        (void)uefi_attributes(variable.attributes);
    }
    require(end <= bytes.size());
}

void make_checksum_right(std::vector<std::byte>& bytes, std::size_t offset) {
    constexpr std::size_t kHeader = 168;
    constexpr std::size_t kField = 12;
    if (bytes.size() < offset + kHeader) return;
    const std::uint32_t sum = crc32_without_field(std::span(bytes).subspan(offset, kHeader), kField);
    for (std::size_t i = 0; i < sizeof sum; ++i) bytes[offset + kField + i] = static_cast<std::byte>(sum >> (8 * i));
}

} // namespace

void vdisk::fuzz::guest_state(Input input) {
    if (input.empty()) return;
    const auto choice = std::to_integer<unsigned>(input.back());
    input = input.first(input.size() - 1);
    if ((choice & 2U) != 0) {
        check_variables(input);
        return;
    }
    std::vector<std::byte> bytes(input.begin(), input.end());
    if ((choice & 1U) != 0)
        for (const std::size_t offset : {std::size_t{0}, std::size_t{512}, std::size_t{4096}})
            make_checksum_right(bytes, offset);
    const auto state = GuestState::open(std::make_shared<const MemorySource>(std::move(bytes), "input"));
    if (state.has_error()) {
        require(!state.error().what.empty());
        return;
    }
    require(state.value().headers()[state.value().active()].good());
    for (const GuestStateFile& file : state.value().files()) {
        require(state.value().find(file.id) != nullptr);
        const auto content = state.value().content(file);
        require(content.has_error() == (file.encrypted || !file.fault.empty()));
        if (content.has_error() || content.value()->size() > kMostContent) continue;
        const auto whole = read_bytes(*content.value(), 0, content.value()->size(), "content");
        require(whole.has_value());
        check_variables(whole.value());
    }
}
