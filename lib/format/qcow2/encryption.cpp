// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/encryption.hpp"

#include "disk/passphrase.hpp"
#include "format/qcow2/luks.hpp"
#include "io/memory_source.hpp"

#include <algorithm>

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

// The part of the file where the LUKS header and its key material lie.
Result<std::shared_ptr<const ByteSource>> luks_area(const Header& header, const SourcePtr& file) {
    VDISK_TRY(area, encryption_area(header, *file));
    return std::make_shared<const SliceSource>(file, area.offset, area.length);
}

Result<Encryption> open_luks(const ByteSource& area, const Passphrase& key, const OpenContext& context) {
    VDISK_TRY(luks, LuksHeader::parse(area));
    VDISK_TRY(cipher,
              try_passphrase(key, "opens none of the LUKS key slots", [&](std::span<const std::byte> passphrase) {
                  return luks.unlock(area, passphrase, context.limits, context.progress);
              }));
    return Encryption{std::move(cipher), Encryption::Numbering::host};
}

Result<Encryption> open_method(const Header& header, const SourcePtr& file, const OpenContext& context) {
    if (header.crypt_method == 0) return Encryption{};
    VDISK_TRY(key, read_passphrase(context));
    if (header.crypt_method == kLegacyAes) return open_qcow_aes(std::move(key.bytes));
    VDISK_TRY(area, luks_area(header, file));
    return open_luks(*area, key, context);
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
    if (header.crypt_method == kLegacyAes) return describe_qcow_aes();
    if (header.crypt_method != kLuks) return {{"method", header.crypt_method}, {"error", "unknown method"}};
    auto facts = describe_luks(header, file);
    if (facts.has_error()) return {{"method", "luks"}, {"error", facts.error().what}};
    return std::move(facts).value();
}

} // namespace vdisk::qcow2
