// SPDX-License-Identifier: Apache-2.0
// The input as settings with disks, and as the key store of an encrypted one.
#include "format/vbox/key_store.hpp"
#include "format_target.hpp"
#include "open/machine/machines.hpp"

void vdisk::fuzz::vbox(Input input) {
    run(kVboxFormat, input);
    const auto store = vbox::KeyStore::parse({reinterpret_cast<const char*>(input.data()), input.size()});
    if (store.has_error()) return;
    Limits limits;
    limits.key_iterations = 1000;
    (void)store.value().facts();
    (void)store.value().unlock(input, limits);
}
