// SPDX-License-Identifier: Apache-2.0
// A LUKS header and its key material, tried with a passphrase: the first byte says how long that is, the header follows
// it.
#include "format/qcow2/luks.hpp"
#include "io/memory_source.hpp"
#include "target.hpp"

#include <algorithm>

using namespace vdisk;

void vdisk::fuzz::luks(Input input) {
    if (input.empty()) return;
    const auto length = std::to_integer<unsigned>(input[0]) % 32U;
    input = input.subspan(1);
    const auto passphrase = input.first(std::min<std::size_t>(length, input.size()));
    input = input.subspan(passphrase.size());
    const MemorySource area({input.begin(), input.end()}, "input");
    const auto header = qcow2::LuksHeader::parse(area);
    if (header.has_error()) return;
    (void)header.value().facts().dump();
    Limits limits;
    limits.key_iterations = 2000; // so that an input takes no second
    const auto cipher = header.value().unlock(area, passphrase, limits);
    if (cipher.has_error() || cipher.value() == nullptr) return;
    std::vector<std::byte> sectors(3 * 512);
    (void)cipher.value()->decipher(7, sectors);
}
