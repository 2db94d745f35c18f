// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/luks.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <chrono>

namespace vdisk::qcow2 {
namespace {

constexpr std::string_view kLuksMagic("LUKS\xBA\xBE", 6);
constexpr std::uint32_t kSlotActive = 0x00AC71F3;
constexpr std::uint64_t kSectorBytes = 512;

// The longest key of a cipher that is read: two AES-256 keys.
constexpr std::uint32_t kMaxKeyBytes = 64;
// The specification's splitter makes 4000 stripes; nothing writes more.
constexpr std::uint32_t kMaxStripes = 4000 * 4;

template<std::size_t Size> std::string text(const std::array<char, Size>& field) {
    const std::string_view all(field.data(), field.size());
    return std::string(all.substr(0, all.find('\0')));
}

struct ModeName {
    std::string_view name;
    CipherMode mode;
};
constexpr std::array kModes{ModeName{"ecb", CipherMode::ecb}, ModeName{"cbc", CipherMode::cbc},
                            ModeName{"ctr", CipherMode::ctr}, ModeName{"xts", CipherMode::xts}};

struct IvName {
    std::string_view name;
    IvGenerator generator;
};
constexpr std::array kIvs{IvName{"plain", IvGenerator::plain}, IvName{"plain64", IvGenerator::plain64},
                          IvName{"essiv", IvGenerator::essiv}};

KeySlot slot_of(const RawKeySlot& raw) {
    return {.active = raw.active.value() == kSlotActive,
            .iterations = raw.iterations.value(),
            .salt = raw.salt,
            .offset = raw.key_material_offset.value() * kSectorBytes,
            .stripes = raw.stripes.value()};
}

} // namespace

Result<LuksHeader> LuksHeader::parse(const ByteSource& area) {
    VDISK_TRY(raw, read_struct<RawLuksHeader>(area, 0, "LUKS header"));
    if (!std::ranges::equal(raw.magic, kLuksMagic))
        return fail(ErrorKind::corrupt, "{}: the encryption header is no LUKS header", area.name());
    if (raw.version.value() != 1)
        return fail(ErrorKind::unsupported, "{}: LUKS version is {}, known is 1", area.name(), raw.version.value());
    LuksHeader header;
    header.cipher_name = text(raw.cipher_name);
    header.cipher_mode = text(raw.cipher_mode);
    header.hash_spec = text(raw.hash_spec);
    header.uuid = text(raw.uuid);
    header.key_bytes = raw.key_bytes.value();
    header.mk_digest = raw.mk_digest;
    header.mk_digest_salt = raw.mk_digest_salt;
    header.mk_digest_iterations = raw.mk_digest_iterations.value();
    std::ranges::transform(raw.key_slots, header.key_slots.begin(), slot_of);
    return header;
}

// "MODE-GENERATOR[:HASH]"
Result<CipherSpec> LuksHeader::spec() const {
    const auto refuse = [&] {
        return fail(
            ErrorKind::unsupported,
            "cipher '{}-{}' is not supported, only aes in modes ecb, cbc, ctr and xts with plain, plain64 and essiv",
            printable(cipher_name), printable(cipher_mode));
    };
    const std::string_view whole = cipher_mode;
    const std::size_t dash = whole.find('-');
    if (cipher_name != "aes" || dash == std::string_view::npos) return refuse();
    const std::string_view generator = whole.substr(dash + 1);
    const std::size_t colon = std::min(generator.find(':'), generator.size());
    const auto* const mode = std::ranges::find(kModes, whole.substr(0, dash), &ModeName::name);
    const auto* const iv = std::ranges::find(kIvs, generator.substr(0, colon), &IvName::name);
    if (mode == kModes.end() || iv == kIvs.end()) return refuse();
    return CipherSpec{mode->mode, iv->generator, std::string(generator.substr(std::min(colon + 1, generator.size())))};
}

Result<void> LuksHeader::check_limits(const Limits& limits) const {
    if (key_bytes == 0 || key_bytes > kMaxKeyBytes)
        return fail(ErrorKind::limit_exceeded, "LUKS key length is {} bytes, the limit is {}", key_bytes, kMaxKeyBytes);
    std::uint64_t iterations = 0;
    for (const KeySlot& slot : key_slots) {
        if (!slot.active) continue;
        iterations += std::uint64_t{slot.iterations} + mk_digest_iterations; // nine 32-bit numbers: no overflow
        if (slot.stripes > kMaxStripes)
            return fail(ErrorKind::limit_exceeded, "LUKS key slot has {} stripes, the limit is {}", slot.stripes,
                        kMaxStripes);
    }
    if (iterations > limits.key_iterations)
        return fail(ErrorKind::limit_exceeded, "LUKS key slots want {} iterations, the limit is {}", iterations,
                    limits.key_iterations);
    return ok();
}

// Derives keys, and tells how far all of them together are.
class LuksHeader::Work {
public:
    Work(const LuksHeader& header, const Hash& hash, const Progress& progress)
        : hash_(hash), progress_(progress), blocks_(div_ceil(header.key_bytes, hash.size())) {
        for (const KeySlot& slot : header.key_slots)
            if (slot.active) total_ += slot.iterations * blocks_ + header.mk_digest_iterations;
    }

