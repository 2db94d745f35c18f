// SPDX-License-Identifier: Apache-2.0
#include "disk/passphrase.hpp"

#include "base/text.hpp"
#include "io/pipe.hpp"

#include <cstdlib>
#include <map>
#include <mutex>

namespace vdisk {
namespace {

// What came by a pipe can't be read again when the next layer of a chain, or another disk, asks for it.
Result<SecretBytes> read_once(const std::string& path, std::uint64_t limit) {
    static std::mutex mutex;
    static std::map<std::string, SecretBytes> known;
    const std::lock_guard lock(mutex);
    if (const auto found = known.find(path); found != known.end()) return found->second;
    SecretBytes key(static_cast<std::size_t>(limit));
    VDISK_TRY(size, read_pipe(path, key));
    key.resize(size);
    return known.emplace(path, std::move(key)).first->second;
}

Result<SecretBytes> read_file(const std::string& path, const OpenContext& context) {
    VDISK_TRY(found, context.references->open_given(path));
    const std::uint64_t size = found.file->size();
    if (size > context.limits.key_file_bytes)
        return fail(ErrorKind::limit_exceeded, "has {} bytes, the limit is {}", size, context.limits.key_file_bytes);
    SecretBytes key(static_cast<std::size_t>(size));
    VDISK_CHECK(read_exact(*found.file, 0, key));
    return key;
}

} // namespace

Result<Passphrase> read_passphrase(const OpenContext& context) {
    const char* const common = std::getenv("VDISK_KEY_FILE");
    const std::string path = context.selector.key_file ? *context.selector.key_file : common != nullptr ? common : "";
    if (path.empty())
        return fail(ErrorKind::usage,
                    "the image is encrypted: name a file that holds the passphrase, as #key-file=FILE or in "
                    "VDISK_KEY_FILE, or make a reference file that does with 'vdisk ref'");
    const bool typed =
        !context.selector.key_file || context.references->given_kinds() == FileKinds::regular_or_block_device;
    auto bytes = typed && is_pipe(path) ? read_once(path, context.limits.key_file_bytes) : read_file(path, context);
    Passphrase key{.file = fmt::format("key file '{}'", printable(path))};
    if (bytes.has_error()) return std::move(bytes).error().in(key.file);
    key.bytes = std::move(bytes).value();
    return key;
}

// As QEMU does it, although the specification's text says 256 bits.
Result<Encryption> open_qcow_aes(SecretBytes passphrase) {
    passphrase.resize(16);
    VDISK_TRY(cipher, SectorCipher::aes({.mode = CipherMode::cbc, .iv = IvGenerator::plain64}, passphrase));
    return Encryption{std::move(cipher), Encryption::Numbering::guest};
}

Facts describe_qcow_aes() {
    return {{"method", "aes"},
            {"cipher", "aes"},
            {"mode", "cbc-plain64"},
            {"key bits", 128},
            {"note", "nothing in the image tells a wrong passphrase from the right one"}};
}

} // namespace vdisk
