// SPDX-License-Identifier: Apache-2.0
// The first byte says what the rest is: an index, a blob, a manifest or a key file.
#include "format/pbs/blob.hpp"
#include "format/pbs/manifest.hpp"
#include "format/pbs/pbs.hpp"
#include "format_target.hpp"

using namespace vdisk;

namespace {

const pbs::Key& key() {
    static const pbs::Key known = pbs::Key::of(SecretBytes(pbs::Key::kBytes)).value();
    return known;
}

// What a blob gives is as long as its room at most, and the same each time.
void unpack_blob(std::span<const std::byte> input) {
    constexpr std::size_t kRoom = 65536;
    for (const pbs::Key* const given : {static_cast<const pbs::Key*>(nullptr), &key()}) {
        std::vector<std::byte> first(kRoom), second(kRoom, std::byte{1});
        std::vector<std::byte> file(input.begin(), input.end());
        std::vector<std::byte> again = file;
        const auto length = pbs::unpack(file, given, first);
        const auto same = pbs::unpack(again, given, second);
        fuzz::require(length.has_value() == same.has_value());
        if (length.has_error()) continue;
        fuzz::require(length.value() <= kRoom && length.value() == same.value());
        fuzz::require(fuzz::same(std::span(first).first(length.value()), std::span(second).first(length.value())));
    }
}

void read_manifest(std::string_view text) {
    const auto manifest = pbs::Manifest::parse(text);
    if (manifest.has_error()) return;
    (void)manifest.value().facts().dump();
    if (manifest.value().signature) (void)manifest.value().signed_by(key());
}

void read_key_file(std::string_view text) {
    Limits limits;
    limits.key_iterations = 2000; // so that an input takes no second
    limits.scrypt_work = 1U << 12;
    const auto passphrase = [](const std::optional<pbs::Digest>&) -> Result<SecretBytes> {
        return SecretBytes(4, std::byte{'t'});
    };
    const auto parsed = pbs::parse_key({.name = "key", .text = text, .passphrase = passphrase}, std::nullopt, limits);
    if (parsed.has_error()) fuzz::require(!parsed.error().what.empty());
}

} // namespace

void vdisk::fuzz::pbs(Input input) {
    if (input.empty()) return;
    const std::uint8_t kind = std::to_integer<std::uint8_t>(input[0]);
    input = input.subspan(1);
    const std::string_view text(reinterpret_cast<const char*>(input.data()), input.size());
    switch (kind % 4U) {
    case 0: fuzz::run(kPbsFormat, input); break;
    case 1: unpack_blob(input); break;
    case 2: read_manifest(text); break;
    default: read_key_file(text); break;
    }
}
