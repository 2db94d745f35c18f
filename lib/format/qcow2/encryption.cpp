// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/encryption.hpp"

#include "base/text.hpp"
#include "format/qcow2/luks.hpp"
#include "io/memory_source.hpp"

#include <algorithm>
#include <cstdlib>

namespace vdisk::qcow2 {
namespace {

// crypt_method
constexpr std::uint32_t kLegacyAes = 1;
constexpr std::uint32_t kLuks = 2;

struct RawEncryptionPointer {
    big_uint64_buf_t offset;
    big_uint64_buf_t length;
};
static_assert(sizeof(RawEncryptionPointer) == 16);

Result<SecretBytes> read_key_file(const OpenContext& context) {
    const char* const common = std::getenv("VDISK_KEY_FILE");
    const std::string path = context.selector.key_file ? *context.selector.key_file : common != nullptr ? common : "";
    if (path.empty())
        return fail(
            ErrorKind::usage,
            "the image is encrypted: name a file that holds the passphrase, as #key-file=FILE or in VDISK_KEY_FILE");
    VDISK_TRY(found, context.references->open_given(path));
    const std::uint64_t size = found.file->size();
    if (size > context.limits.key_file_bytes)
        return fail(ErrorKind::limit_exceeded, "key file {} has {} bytes, the limit is {}", found.file->name(), size,
                    context.limits.key_file_bytes);
    SecretBytes key(static_cast<std::size_t>(size));
    VDISK_CHECK(read_exact(*found.file, 0, key));
    return key;
}

// The part of the file where the LUKS header and its key material lie.
Result<std::shared_ptr<const ByteSource>> luks_area(const Header& header, const SourcePtr& file) {
    VDISK_TRY(area, encryption_area(header, *file));
    return std::make_shared<const SliceSource>(file, area.offset, area.length);
}

Result<Encryption> open_luks(const ByteSource& area, std::span<const std::byte> passphrase, const Limits& limits) {
    VDISK_TRY(luks, LuksHeader::parse(area));
    VDISK_TRY(cipher, luks.unlock(area, passphrase, limits));
    const bool line = !passphrase.empty() && passphrase.back() == std::byte{'\n'};
    if (!cipher && line) {
        VDISK_TRY(without_newline, luks.unlock(area, passphrase.first(passphrase.size() - 1), limits));
        cipher = without_newline;
    }
    if (!cipher)
        return fail(ErrorKind::usage, "the passphrase opens none of the LUKS key slots{}",
                    line ? ", neither as the key file has it nor without the newline at its end" : "");
    return Encryption{std::move(cipher), Encryption::Numbering::host};
}

// As QEMU does it: AES-128, although the specification's text says 256, keyed by the passphrase's first 16 bytes.
Result<Encryption> open_legacy(SecretBytes passphrase) {
    passphrase.resize(16);
    VDISK_TRY(cipher, SectorCipher::aes({.mode = CipherMode::cbc, .iv = IvGenerator::plain64}, passphrase));
    return Encryption{std::move(cipher), Encryption::Numbering::guest};
}

Result<Encryption> open_method(const Header& header, const SourcePtr& file, const OpenContext& context) {
    if (header.crypt_method == 0) return Encryption{};
    VDISK_TRY(passphrase, read_key_file(context));
    if (header.crypt_method == kLegacyAes) return open_legacy(std::move(passphrase));
    VDISK_TRY(area, luks_area(header, file));
    return open_luks(*area, passphrase, context.limits);
}

Result<Facts> describe_luks(const Header& header, const SourcePtr& file) {
    VDISK_TRY(area, luks_area(header, file));
    VDISK_TRY(luks, LuksHeader::parse(*area));
    return luks.facts();
}

} // namespace

Result<EncryptionArea> encryption_area(const Header& header, const ByteSource& file) {
    if (header.crypt_method != kLuks) return EncryptionArea{};
    const auto pointer = std::ranges::find(header.extensions, kExtensionEncryption, &Extension::type);
    if (pointer == header.extensions.end() || pointer->length < sizeof(RawEncryptionPointer))
        return fail(ErrorKind::corrupt, "crypt_method is {} (LUKS), but there is no encryption header extension",
                    header.crypt_method);
    VDISK_TRY(raw, read_struct<RawEncryptionPointer>(file, pointer->offset, "encryption header extension"));
    if (!fits(raw.offset.value(), sizeof(RawLuksHeader), file.size()))
        return fail_at(pointer->offset, ErrorKind::corrupt,
                       "the encryption header is at offset {} of a file of {} bytes", raw.offset.value(), file.size());
    return EncryptionArea{raw.offset.value(), raw.length.value()};
}

Result<Encryption> open_encryption(const Header& header, const SourcePtr& file, const OpenContext& context) {
    auto opened = open_method(header, file, context);
    if (opened.has_error()) return std::move(opened).error().in(file->name());
    return opened;
}

Facts describe_encryption(const Header& header, const SourcePtr& file) {
    if (header.crypt_method == 0) return nullptr;
    if (header.crypt_method == kLegacyAes)
        return {{"method", "aes"},
                {"cipher", "aes"},
                {"mode", "cbc-plain64"},
                {"key bits", 128},
                {"note", "nothing in the image tells a wrong passphrase from the right one"}};
    if (header.crypt_method != kLuks) return {{"method", header.crypt_method}, {"error", "unknown method"}};
    auto facts = describe_luks(header, file);
    if (facts.has_error()) return {{"method", "luks"}, {"error", facts.error().what}};
    return std::move(facts).value();
}

} // namespace vdisk::qcow2
