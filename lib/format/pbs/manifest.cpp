// SPDX-License-Identifier: Apache-2.0
#include "format/pbs/manifest.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"
#include "format/pbs/blob.hpp"

#include <algorithm>

#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace vdisk::pbs {
namespace {

std::string text_in(const Facts& object, std::string_view key) {
    const std::string* const text = object[key].text();
    return text == nullptr ? std::string() : *text;
}

std::optional<Digest> digest_in(const Facts& object, std::string_view key) {
    const auto bytes = parse_hex(text_in(object, key));
    if (!bytes || bytes->size() != std::tuple_size_v<Digest>) return std::nullopt;
    Digest digest{};
    std::ranges::copy(*bytes, digest.begin());
    return digest;
}

void add_file(Manifest& manifest, const Facts& entry) {
    const std::string* const name = entry["filename"].text();
    if (name == nullptr) {
        ++manifest.unreadable_files;
        return;
    }
    Manifest::File file{
        .name = *name, .crypt_mode = text_in(entry, "crypt-mode"), .checksum = digest_in(entry, "csum")};
    if (file.crypt_mode.empty()) file.crypt_mode = "none";
    if (const std::uint64_t* const size = entry["size"].number()) file.size = *size;
    manifest.files.push_back(std::move(file));
}

void add_unprotected(Manifest& manifest, const Facts& unprotected) {
    if (const std::string* const notes = unprotected["notes"].text()) manifest.notes = *notes;
    manifest.fingerprint = parse_fingerprint(text_in(unprotected, "key-fingerprint"));
    manifest.verify_state = text_in(unprotected["verify_state"], "state");
    manifest.verify_task = text_in(unprotected["verify_state"], "upid");
}

// With the members of each object in the order of their names, as the text that is signed has them.
Facts sorted(const Facts& value) {
    if (value.is_array()) {
        Facts list = Facts::array();
        for (const Facts& element : value.elements()) list.push_back(sorted(element));
        return list;
    }
    if (!value.is_object()) return value;
    std::vector<Facts::Member> members(value.members().begin(), value.members().end());
    std::ranges::sort(members, {}, &Facts::Member::key);
    Facts object = Facts::object();
    for (const auto& [key, member] : members) object[key] = sorted(member);
    return object;
}

} // namespace

Result<Manifest> Manifest::parse(std::string_view text) {
    auto json = Facts::parse(text);
    if (!json || !json->is_object()) return fail(ErrorKind::corrupt, "is no JSON object");
    Manifest manifest{.type = text_in(*json, "backup-type"),
                      .id = text_in(*json, "backup-id"),
                      .signature = digest_in(*json, "signature")};
    const std::uint64_t* const time = (*json)["backup-time"].number();
    if (time != nullptr && std::in_range<std::int64_t>(*time)) manifest.time = static_cast<std::int64_t>(*time);
    for (const Facts& entry : (*json)["files"].elements()) add_file(manifest, entry);
    add_unprotected(manifest, (*json)["unprotected"]);
    manifest.json = std::move(*json);
    return manifest;
}

Result<Manifest> Manifest::read(const ByteSource& file, const Limits& limits) {
    VDISK_TRY(text, read_blob(file, nullptr, limits.manifest_bytes));
    auto manifest = parse(text);
    if (manifest.has_error()) return std::move(manifest).error().in(file.name());
    return manifest;
}

const Manifest::File* Manifest::find(std::string_view name) const noexcept {
    const auto found = std::ranges::find(files, name, &File::name);
    return found == files.end() ? nullptr : &*found;
}

Result<bool> Manifest::signed_by(const Key& key) const {
    Facts claims = json;
    claims.erase("signature");
    claims.erase("unprotected");
    const std::string text = sorted(claims).dump();
    Digest mac{};
    unsigned length = 0;
    const auto secret = key.id();
    if (HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
             reinterpret_cast<const unsigned char*>(text.data()), text.size(),
             reinterpret_cast<unsigned char*>(mac.data()), &length) == nullptr ||
        length != mac.size())
        return fail(ErrorKind::io, "libcrypto failed: HMAC");
    return mac == *signature;
}

Facts Manifest::facts() const {
    Facts facts = Facts::object();
    if (!type.empty() || !id.empty()) facts["backup"] = printable(fmt::format("{}/{}", type, id));
    if (time) facts["backup time"] = utc_time(*time);
    if (notes) facts["notes"] = printable(*notes);
    if (fingerprint) facts["key fingerprint"] = fingerprint_text(*fingerprint);
    facts["signed"] = signature.has_value();
    if (!verify_state.empty()) facts["verification"] = printable(verify_state);
    if (!verify_task.empty()) facts["verification task"] = printable(verify_task);
    return facts;
}

} // namespace vdisk::pbs
