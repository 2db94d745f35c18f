// SPDX-License-Identifier: Apache-2.0
// The input as settings with disks, and as the key store of an encrypted one.
#include "format/vbox/key_store.hpp"
#include "format_target.hpp"
#include "open/machine/machines.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto input = std::as_bytes(std::span(data, size));
    vdisk::fuzz::run(vdisk::kVboxFormat, input);
    const auto store = vdisk::vbox::KeyStore::parse({reinterpret_cast<const char*>(data), size});
    if (store.has_error()) return 0;
    vdisk::Limits limits;
    limits.key_iterations = 1000;
    (void)store.value().facts();
    (void)store.value().unlock(input, limits);
    return 0;
}
