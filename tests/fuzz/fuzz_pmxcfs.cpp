// SPDX-License-Identifier: Apache-2.0
#include "format_target.hpp"
#include "open/machine/machines.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    vdisk::fuzz::run(vdisk::kPmxcfsFormat, std::as_bytes(std::span(data, size)));
    return 0;
}
