// SPDX-License-Identifier: Apache-2.0
#include "base/system/file.hpp"

#include "base/system/windows/handles.hpp"

#include <aclapi.h>
#include <winioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <cxxabi.h>
#include <fcntl.h>
#include <io.h>
#include <memory>
#include <random>
#include <vector>

namespace fs = std::filesystem;

namespace vdisk {

int Descriptor::reset() noexcept {
    return number_ < 0 ? 0 : ::_close(release());
}

namespace system {
namespace {

using Kind = FileStatus::Kind;

constexpr DWORD kShareAll = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
constexpr DWORD kLook = FILE_READ_ATTRIBUTES | READ_CONTROL;
constexpr std::wstring_view kDevice = L"\\\\.\\";
constexpr std::size_t kMostAtOnce = std::size_t{1} << 30;

// Why Windows refused, kept beside what other calls leave in GetLastError() meanwhile; 0: errno says it.
thread_local DWORD refused = 0;

int as_errno(DWORD code) noexcept {
    switch (code) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
    case ERROR_BAD_PATHNAME:
    case ERROR_BAD_NETPATH:
    case ERROR_BAD_NET_NAME: return ENOENT;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS: return EEXIST;
    case ERROR_INVALID_FUNCTION:
    case ERROR_INVALID_PARAMETER: return EINVAL;
    case ERROR_WRITE_PROTECT: return EROFS;
    default: return EACCES;
    }
}

// Notes why the last call failed.
void note_refusal() noexcept {
    refused = ::GetLastError();
    errno = as_errno(refused);
}

void note_refusal(int error) noexcept {
    refused = 0;
    errno = error;
}

std::string message_of(DWORD code) {
    std::array<wchar_t, 512> text{};
    constexpr DWORD kFlags = FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS;
    DWORD length = ::FormatMessageW(kFlags, nullptr, code, MAKELANGID(LANG_ENGLISH, SUBLANG_ENGLISH_US), text.data(),
                                    static_cast<DWORD>(text.size()), nullptr);
    if (length == 0)
        length = ::FormatMessageW(kFlags, nullptr, code, 0, text.data(), static_cast<DWORD>(text.size()), nullptr);
    std::string message = narrow({text.data(), length});
    message.erase(message.find_last_not_of(".\r\n ") + 1);
    return message.empty() ? "error " + std::to_string(code) + " of Windows" : message;
}

// --- Names.

bool starts_with_no_case(std::wstring_view text, std::wstring_view start) {
    return text.size() >= start.size() && ::_wcsnicmp(text.data(), start.data(), start.size()) == 0;
}

std::wstring full_name(const fs::path& path) {
    const DWORD needed = ::GetFullPathNameW(path.c_str(), 0, nullptr, nullptr);
    std::wstring name(needed, L'\0');
    name.resize(needed == 0 ? 0 : ::GetFullPathNameW(path.c_str(), needed, name.data(), nullptr));
    return name;
}

// What a name that is no file's stands for: "\\.\PhysicalDrive0", "\\.\C:", "\\?\Volume{...}", "NUL". Nothing for
// files.
std::optional<Kind> device_kind(const fs::path& path) {
    const std::wstring name = full_name(path);
    const std::wstring_view text = name;
    if (!text.starts_with(kDevice) && !text.starts_with(kLiteral)) return std::nullopt;
    const std::wstring_view rest = text.substr(kDevice.size());
    if (rest.find(L'\\') != rest.npos) {
        if (starts_with_no_case(rest, L"pipe\\") && text.starts_with(kDevice)) return Kind::fifo;
        return std::nullopt; // a file in a volume
    }
    for (const std::wstring_view disk : {L"PhysicalDrive", L"Harddisk", L"CdRom", L"Volume{"})
        if (starts_with_no_case(rest, disk)) return Kind::block_device;
    if (rest.size() == 2 && rest[1] == L':') return Kind::block_device;
    for (const std::wstring_view stream : {L"NUL", L"CON", L"CONIN$", L"CONOUT$"})
        if (rest.size() == stream.size() && starts_with_no_case(rest, stream)) return Kind::character_device;
    return Kind::other; // opening a serial line or a driver may do something to it
}

std::wstring name_in(int folder, std::string_view name) {
    std::wstring path = final_path(handle_of(folder));
    if (!path.empty() && path.back() != L'\\') path += L'\\';
    return path.empty() ? path : path + wide(name);
}

// --- Handles and descriptors.

HANDLE opened(const std::wstring& name, DWORD access, DWORD disposition, DWORD flags,
              DWORD share = kShareAll) noexcept {
    const HANDLE handle = ::CreateFileW(name.c_str(), access, share, nullptr, disposition, flags, nullptr);
    if (handle == INVALID_HANDLE_VALUE) note_refusal();
    return handle;
}

// To look at a file; who may not ask for its rights may look at the rest.
HANDLE opened_to_look(const std::wstring& name, DWORD flags) noexcept {
    const HANDLE handle = opened(name, kLook, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS | flags);
    if (handle != INVALID_HANDLE_VALUE || refused != ERROR_ACCESS_DENIED) return handle;
    return opened(name, FILE_READ_ATTRIBUTES, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS | flags);
}

Descriptor as_descriptor(HANDLE handle) noexcept {
    if (handle == INVALID_HANDLE_VALUE) return {};
    const int number = ::_open_osfhandle(reinterpret_cast<intptr_t>(handle), _O_BINARY | _O_NOINHERIT);
    if (number < 0) {
        ::CloseHandle(handle);
        note_refusal(EMFILE);
    }
    return Descriptor(number);
}

// --- What is known of files.

std::int64_t nanoseconds(const LARGE_INTEGER& time) noexcept {
    constexpr std::int64_t k1970 = 116444736000000000; // in units of 100 ns since 1601
    return (time.QuadPart - k1970) * 100;
}

// What is a link to something else, as a symbolic link or a mount point is; not a file that a driver keeps elsewhere.
bool is_link(HANDLE handle) noexcept {
    FILE_ATTRIBUTE_TAG_INFO tag{};
    if (::GetFileInformationByHandleEx(handle, FileAttributeTagInfo, &tag, sizeof tag) == 0) return false;
    return (tag.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0 && IsReparseTagNameSurrogate(tag.ReparseTag);
}

FileIdentity identity_of(HANDLE handle, const BY_HANDLE_FILE_INFORMATION& info) noexcept {
    FILE_ID_INFO id{};
    std::array<std::uint64_t, 2> halves{}; // of ReFS both are in use
    if (::GetFileInformationByHandleEx(handle, FileIdInfo, &id, sizeof id) == 0)
        return {info.dwVolumeSerialNumber, std::uint64_t{info.nFileIndexHigh} << 32 | info.nFileIndexLow};
    std::memcpy(halves.data(), &id.FileId, sizeof halves);
    constexpr std::uint64_t kOdd = 0x9E3779B97F4A7C15;
    return {id.VolumeSerialNumber, halves[0] ^ halves[1] * kOdd};
}

struct FreeLocal {
    void operator()(void* memory) const noexcept { ::LocalFree(memory); }
};

bool is_well_known(PSID sid) noexcept {
    for (const WELL_KNOWN_SID_TYPE type :
         {WinLocalSystemSid, WinBuiltinAdministratorsSid, WinCreatorOwnerSid, WinCreatorOwnerRightsSid})
        if (::IsWellKnownSid(sid, type) != 0) return true;
    return false;
}

// The user, and who owns what an administrator makes.
bool is_this_user(PSID owner) noexcept {
    alignas(TOKEN_USER) std::array<std::byte, 256> user{};
    alignas(TOKEN_OWNER) std::array<std::byte, 256> maker{};
    HANDLE token = nullptr;
    if (::OpenProcessToken(::GetCurrentProcess(), TOKEN_QUERY, &token) == 0) return false;
    const Handle closing(token);
    DWORD length = 0;
    return (::GetTokenInformation(token, TokenUser, user.data(), user.size(), &length) != 0 &&
            ::EqualSid(owner, reinterpret_cast<TOKEN_USER*>(user.data())->User.Sid) != 0) ||
           (::GetTokenInformation(token, TokenOwner, maker.data(), maker.size(), &length) != 0 &&
            ::EqualSid(owner, reinterpret_cast<TOKEN_OWNER*>(maker.data())->Owner) != 0);
}

bool may_write(const ACCESS_ALLOWED_ACE& entry) noexcept {
    constexpr DWORD kWriting =
        FILE_WRITE_DATA | FILE_APPEND_DATA | WRITE_DAC | WRITE_OWNER | GENERIC_WRITE | GENERIC_ALL;
    return entry.Header.AceType == ACCESS_ALLOWED_ACE_TYPE && (entry.Header.AceFlags & INHERIT_ONLY_ACE) == 0 &&
           (entry.Mask & kWriting) != 0;
}

// Notes whose the file is. Administrators and the system may always write.
void add_rights(HANDLE handle, FileStatus& status) noexcept {
    PSID owner = nullptr;
    PACL rights = nullptr;
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    if (::GetSecurityInfo(handle, SE_FILE_OBJECT, OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION, &owner,
                          nullptr, &rights, nullptr, &descriptor) != ERROR_SUCCESS)
        return;
    const std::unique_ptr<void, FreeLocal> freeing(descriptor);
    status.of_this_user = owner != nullptr && is_this_user(owner);
    if (!status.of_this_user || rights == nullptr) return; // without a list all may do all
    for (DWORD i = 0; i < rights->AceCount; ++i) {
        void* found = nullptr;
        if (::GetAce(rights, i, &found) == 0) return;
        auto* const entry = static_cast<ACCESS_ALLOWED_ACE*>(found);
        if (!may_write(*entry)) continue;
        auto* const sid = reinterpret_cast<PSID>(&entry->SidStart);
        if (::EqualSid(sid, owner) == 0 && !is_well_known(sid) && !is_this_user(sid)) return;
    }
    status.of_this_user_alone = true;
}

std::optional<std::uint64_t> device_size(HANDLE device) noexcept {
    GET_LENGTH_INFORMATION length{};
    DWORD got = 0;
    if (::DeviceIoControl(device, IOCTL_DISK_GET_LENGTH_INFO, nullptr, 0, &length, sizeof length, &got, nullptr) != 0)
        return static_cast<std::uint64_t>(length.Length.QuadPart);
    note_refusal();
    DISK_GEOMETRY_EX geometry{};
    if (::DeviceIoControl(device, IOCTL_DISK_GET_DRIVE_GEOMETRY_EX, nullptr, 0, &geometry, sizeof geometry, &got,
                          nullptr) != 0)
        return static_cast<std::uint64_t>(geometry.DiskSize.QuadPart);
    return std::nullopt;
}

std::optional<FileStatus> status_of_handle(HANDLE handle) noexcept {
    FileStatus status;
    const DWORD type = ::GetFileType(handle);
    if (type == FILE_TYPE_CHAR || type == FILE_TYPE_PIPE) {
        status.kind = type == FILE_TYPE_CHAR ? Kind::character_device : Kind::fifo;
        return status;
    }
    BY_HANDLE_FILE_INFORMATION info{};
    if (::GetFileInformationByHandle(handle, &info) == 0) {
        note_refusal();
        const std::uint64_t number = device_number(handle);
        if (number == 0) return std::nullopt;
        status.kind = Kind::block_device;
        status.identity = {0, number};
        return status;
    }
    FILE_BASIC_INFO times{};
    if (::GetFileInformationByHandleEx(handle, FileBasicInfo, &times, sizeof times) == 0) {
        note_refusal();
        return std::nullopt;
    }
    const bool folder = (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
    status.kind = is_link(handle) ? Kind::link : folder ? Kind::folder : Kind::regular;
    status.identity = identity_of(handle, info);
    status.size = status.is_regular() ? std::uint64_t{info.nFileSizeHigh} << 32 | info.nFileSizeLow : 0;
    status.links = info.nNumberOfLinks;
    status.modified = nanoseconds(times.LastWriteTime);
    status.changed = nanoseconds(times.ChangeTime);
    add_rights(handle, status);
    return status;
}

Descriptor opened_folder(const std::wstring& name, DWORD flags) noexcept {
    Descriptor folder = as_descriptor(opened(name, FILE_LIST_DIRECTORY | kLook, OPEN_EXISTING,
                                             FILE_FLAG_BACKUP_SEMANTICS | flags, FILE_SHARE_READ | FILE_SHARE_WRITE));
    const auto status = folder.is_open() ? status_of(folder.get()) : std::nullopt;
    if (!status || status->is_folder()) return folder;
    note_refusal(ENOTDIR);
    return {};
}

// What was opened as it lies there, unless it is a link.
Descriptor no_link(HANDLE handle) noexcept {
    Descriptor found = as_descriptor(handle);
    const auto status = found.is_open() ? status_of(found.get()) : std::nullopt;
    if (!status || status->kind != Kind::link) return found;
    note_refusal(EINVAL);
    return {};
}

// What a tool writes has holes where the disk has zeros.
void let_have_holes(HANDLE handle) noexcept {
    DWORD got = 0;
    ::DeviceIoControl(handle, FSCTL_SET_SPARSE, nullptr, 0, nullptr, 0, &got, nullptr);
}

bool is_file(HANDLE handle) noexcept {
    BY_HANDLE_FILE_INFORMATION info{};
    return ::GetFileType(handle) == FILE_TYPE_DISK && ::GetFileInformationByHandle(handle, &info) == 0;
}

// One call of Windows. -1 on failure.
std::int64_t read_once(HANDLE handle, void* out, std::size_t count, std::uint64_t offset) noexcept {
    OVERLAPPED place{};
    place.Offset = static_cast<DWORD>(offset);
    place.OffsetHigh = static_cast<DWORD>(offset >> 32);
    DWORD got = 0;
    if (::ReadFile(handle, out, static_cast<DWORD>(std::min(count, kMostAtOnce)), &got, &place) != 0) return got;
    if (::GetLastError() == ERROR_HANDLE_EOF) return 0;
    note_refusal();
    return -1;
}

// Devices give whole sectors to aligned memory only.
std::int64_t read_aligned(HANDLE device, void* out, std::size_t count, std::uint64_t offset) noexcept {
    constexpr std::size_t kLeastSector = 512;
    constexpr std::size_t kSector = 4096; // as large as sectors are
    constexpr std::size_t kPiece = std::size_t{1} << 20;
    const std::unique_ptr<void, decltype(&::_aligned_free)> piece(::_aligned_malloc(kPiece, kSector), ::_aligned_free);
    if (!piece) {
        note_refusal(ENOMEM);
        return -1;
    }
    const std::uint64_t start = offset / kSector * kSector;
    const std::size_t before = static_cast<std::size_t>(offset - start);
    const std::size_t wanted = std::min(kPiece, (before + count + kSector - 1) / kSector * kSector);
    std::int64_t got = read_once(device, piece.get(), wanted, start);
    // The device may end within what was rounded up.
    for (std::size_t cut = kLeastSector; got < 0 && cut < kSector && before < wanted - cut; cut += kLeastSector)
        got = read_once(device, piece.get(), wanted - cut, start);
    if (got <= static_cast<std::int64_t>(before)) return std::min<std::int64_t>(got, 0);
    const std::size_t taken = std::min(count, static_cast<std::size_t>(got) - before);
    std::memcpy(out, static_cast<const std::byte*>(piece.get()) + before, taken);
    return static_cast<std::int64_t>(taken);
}

bool write_all(HANDLE handle, const void* bytes, std::size_t count, const std::uint64_t* offset) noexcept {
    for (std::size_t done = 0; done < count;) {
        OVERLAPPED place{};
        if (offset != nullptr) {
            place.Offset = static_cast<DWORD>(*offset + done);
            place.OffsetHigh = static_cast<DWORD>((*offset + done) >> 32);
        }
        DWORD put = 0;
        if (::WriteFile(handle, static_cast<const std::byte*>(bytes) + done,
                        static_cast<DWORD>(std::min(count - done, kMostAtOnce)), &put,
                        offset == nullptr ? nullptr : &place) == 0) {
            note_refusal();
            return false;
        }
        done += put;
    }
    return true;
}

bool go_to(HANDLE handle, std::uint64_t place, DWORD from) noexcept {
    LARGE_INTEGER distance{};
    distance.QuadPart = static_cast<LONGLONG>(place);
    if (::SetFilePointerEx(handle, distance, nullptr, from) != 0) return true;
    note_refusal();
    return false;
}

bool done(BOOL result) noexcept {
    if (result == 0) note_refusal();
    return result != 0;
}

// libgcc keeps thread_local objects in memory that it frees when a thread ends, and libstdc++ destroys the objects
// then: whichever has been used first goes first. So this comes before all others, and objects are whole when they are
// destroyed.
void _GLIBCXX_CDTOR_CALLABI destroy_nothing(void* /*object*/) {}
[[gnu::constructor(101)]] void destroy_before_memory_goes() {
    abi::__cxa_thread_atexit(destroy_nothing, nullptr, nullptr);
}

} // namespace

HANDLE handle_of(int descriptor) noexcept {
    const intptr_t handle = descriptor < 0 ? -1 : ::_get_osfhandle(descriptor);
    return handle == -2 ? INVALID_HANDLE_VALUE : reinterpret_cast<HANDLE>(handle); // -2: a stream that leads nowhere
}

std::wstring final_path(HANDLE handle) {
    const DWORD needed = ::GetFinalPathNameByHandleW(handle, nullptr, 0, FILE_NAME_NORMALIZED | VOLUME_NAME_DOS);
    std::wstring name(needed, L'\0');
    if (needed != 0) name.resize(::GetFinalPathNameByHandleW(handle, name.data(), needed, FILE_NAME_NORMALIZED));
    if (name.empty()) note_refusal();
    return name;
}

std::wstring native_name(const fs::path& path) {
    constexpr std::size_t kShort = 240; // folders have less than MAX_PATH
    std::wstring name = full_name(path);
    if (name.empty() || name.size() < kShort || name.starts_with(kDevice) || name.starts_with(kLiteral)) {
        if (name.starts_with(kDevice) || name.starts_with(kLiteral)) return name;
        return path.native();
    }
    if (name.starts_with(L"\\\\")) return std::wstring(kLiteral) + L"UNC" + name.substr(1);
    return std::wstring(kLiteral) + name;
}

std::uint64_t device_number(HANDLE device) noexcept {
    STORAGE_DEVICE_NUMBER number{};
    DWORD got = 0;
    if (::DeviceIoControl(device, IOCTL_STORAGE_GET_DEVICE_NUMBER, nullptr, 0, &number, sizeof number, &got, nullptr) ==
        0)
        return 0;
    // A drive has partition 0; what has none says -1.
    return std::uint64_t{1} << 63 | std::uint64_t{number.DeviceType} << 40 | std::uint64_t{number.DeviceNumber} << 16 |
           (number.PartitionNumber & 0xFFFF);
}

std::string reason(int error) {
    return std::strerror(error);
}

std::string reason() {
    return refused == 0 ? reason(errno) : message_of(refused);
}

bool is_missing() noexcept {
    return errno == ENOENT;
}

bool is_occupied() noexcept {
    return errno == EEXIST;
}

bool is_no_matter() noexcept {
    return errno == EINVAL || errno == EROFS || refused == ERROR_INVALID_HANDLE;
}

std::string_view kind_name(FileStatus::Kind kind) noexcept {
    switch (kind) {
    case Kind::regular: return "a regular file";
    case Kind::folder: return "a directory";
    case Kind::block_device: return "a drive or volume";
    case Kind::character_device: return "a character device";
    case Kind::fifo: return "a pipe";
    case Kind::socket:
    case Kind::link:
    case Kind::other: return "no regular file";
    }
    return "no regular file";
}

std::optional<FileStatus> status_of(const fs::path& path) noexcept {
    const auto device = device_kind(path);
    if (device && *device != Kind::block_device) return FileStatus{.kind = *device};
    const Handle handle(device ? opened(native_name(path), 0, OPEN_EXISTING, 0) : opened_to_look(native_name(path), 0));
    return handle.is_open() ? status_of_handle(handle.get()) : std::nullopt;
}

std::optional<FileStatus> status_of(int descriptor) noexcept {
    const HANDLE handle = handle_of(descriptor);
    if (handle != INVALID_HANDLE_VALUE) return status_of_handle(handle);
    note_refusal(EBADF);
    return std::nullopt;
}

std::optional<FileStatus> status_in(int folder, const std::string& name) noexcept {
    const Handle handle(opened_to_look(name_in(folder, name), FILE_FLAG_OPEN_REPARSE_POINT));
    return handle.is_open() ? status_of_handle(handle.get()) : std::nullopt;
}

bool is_component(std::string_view name) noexcept {
    constexpr std::string_view kSpecial("/\\:*?\"<>|\0", 10); // ':' is a stream of a file or a drive
    return !name.empty() && name != "." && name != ".." && name.find_first_of(kSpecial) == name.npos;
}

fs::path path_of(int descriptor) {
    const std::wstring path = final_path(handle_of(descriptor));
    constexpr std::wstring_view kShare = L"\\\\?\\UNC\\";
    if (path.starts_with(kShare)) return L"\\\\" + path.substr(kShare.size());
    return path.starts_with(kLiteral) ? path.substr(kLiteral.size()) : path;
}

// Windows notes no times of access unless it is told to, and to leave one alone takes the right to write.
Descriptor open_to_read(const fs::path& path) noexcept {
    const HANDLE handle = opened(native_name(path), GENERIC_READ, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS);
    DWORD got = 0; // a volume is otherwise read as far as its file system goes
    if (handle != INVALID_HANDLE_VALUE && device_kind(path))
        ::DeviceIoControl(handle, FSCTL_ALLOW_EXTENDED_DASD_IO, nullptr, 0, nullptr, 0, &got, nullptr);
    return as_descriptor(handle);
}

// Nobody can rename it while it is open: its path stays its name.
Descriptor open_folder(const fs::path& path, bool /*listed*/) noexcept {
    return opened_folder(native_name(path), 0);
}

Descriptor open_folder_in(int folder, const std::string& name) noexcept {
    return opened_folder(name_in(folder, name), FILE_FLAG_OPEN_REPARSE_POINT);
}

Descriptor open_in(int folder, const std::string& name) noexcept {
    return no_link(opened(name_in(folder, name), GENERIC_READ, OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT));
}

Descriptor make_in(int folder, const std::string& name, bool own) noexcept {
    const HANDLE handle = opened(name_in(folder, name), GENERIC_READ | GENERIC_WRITE, CREATE_NEW, FILE_ATTRIBUTE_NORMAL,
                                 FILE_SHARE_READ | FILE_SHARE_DELETE);
    if (handle != INVALID_HANDLE_VALUE && !own) let_have_holes(handle);
    return as_descriptor(handle);
}

Descriptor take_up_in(int folder, const std::string& name) noexcept {
    Descriptor found =
        no_link(opened(name_in(folder, name), GENERIC_READ | GENERIC_WRITE, OPEN_ALWAYS,
                       FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OPEN_REPARSE_POINT, FILE_SHARE_READ | FILE_SHARE_DELETE));
    if (found.is_open()) let_have_holes(handle_of(found.get()));
    return found;
}

// Drives and volumes are never written to.
Descriptor open_to_write(const fs::path& path, bool alone) noexcept {
    if (!alone) return as_descriptor(opened(native_name(path), GENERIC_WRITE, OPEN_EXISTING, 0));
    note_refusal(EROFS);
    return {};
}

Descriptor make_temporary() noexcept {
    static thread_local std::random_device random;
    constexpr int kTries = 100;
    std::array<wchar_t, MAX_PATH + 2> folder{};
    if (::GetTempPathW(static_cast<DWORD>(folder.size()), folder.data()) == 0) {
        note_refusal();
        return {};
    }
    for (int i = 0; i < kTries; ++i) {
        const std::wstring name = std::wstring(folder.data()) + L"tsk-vdisk-" + std::to_wstring(random()) + L".tmp";
        const HANDLE handle = opened(name, GENERIC_READ | GENERIC_WRITE, CREATE_NEW,
                                     FILE_ATTRIBUTE_TEMPORARY | FILE_FLAG_DELETE_ON_CLOSE, FILE_SHARE_DELETE);
        if (handle != INVALID_HANDLE_VALUE || !is_occupied()) return as_descriptor(handle);
    }
    return {};
}

bool list(int folder, const std::function<bool(std::string_view)>& each) {
    WIN32_FIND_DATAW entry{};
    const std::wstring pattern = name_in(folder, "*");
    const HANDLE listing = pattern.empty() ? INVALID_HANDLE_VALUE : ::FindFirstFileW(pattern.c_str(), &entry);
    if (listing == INVALID_HANDLE_VALUE) {
        note_refusal();
        return false;
    }
    const std::unique_ptr<void, decltype(&::FindClose)> closing(listing, ::FindClose);
    do {
        const std::string name = narrow(entry.cFileName);
        if (name != "." && name != ".." && !each(name)) return true;
    } while (::FindNextFileW(listing, &entry) != 0);
    if (::GetLastError() == ERROR_NO_MORE_FILES) return true;
    note_refusal();
    return false;
}

// Below the user's own folders, where caches are by default, nobody else has rights; elsewhere those of the folder
// above are inherited, and of_this_user_alone tells.
bool make_own_folder(const fs::path& path) noexcept {
    return done(::CreateDirectoryW(native_name(path).c_str(), nullptr));
}

bool rename_in(int folder, const std::string& from, const std::string& to) noexcept {
    return done(::MoveFileExW(name_in(folder, from).c_str(), name_in(folder, to).c_str(), MOVEFILE_REPLACE_EXISTING));
}

bool rename_to_free_name(int folder, const std::string& from, const std::string& to, bool /*surely*/) noexcept {
    return done(::MoveFileExW(name_in(folder, from).c_str(), name_in(folder, to).c_str(), 0));
}

bool remove_in(int folder, const char* name) noexcept {
    return done(::DeleteFileW(name_in(folder, name).c_str()));
}

bool may_write_in(int folder, const std::string& name) noexcept {
    return Handle(opened(name_in(folder, name), FILE_WRITE_DATA, OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT))
        .is_open();
}

void flush_folder(int /*folder*/) noexcept {}

std::int64_t read_at(int file, void* out, std::size_t count, std::uint64_t offset) noexcept {
    const HANDLE handle = handle_of(file);
    const std::int64_t got = read_once(handle, out, count, offset);
    const bool misaligned = got < 0 && (refused == ERROR_INVALID_PARAMETER || refused == ERROR_SECTOR_NOT_FOUND);
    return misaligned && !is_file(handle) ? read_aligned(handle, out, count, offset) : got;
}

bool write_at(int file, const void* bytes, std::size_t count, std::uint64_t offset) noexcept {
    return write_all(handle_of(file), bytes, count, &offset);
}

bool write(int file, const void* bytes, std::size_t count) noexcept {
    return write_all(handle_of(file), bytes, count, nullptr);
}

bool skip(int file, std::uint64_t length) noexcept {
    return go_to(handle_of(file), length, FILE_CURRENT);
}

std::optional<std::uint64_t> size_of(int file) noexcept {
    const HANDLE handle = handle_of(file);
    LARGE_INTEGER size{};
    if (::GetFileSizeEx(handle, &size) != 0) return static_cast<std::uint64_t>(size.QuadPart);
    return device_size(handle);
}

bool can_have(int file, std::uint64_t size) noexcept {
    const HANDLE handle = handle_of(file);
    return go_to(handle, size, FILE_BEGIN) && go_to(handle, 0, FILE_BEGIN);
}

bool set_size(int file, std::uint64_t size) noexcept {
    const HANDLE handle = handle_of(file);
    return go_to(handle, size, FILE_BEGIN) && done(::SetEndOfFile(handle));
}

bool flush(int file) noexcept {
    return done(::FlushFileBuffers(handle_of(file)));
}

void set_permissions(int /*file*/, std::uint32_t /*permissions*/) noexcept {}

void touch(int file) noexcept {
    const Handle handle(opened(final_path(handle_of(file)), FILE_WRITE_ATTRIBUTES, OPEN_EXISTING, 0));
    FILETIME now{};
    ::GetSystemTimeAsFileTime(&now);
    if (handle.is_open()) ::SetFileTime(handle.get(), nullptr, &now, &now);
}

Stored stored_at(int file, std::uint64_t offset, std::uint64_t size, bool regular) noexcept {
    const Stored all{size - offset, false};
    if (!regular) return all;
    FILE_ALLOCATED_RANGE_BUFFER wanted{};
    FILE_ALLOCATED_RANGE_BUFFER found{};
    wanted.FileOffset.QuadPart = static_cast<LONGLONG>(offset);
    wanted.Length.QuadPart = static_cast<LONGLONG>(size - offset);
    DWORD got = 0;
    const bool told = ::DeviceIoControl(handle_of(file), FSCTL_QUERY_ALLOCATED_RANGES, &wanted, sizeof wanted, &found,
                                        sizeof found, &got, nullptr) != 0;
    if (!told && ::GetLastError() != ERROR_MORE_DATA) return all;
    if (got < sizeof found) return {size - offset, true};
    const auto start = static_cast<std::uint64_t>(found.FileOffset.QuadPart);
    const auto end = start + static_cast<std::uint64_t>(found.Length.QuadPart);
    if (start > offset) return {std::min(start, size) - offset, true};
    return {std::clamp(end, offset + 1, size) - offset, false};
}

// By asking for what a writer is in the way of: reading while nobody writes.
bool has_writer(int file) noexcept {
    const Handle again(::ReOpenFile(handle_of(file), FILE_READ_DATA, FILE_SHARE_READ | FILE_SHARE_DELETE, 0));
    return !again.is_open() && ::GetLastError() == ERROR_SHARING_VIOLATION;
}

int wait_to_read(int pipe, int milliseconds) noexcept {
    constexpr DWORD kStep = 10;
    for (int waited = 0; waited <= milliseconds; waited += static_cast<int>(kStep)) {
        DWORD there = 0;
        if (::PeekNamedPipe(handle_of(pipe), nullptr, 0, nullptr, &there, nullptr) == 0) {
            if (::GetLastError() == ERROR_BROKEN_PIPE) return 1;
            note_refusal();
            return -1;
        }
        if (there > 0) return 1;
        ::Sleep(kStep);
    }
    return 0;
}

std::int64_t read_some(int pipe, void* out, std::size_t count) noexcept {
    DWORD got = 0;
    if (::ReadFile(handle_of(pipe), out, static_cast<DWORD>(std::min(count, kMostAtOnce)), &got, nullptr) != 0)
        return got;
    if (::GetLastError() == ERROR_BROKEN_PIPE) return 0;
    note_refusal();
    return -1;
}

} // namespace system
} // namespace vdisk
