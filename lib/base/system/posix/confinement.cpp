// SPDX-License-Identifier: Apache-2.0
#include "base/system/confinement.hpp"

#if defined(__linux__) && __has_include(<linux/landlock.h>)

#include "base/system/file.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>

namespace vdisk::system {
namespace {

namespace fs = std::filesystem;

// The sanitizers' own code starts programs that know names, and looks at the process from outside.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__SANITIZE_UNDEFINED__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(undefined_behavior_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif

// --- Landlock, as landlock(7) describes it ---

constexpr std::uint64_t kTruncate = 1U << 14; // LANDLOCK_ACCESS_FS_TRUNCATE, from the third version on
constexpr std::uint64_t kWriting = LANDLOCK_ACCESS_FS_WRITE_FILE;
constexpr std::uint64_t kMaking =
    LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE;
constexpr std::uint64_t kNeverPermitted = LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                                          LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                                          LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

class Ruleset {
public:
    Ruleset() noexcept {
        const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
        if (version < 1) return;
        if (version >= 3) writing_ |= kTruncate;
        landlock_ruleset_attr all{};
        all.handled_access_fs = writing_ | kMaking | kNeverPermitted;
        descriptor_ = Descriptor(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0)));
    }

    [[nodiscard]] bool is_there() const noexcept { return descriptor_.is_open(); }

    // What is at `path`, a link's end included, and what lies below it.
    void permit_writing(const fs::path& path) const noexcept { permit(path, writing_); }
    void permit_making(const fs::path& folder) const noexcept { permit(folder, writing_ | kMaking); }

    void enforce() const noexcept { ::syscall(SYS_landlock_restrict_self, descriptor_.get(), 0); }

private:
    void permit(const fs::path& path, std::uint64_t what) const noexcept {
        const Descriptor place(::open(path.c_str(), O_PATH | O_CLOEXEC));
        landlock_path_beneath_attr rule{};
        rule.allowed_access = what;
        rule.parent_fd = place.get();
        if (place.is_open()) ::syscall(SYS_landlock_add_rule, descriptor_.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    }

    Descriptor descriptor_{};
    std::uint64_t writing_ = kWriting;
};

// The folder itself, or the one in which folders are to be made until it is there.
fs::path nearest_folder(fs::path path) {
    std::error_code error;
    path = fs::absolute(path.empty() ? "." : path, error);
    while (path.has_relative_path() && !fs::is_directory(path, error)) path = path.parent_path();
    return path;
}

void permit_file(const Ruleset& rules, const fs::path& path) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (fs::exists(status) && !fs::is_regular_file(status)) return rules.permit_writing(path);
    const fs::path real = fs::weakly_canonical(path, error);
    for (const fs::path& each : {path, error ? path : real}) rules.permit_making(nearest_folder(each.parent_path()));
}

void take_writing(const Permissions& permissions) {
    const Ruleset rules;
    if (!rules.is_there()) return;
    for (const fs::path& file : permissions.files) permit_file(rules, file);
    for (const fs::path& folder : permissions.folders) rules.permit_making(nearest_folder(folder));
    // A file without a name is written to by the rights of the folder.
    std::error_code error;
    if (const fs::path temporary = fs::temp_directory_path(error); !error) rules.permit_writing(temporary);
    rules.enforce();
}

// --- seccomp, as seccomp(2) describes it ---

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
constexpr std::uint32_t kFirstOfX32 = 0x40000000;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
constexpr std::uint32_t kFirstOfX32 = UINT32_MAX; // there is none
#else
constexpr std::uint32_t kArchitecture = 0; // where calls are numbered in ways that nobody tried
constexpr std::uint32_t kFirstOfX32 = UINT32_MAX;
#endif

// What a reader of files has no use for.
constexpr std::uint32_t kRefused[] = {
    // networks, and io_uring, which does what it is told without a call
    SYS_socket,
    SYS_connect,
    SYS_bind,
    SYS_listen,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    // other processes, and files past their names
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_pidfd_getfd,
    SYS_open_by_handle_at,
    SYS_userfaultfd,
    // the machine
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_move_mount,
    SYS_open_tree,
    SYS_fsopen,
    SYS_fsmount,
    SYS_unshare,
    SYS_setns,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_adjtimex,
    SYS_clock_adjtime,
    SYS_sethostname,
    SYS_setdomainname,
    // who it is, and what belongs to whom
    SYS_setuid,
    SYS_setgid,
    SYS_setreuid,
    SYS_setregid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setgroups,
    SYS_capset,
    SYS_fchown,
    SYS_fchownat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_fsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
    SYS_fremovexattr,
    SYS_fchmodat,
#ifdef SYS_fchmodat2
    SYS_fchmodat2,
#endif
#ifdef SYS_chmod
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
#endif
};
constexpr std::uint32_t kRefusedAlone[] = {SYS_execve, SYS_execveat, SYS_ptrace};

class Filter {
public:
    explicit Filter(bool programs) {
        load(offsetof(seccomp_data, arch));
        // Of another architecture's calls nothing is known; they are made by no code of this program.
        add(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0);
        refuse();
        load(offsetof(seccomp_data, nr));
        add(BPF_JMP | BPF_JGE | BPF_K, kFirstOfX32, 0, 1);
        refuse();
        for (const std::uint32_t call : kRefused) refuse(call);
        if (!programs)
            for (const std::uint32_t call : kRefusedAlone) refuse(call);
        add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }

    void enforce() noexcept {
        const sock_fprog program{.len = static_cast<unsigned short>(steps_.size()), .filter = steps_.data()};
        ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    }

private:
    void add(int code, std::uint32_t value, std::uint8_t if_true = 0, std::uint8_t if_false = 0) {
        steps_.push_back({static_cast<std::uint16_t>(code), if_true, if_false, value});
    }
    void load(std::size_t field) { add(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(field)); }
    void refuse() { add(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM); }
    void refuse(std::uint32_t call) {
        add(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1);
        refuse();
    }

    std::vector<sock_filter> steps_;
};

} // namespace

void confine(const Permissions& permissions) noexcept {
    try {
        if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return;
        take_writing(permissions);
        if (kArchitecture != 0) Filter(permissions.programs || kSanitized).enforce();
    } catch (const std::exception&) { // no memory: what was taken is taken
    }
}

} // namespace vdisk::system

#else

namespace vdisk::system {

void confine(const Permissions& /*permissions*/) noexcept {}

} // namespace vdisk::system

#endif
