// SPDX-License-Identifier: Apache-2.0
#include "disk/passphrase.hpp"

#include "base/fork_guard.hpp"
#include "base/system/program.hpp"
#include "base/text.hpp"
#include "io/pipe.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <set>

namespace vdisk {
namespace {

// What came by a pipe can't be read again when the next layer of a chain, or another disk, asks for it.
class PipedKeys {
public:
    Result<SecretBytes> read_once(const std::string& path, std::uint64_t limit) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return !being_read_.contains(path); });
        if (const auto known = known_.find(path); known != known_.end()) return known->second;
        being_read_.insert(path);
        lock.unlock(); // a pipe may take as long as a person who types into it
        const Turn turn{*this, path};
        SecretBytes key(static_cast<std::size_t>(limit));
        VDISK_TRY(size, read_pipe(path, key));
        key.resize(size);
        {
            const std::lock_guard again(mutex_);
            known_.emplace(path, key);
        }
        return Result<SecretBytes>(std::move(key));
    }

private:
    // Lets the others go on, whether or not there is a key now.
    struct Turn {
        PipedKeys& keys;
        const std::string& path;
        ~Turn() {
            const std::lock_guard lock(keys.mutex_);
            keys.being_read_.erase(path);
            keys.changed_.notify_all();
        }
    };

    // In a child of fork() nobody reads and nobody waits.
    static void forget_readers(void* keys) noexcept {
        auto& all = *static_cast<PipedKeys*>(keys);
        all.being_read_.clear();
        std::construct_at(&all.changed_); // the one that threads of the parent wait on can't even be destroyed
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::set<std::string> being_read_;
    std::map<std::string, SecretBytes> known_;
    ForkGuard guard_{&mutex_, forget_readers, this};
};

PipedKeys& piped_keys() {
    static PipedKeys keys;
    return keys;
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

std::string path_of(const SecretFile& secret, const OpenContext& context) {
    const std::optional<std::string>& selected = context.selector.*secret.key;
    return selected ? *selected : system::environment(secret.variable).value_or("");
}

// How many bytes at the end of a passphrase an editor or another system may have put there: a newline, or CR LF.
std::vector<std::size_t> line_endings(std::span<const std::byte> passphrase) {
    std::vector<std::size_t> lengths;
    const std::size_t size = passphrase.size();
    if (size >= 1 && passphrase[size - 1] == std::byte{'\n'}) lengths.push_back(1);
    if (size >= 2 && lengths.size() == 1 && passphrase[size - 2] == std::byte{'\r'}) lengths.push_back(2);
    return lengths;
}

// What may be why a passphrase is refused that looks right in an editor.
std::string oddities(std::span<const std::byte> passphrase) {
    const auto begins = [&](std::initializer_list<unsigned char> bytes) {
        return passphrase.size() >= bytes.size() &&
               std::ranges::equal(bytes, passphrase.first(bytes.size()),
                                  [](unsigned char a, std::byte b) { return std::byte{a} == b; });
    };
    if (passphrase.empty()) return "; it is empty";
    if (begins({0xEF, 0xBB, 0xBF})) return "; it begins with a byte order mark";
    if (begins({0xFF, 0xFE}) || begins({0xFE, 0xFF})) return "; it is UTF-16";
    switch (line_endings(passphrase).size()) {
    case 1: return ", neither as it is nor without the newline at its end";
    case 2: return ", neither as it is nor without the newline or the CR LF at its end";
    default: return "";
    }
}

} // namespace

Result<std::shared_ptr<const SectorCipher>>
try_passphrase(const Passphrase& given, std::string_view what_is_wrong,
               const std::function<Result<std::shared_ptr<const SectorCipher>>(std::span<const std::byte>)>& open) {
    const std::span<const std::byte> passphrase(given.bytes);
    VDISK_TRY(cipher, open(passphrase));
    for (const std::size_t end : line_endings(passphrase)) {
        if (cipher) break;
        VDISK_TRY(without, open(passphrase.first(passphrase.size() - end)));
        cipher = without;
    }
    if (!cipher)
        return fail(ErrorKind::usage, "the passphrase of {} {}{}", given.file, what_is_wrong, oddities(passphrase));
    return std::move(cipher);
}

bool is_given(const SecretFile& secret, const OpenContext& context) {
    return !path_of(secret, context).empty();
}

Result<Passphrase> read_secret(const SecretFile& secret, const OpenContext& context) {
    const std::string path = path_of(secret, context);
    const bool typed =
        !(context.selector.*secret.key) || context.references->given_kinds() == FileKinds::regular_or_block_device;
    auto bytes =
        typed && is_pipe(path) ? piped_keys().read_once(path, context.limits.key_file_bytes) : read_file(path, context);
    Passphrase key{.file = fmt::format("{} '{}'", secret.words, printable(path))};
    if (bytes.has_error()) return std::move(bytes).error().in(key.file);
    key.bytes = std::move(bytes).value();
    return key;
}

Result<Passphrase> read_passphrase(const OpenContext& context) {
    if (!is_given(kKeyFile, context))
        return fail(ErrorKind::usage,
                    "the image is encrypted: name a file that holds the passphrase, as #key-file=FILE or in "
                    "VDISK_KEY_FILE, or make a reference file that does with 'vdisk ref'");
    return read_secret(kKeyFile, context);
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
