// SPDX-License-Identifier: Apache-2.0
#include "io/cache_folder.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <cstring>
#include <random>

namespace vdisk {
namespace {

namespace fs = std::filesystem;
using Digest = RawIndexHeader::Digest;

constexpr std::string_view kSuffix = ".index";
constexpr std::string_view kUnfinished = "unfinished-";
constexpr std::size_t kRandomLetters = 6;
constexpr std::size_t kKeyLetters = 32;
// A writer that is alive has touched its file within this time: even the largest index is appended to all the while.
constexpr auto kAbandoned = std::chrono::hours(24);

// The name and the first line are the Cache Directory Tagging Specification's: backups leave such a folder out.
constexpr const char* kMarkName = "CACHEDIR.TAG";
constexpr std::string_view kMark = "Signature: 8a477f597d28d172789f06886806bc55\n"
                                   "# Indexes that tsk-vdisk made, and removes when they become too many.\n";

std::string key_letters(const Digest& key) {
    return hex(std::span(key).first(kKeyLetters / 2));
}

bool is_index_name(std::string_view name) {
    constexpr std::string_view kHex = "0123456789abcdef";
    return name.size() == kKeyLetters + kSuffix.size() && name.ends_with(kSuffix) &&
           name.substr(0, kKeyLetters).find_first_not_of(kHex) == name.npos;
}

constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";

bool is_unfinished_name(std::string_view name) {
    return name.size() == kUnfinished.size() + kRandomLetters && name.starts_with(kUnfinished) &&
           name.substr(kUnfinished.size()).find_first_not_of(kLetters) == name.npos;
}

std::string unfinished_name() {
    std::random_device random;
    std::string name(kUnfinished);
    for (std::size_t i = 0; i < kRandomLetters; ++i) name += kLetters[random() % kLetters.size()];
    return name;
}

// A file without a name any more is one that another writer has replaced since it was opened: as good as it was.
bool is_of_this_user_alone(const std::optional<system::FileStatus>& status) {
    return status && status->is_regular() && status->of_this_user_alone && status->links <= 1;
}

std::string first_bytes(int file, std::size_t most) {
    std::string bytes(most, '\0');
    const std::int64_t got = system::read_at(file, bytes.data(), bytes.size(), 0);
    bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return bytes;
}

// An empty file is what a power cut can leave of either: nothing is lost with it.
bool begins_as_ours(int file, std::string_view name) {
    const std::string bytes = first_bytes(file, sizeof(RawIndexHeader));
    if (bytes.empty()) return true;
    RawIndexHeader header;
    if (bytes.size() < sizeof header) return false;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (is_unfinished_name(name)) return header.magic == kUnfinishedMagic;
    return header.magic == kIndexMagic && name.starts_with(key_letters(header.key));
}

} // namespace

std::string CacheFolder::index_name(const Digest& key) {
    return key_letters(key).append(kSuffix);
}

Error CacheFolder::error(std::string_view what) const {
    const std::string why = system::reason();
    return fail(ErrorKind::io, "{}: {}: {}", printable(utf8(path_)), what, why);
}

Result<CacheFolder> CacheFolder::open(const fs::path& path) {
    CacheFolder folder(path, system::open_folder(path, true));
    const auto status = folder.folder_.is_open() ? system::status_of(folder.folder_.get()) : std::nullopt;
    if (!status) return folder.error("opening the folder");
    folder.identity_ = status->identity;
    folder.of_this_user_alone_ = status->of_this_user_alone;
    return Result<CacheFolder>(std::move(folder));
}

Result<CacheFolder> CacheFolder::open_or_make(const fs::path& path) {
    std::error_code ignored;
    if (path.has_parent_path()) fs::create_directories(path.parent_path(), ignored);
    // For this user alone, who may not want others to know what was looked at.
    if (!system::make_own_folder(path) && !system::is_occupied())
        return fail(ErrorKind::io, "{}: making the folder: {}", printable(utf8(path)), system::reason());
    auto folder = open(path);
    if (folder.has_value()) folder.value().blank_ = folder.value().is_blank();
    return folder;
}

// Whether nothing is there but what others are writing at this moment, or what they left when they were killed.
bool CacheFolder::is_blank() const {
    return std::ranges::all_of(
        names(), [this](const std::string& name) { return is_unfinished_name(name) && holds_ours(name); });
}

// A mark that could not be written whole marks nothing.
void CacheFolder::mark() const {
    const Descriptor file = system::make_in(folder_.get(), kMarkName, true);
    if (file.is_open()) (void)system::write_at(file.get(), kMark.data(), kMark.size(), 0);
}

bool CacheFolder::is_ours() const {
    if (!of_this_user_alone_) return false;
    const Descriptor file = open_regular(kMarkName);
    return file.is_open() && first_bytes(file.get(), kMark.size() + 1) == kMark;
}

// A file of this user alone, for reading. Never follows a link, waits for a FIFO or opens a device.
Descriptor CacheFolder::open_regular(const std::string& name) const {
    if (!is_of_this_user_alone(system::status_in(folder_.get(), name))) return {};
    Descriptor file = system::open_in(folder_.get(), name);
    if (!file.is_open() || !is_of_this_user_alone(system::status_of(file.get()))) return {};
    return file;
}

bool CacheFolder::holds_ours(const std::string& name) const {
    const Descriptor file = open_regular(name);
    return file.is_open() && begins_as_ours(file.get(), name);
}

FilePtr CacheFolder::open_index(const Digest& key) const {
    const std::string name = index_name(key);
    Descriptor file = open_regular(name);
    if (!file.is_open() || !begins_as_ours(file.get(), name)) return nullptr;
    system::touch(file.get()); // so that the ones in use are not the oldest
    auto source = FileSource::take(std::move(file), path_ / name, FileKinds::regular_only);
    return source.has_value() ? std::move(source).value() : nullptr;
}

Result<CacheFolder::Unfinished> CacheFolder::make_unfinished() const {
    constexpr int kTries = 100;
    for (int i = 0; i < kTries; ++i) {
        std::string name = unfinished_name();
        Descriptor file = system::make_in(folder_.get(), name, true);
        if (file.is_open()) return Unfinished{std::move(file), std::move(name)};
        if (!system::is_occupied()) break;
    }
    return error("making a file");
}

void CacheFolder::remove_unfinished(const std::string& name) const noexcept {
    system::remove_in(folder_.get(), name.c_str());
}

Result<void> CacheFolder::finish(const std::string& unfinished, const Digest& key) const {
    if (blank_) mark();
    const std::string name = index_name(key);
    const int folder = folder_.get();
    if (system::rename_to_free_name(folder, unfinished, name, true)) return ok();
    if (system::status_in(folder, name) && !holds_ours(name))
        return fail(ErrorKind::io, "{}: is in the way of an index and is none", printable(utf8(path_ / name)));
    // Not every file system can rename without replacing.
    if (!system::rename_in(folder, unfinished, name)) return error("renaming a file");
    return ok();
}

// But for "." and "..". Errors are passed over: what can't be listed is not ours to remove.
std::vector<std::string> CacheFolder::names() const {
    std::vector<std::string> found;
    const bool listed = system::list(folder_.get(), [&](std::string_view name) {
        found.emplace_back(name);
        return true;
    });
    if (!listed && found.empty()) return {"?"}; // for all we know it is not empty
    return found;
}

std::vector<CacheFolder::Own> CacheFolder::list() const {
    std::vector<Own> found;
    for (const std::string& name : names()) {
        if (!is_index_name(name) && !is_unfinished_name(name)) continue;
        const Descriptor file = open_regular(name);
        const auto status = file.is_open() ? system::status_of(file.get()) : std::nullopt;
        if (!status || !begins_as_ours(file.get(), name)) continue;
        found.push_back({name, std::chrono::nanoseconds(status->modified), status->size, is_index_name(name)});
    }
    return found;
}

std::uint64_t CacheFolder::used() const {
    std::uint64_t bytes = 0;
    for (const Own& own : list()) bytes += own.bytes;
    return bytes;
}

// All errors are passed over: another process may be doing the same.
void CacheFolder::clean(std::uint64_t capacity) const {
    if (!is_ours()) return;
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    std::vector<Own> own = list();
    std::ranges::sort(own, std::greater{}, &Own::used);
    std::uint64_t total = 0;
    for (const Own& each : own) {
        const bool newest = each.finished && total == 0;
        if (each.finished) total += each.bytes;
        const bool goes = each.finished ? !newest && total > capacity : each.used + kAbandoned < now;
        if (goes) system::remove_in(folder_.get(), each.name.c_str());
    }
}

} // namespace vdisk
