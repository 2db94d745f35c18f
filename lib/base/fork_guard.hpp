// SPDX-License-Identifier: Apache-2.0
/// What keeps a mutex, and what it guards, usable in a child of fork().
#pragma once

#include <mutex>

namespace vdisk {

/// While a guard lives, fork() waits until it has the mutex: so the child, in which only the thread that forked goes
/// on, finds what the mutex guards whole and the mutex free. `renew(object)`, if given, is then called in the child
/// with the mutex held: to forget threads, which are not there any more, and those who wait on condition variables. It
/// must touch only members that were declared before the guard, and may not throw.
///
/// Guards are locked in the order in which they were made. So where one guarded mutex is locked while another is held,
/// the outer one's guard is made first; no guard is made or destroyed while a guarded mutex is held; and a guarded
/// mutex is never held for long. What is guarded must not lie on the stack of a thread: the child's memory has no such
/// stack.
class ForkGuard {
public:
    using Renew = void (*)(void* object) noexcept;

    /// `mutex` may be nullptr, where there is something to renew only.
    explicit ForkGuard(std::mutex* mutex, Renew renew = nullptr, void* object = nullptr);
    ~ForkGuard();
    ForkGuard(const ForkGuard&) = delete;
    ForkGuard& operator=(const ForkGuard&) = delete;

private:
    friend struct ForkGuards;
    std::mutex* mutex_;
    Renew renew_;
    void* object_;
    ForkGuard* before_ = nullptr;
    ForkGuard* after_ = nullptr;
};

} // namespace vdisk