    Result<SecretBytes> derive(std::span<const std::byte> secret, std::span<const std::byte> salt,
                               std::uint32_t iterations, std::size_t length) {
        const auto keep_going = [this](std::uint64_t done) {
            const bool is_long = std::chrono::steady_clock::now() - started_ > std::chrono::seconds(1);
            return !progress_ || !is_long || progress_(std::min(done_ + done, total_), total_);
        };
        auto key = hash_.pbkdf2(secret, salt, iterations, length, keep_going);
        done_ += iterations * div_ceil(length, hash_.size());
        return key;
    }

private:
    const Hash& hash_;
    const Progress& progress_;
    std::uint64_t blocks_;
    std::uint64_t total_ = 0;
    std::uint64_t done_ = 0;
    std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

Result<SecretBytes> LuksHeader::key_in_slot(const KeySlot& slot, const ByteSource& area,
                                            std::span<const std::byte> passphrase, Work& work) const {
    VDISK_TRY(hash, Hash::find(hash_spec));
    VDISK_TRY(mode, spec());
    VDISK_TRY(slot_key, work.derive(passphrase, slot.salt, slot.iterations, key_bytes));
    VDISK_TRY(cipher, SectorCipher::aes(mode, slot_key));
    VDISK_TRY(stored, read_bytes(area, slot.offset, std::uint64_t{key_bytes} * slot.stripes, "LUKS key material"));
    SecretBytes material(stored.begin(), stored.end());
    VDISK_CHECK(cipher->decipher(0, material));
    return anti_forensic_merge(hash, material, slot.stripes);
}

Result<bool> LuksHeader::is_master_key(std::span<const std::byte> key, Work& work) const {
    VDISK_TRY(digest, work.derive(key, mk_digest_salt, mk_digest_iterations, mk_digest.size()));
    return std::ranges::equal(digest, mk_digest);
}

Result<std::shared_ptr<const SectorCipher>> LuksHeader::unlock(const ByteSource& area,
                                                               std::span<const std::byte> passphrase,
                                                               const Limits& limits, const Progress& progress) const {
    VDISK_TRY(mode, spec());
    VDISK_TRY(hash, Hash::find(hash_spec));
    VDISK_CHECK(check_limits(limits));
    Work work(*this, hash, progress);
    std::optional<Error> damage;
    bool tried = false;
    for (std::size_t i = 0; i < key_slots.size(); ++i) {
        if (!key_slots[i].active) continue;
        auto key = key_in_slot(key_slots[i], area, passphrase, work);
        if (key.has_error() && key.error().kind == ErrorKind::cancelled) return std::move(key).error();
        if (key.has_error()) { // one damaged slot does not lock the others
            damage = std::move(key).error().in(fmt::format("LUKS key slot {}", i));
            continue;
        }
        VDISK_TRY(right, is_master_key(key.value(), work));
        if (right) return SectorCipher::aes(mode, key.value());
        tried = true;
    }
    if (!tried && damage) return std::move(*damage);
    if (!tried) return fail(ErrorKind::corrupt, "no LUKS key slot is active: no passphrase can open this image");
    return std::shared_ptr<const SectorCipher>();
}

Facts LuksHeader::facts() const {
    auto facts = Facts::object();
    facts["method"] = "luks";
    facts["cipher"] = printable(cipher_name);
    facts["mode"] = printable(cipher_mode);
    facts["hash"] = printable(hash_spec);
    facts["key bits"] = std::uint64_t{key_bytes} * 8;
    facts["uuid"] = printable(uuid);
    if (const auto readable = spec(); readable.has_error()) facts["not readable"] = readable.error().what;
    facts["key slots"] = Facts::array();
    for (std::size_t i = 0; i < key_slots.size(); ++i) {
        const KeySlot& slot = key_slots[i];
        auto row = Facts::object();
        row["slot"] = i;
        row["active"] = slot.active;
        if (slot.active) row["iterations"] = slot.iterations;
        if (slot.active) row["stripes"] = slot.stripes;
        facts["key slots"].push_back(std::move(row));
    }
    return facts;
}

} // namespace vdisk::qcow2
