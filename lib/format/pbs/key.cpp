// SPDX-License-Identifier: Apache-2.0
#include "format/pbs/key.hpp"

#include "base/checked.hpp"
#include "base/digest.hpp"
#include "base/parse.hpp"
#include "base/text.hpp"
#include "codec/gcm.hpp"
#include "codec/key_derivation.hpp"
#include "disk/passphrase.hpp"

#include <algorithm>

namespace vdisk::pbs {
namespace {

// SHA-256 of "Proxmox Backup Encryption Key Fingerprint".
constexpr std::string_view kFingerprintInput = "6ed0ef77471fff4d55c7a8fe4a9db62161407f134c725ddf30992d25ec45ed26";
constexpr std::string_view kIdSalt = "_id_key";
constexpr std::uint32_t kIdRounds = 10;
constexpr std::size_t kIvBytes = 16;

// A key file, its JSON taken apart.
struct Stored {
    Facts kdf;
    std::vector<std::byte> data;
    std::optional<Digest> fingerprint;
    std::string hint;
};

SecretBytes secret(std::span<const std::byte> bytes) {
    return {bytes.begin(), bytes.end()};
}

Result<Stored> parse_stored(std::string_view text) {
    const auto json = Facts::parse(text);
    if (!json || !json->is_object())
        return fail(ErrorKind::corrupt, "is no key file of Proxmox Backup: it is no JSON object");
    Stored stored{.kdf = (*json)["kdf"], .data = {}, .fingerprint = std::nullopt, .hint = {}};
    const std::string* const data = (*json)["data"].text();
    auto bytes = data == nullptr ? std::nullopt : parse_base64(*data);
    if (!bytes) return fail(ErrorKind::corrupt, "is no key file of Proxmox Backup: 'data' is no base64");
    stored.data = std::move(*bytes);
    const Facts& fingerprint = (*json)["fingerprint"];
    if (!fingerprint.is_null()) {
        stored.fingerprint = fingerprint.text() == nullptr ? std::nullopt : parse_fingerprint(*fingerprint.text());
        if (!stored.fingerprint) return fail(ErrorKind::corrupt, "'fingerprint' is none");
    }
    if (const std::string* const hint = (*json)["hint"].text()) stored.hint = *hint;
    return stored;
}

Result<std::uint64_t> number_in(const Facts& kdf, std::string_view name) {
    const std::uint64_t* const number = kdf[name].number();
    if (number == nullptr) return fail(ErrorKind::corrupt, "'kdf' has no number '{}'", name);
    return *number;
}

Result<SecretBytes> derive_scrypt(const Facts& kdf, std::span<const std::byte> passphrase,
                                  std::span<const std::byte> salt, const Limits& limits) {
    VDISK_TRY(n, number_in(kdf, "n"));
    VDISK_TRY(r, number_in(kdf, "r"));
    VDISK_TRY(p, number_in(kdf, "p"));
    const auto once = checked_mul(n, r);
    const auto work = once ? checked_mul(*once, p) : std::nullopt;
    if (!work || *work > limits.scrypt_work)
        return fail(ErrorKind::limit_exceeded, "scrypt has n {}, r {}, p {}: more work than the limit, {}", n, r, p,
                    limits.scrypt_work);
    return scrypt(passphrase, salt, {.n = n, .r = r, .p = p}, Key::kBytes, limits.scrypt_bytes);
}

Result<SecretBytes> derive_pbkdf2(const Facts& kdf, std::span<const std::byte> passphrase,
                                  std::span<const std::byte> salt, const Limits& limits) {
    VDISK_TRY(rounds, number_in(kdf, "iter"));
    if (rounds == 0) return fail(ErrorKind::corrupt, "'iter' of PBKDF2 is 0");
    if (rounds > limits.key_iterations)
        return fail(ErrorKind::limit_exceeded, "'iter' of PBKDF2 is {}, the limit is {}", rounds,
                    limits.key_iterations);
    VDISK_TRY(hash, Hash::find("sha256"));
    return hash.pbkdf2(passphrase, salt, static_cast<std::uint32_t>(rounds), Key::kBytes);
}

// The key under which the real one is enciphered.
Result<SecretBytes> derive(const Facts& kdf, std::span<const std::byte> passphrase, const Limits& limits) {
    if (kdf.size() != 1 || !kdf.is_object()) return fail(ErrorKind::corrupt, "'kdf' is neither null nor one method");
    const auto& [method, parameters] = kdf.members().front();
    const std::string* const text = parameters["salt"].text();
    const auto salt = text == nullptr ? std::nullopt : parse_base64(*text);
    if (!salt) return fail(ErrorKind::corrupt, "'kdf' has no salt");
    if (method == "Scrypt") return derive_scrypt(parameters, passphrase, *salt, limits);
    if (method == "PBKDF2") return derive_pbkdf2(parameters, passphrase, *salt, limits);
    return fail(ErrorKind::unsupported, "'kdf' is '{}', which is not known here", printable(method));
}

Result<SecretBytes> decipher(const Stored& stored, std::span<const std::byte> passphrase, const Limits& limits) {
    if (stored.data.size() != kIvBytes + kGcmTagBytes + Key::kBytes)
        return fail(ErrorKind::corrupt, "'data' has {} bytes, an enciphered key has {}", stored.data.size(),
                    kIvBytes + kGcmTagBytes + Key::kBytes);
    VDISK_TRY(outer, derive(stored.kdf, passphrase, limits));
    const std::span<const std::byte> data(stored.data);
    SecretBytes bytes = secret(data.subspan(kIvBytes + kGcmTagBytes));
    auto done = decipher_gcm({.key = std::span<const std::byte, kGcmKeyBytes>(outer),
                              .iv = data.first(kIvBytes),
                              .tag = data.subspan(kIvBytes).first<kGcmTagBytes>()},
                             bytes);
    if (done.has_error() && done.error().kind == ErrorKind::corrupt)
        return fail(ErrorKind::usage, "the passphrase is not that of the key{}{}",
                    stored.fingerprint ? " " + fingerprint_text(*stored.fingerprint) : "",
                    stored.hint.empty() ? "" : fmt::format(" (its hint: '{}')", shown_name(stored.hint)));
    if (done.has_error()) return std::move(done).error();
    return bytes;
}

Result<void> check_wanted(const Digest& there, const std::optional<Digest>& wanted) {
    if (!wanted || *wanted == there) return ok();
    return fail(ErrorKind::usage, "is the key {}, but the backup was made with the key {}", fingerprint_text(there),
                fingerprint_text(*wanted));
}

Result<SecretBytes> read_passphrase_of_key(const OpenContext& context, const std::optional<Digest>& fingerprint) {
    if (!is_given(kPassphraseFile, context))
        return fail(ErrorKind::usage,
                    "the key{} has a passphrase: name a file that holds it, as passphrase-file=FILE behind the key "
                    "file or in VDISK_PASSPHRASE_FILE",
                    fingerprint ? " " + fingerprint_text(*fingerprint) : "");
    VDISK_TRY(passphrase, read_secret(kPassphraseFile, context));
    SecretBytes bytes = std::move(passphrase.bytes);
    // A text file ends in a line's end, which nobody types.
    if (!bytes.empty() && bytes.back() == std::byte{'\n'}) bytes.pop_back();
    if (!bytes.empty() && bytes.back() == std::byte{'\r'}) bytes.pop_back();
    return Result<SecretBytes>(std::move(bytes));
}

} // namespace

Result<Key> Key::of(SecretBytes bytes) {
    Key key;
    VDISK_TRY(hash, Hash::find("sha256"));
    VDISK_TRY(id, hash.pbkdf2(bytes, std::as_bytes(std::span(kIdSalt)), kIdRounds, kBytes));
    const auto input = parse_hex(kFingerprintInput);
    VDISK_TRY(fingerprint, hash.digest(*input, id));
    std::ranges::copy(fingerprint, key.fingerprint_.begin());
    key.bytes_ = std::move(bytes);
    key.id_ = std::move(id);
    return key;
}

std::string fingerprint_text(const Digest& fingerprint) {
    std::string text;
    for (const std::byte each : fingerprint)
        text += fmt::format("{}{:02x}", text.empty() ? "" : ":", static_cast<unsigned>(each));
    return text;
}

std::optional<Digest> parse_fingerprint(std::string_view text) {
    constexpr std::size_t kText = 3 * sizeof(Digest) - 1;
    if (text.size() != kText) return std::nullopt;
    std::string digits;
    for (std::size_t i = 0; i < text.size(); ++i)
        if (i % 3 != 2) digits += text[i];
        else if (text[i] != ':') return std::nullopt;
    const auto bytes = parse_hex(digits);
    if (!bytes) return std::nullopt;
    Digest fingerprint{};
    std::ranges::copy(*bytes, fingerprint.begin());
    return fingerprint;
}

Result<KeyPtr> parse_key(const KeyFile& file, const std::optional<Digest>& wanted, const Limits& limits) {
    const auto parse = [&]() -> Result<KeyPtr> {
        VDISK_TRY(stored, parse_stored(file.text));
        if (stored.fingerprint) VDISK_CHECK(check_wanted(*stored.fingerprint, wanted));
        SecretBytes bytes = secret(stored.data);
        if (!stored.kdf.is_null()) {
            VDISK_TRY(passphrase, file.passphrase(stored.fingerprint));
            VDISK_TRY(deciphered, decipher(stored, passphrase, limits));
            bytes = std::move(deciphered);
        }
        if (bytes.size() != Key::kBytes)
            return fail(ErrorKind::corrupt, "'data' has {} bytes, a key has {}", bytes.size(), Key::kBytes);
        VDISK_TRY(key, Key::of(std::move(bytes)));
        if (stored.fingerprint && *stored.fingerprint != key.fingerprint())
            return fail(ErrorKind::corrupt, "says that its key is {}, but it is {}",
                        fingerprint_text(*stored.fingerprint), fingerprint_text(key.fingerprint()));
        VDISK_CHECK(check_wanted(key.fingerprint(), wanted));
        return std::make_shared<const Key>(std::move(key));
    };
    auto key = parse();
    if (key.has_error()) return std::move(key).error().in(file.name);
    return key;
}

Result<KeyPtr> read_key(const OpenContext& context, const std::optional<Digest>& wanted) {
    if (!is_given(kKeyFile, context))
        return fail(ErrorKind::usage,
                    "the backup is encrypted{}: name its key file, as #key-file=FILE or in VDISK_KEY_FILE",
                    wanted ? " with the key " + fingerprint_text(*wanted) : "");
    VDISK_TRY(file, read_secret(kKeyFile, context));
    const std::string_view text(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size());
    return parse_key(
        {.name = file.file,
         .text = text,
         .passphrase =
             [&](const std::optional<Digest>& fingerprint) { return read_passphrase_of_key(context, fingerprint); }},
        wanted, context.limits);
}

} // namespace vdisk::pbs
