// SPDX-License-Identifier: Apache-2.0
#include "base/fork_guard.hpp"

#include "base/system/fork.hpp"

#include <new>

namespace vdisk {

// All guards of the process, in the order in which they were made.
struct ForkGuards {
    static void add(ForkGuard& guard) noexcept {
        guard.before_ = last;
        (last == nullptr ? first : last->after_) = &guard;
        last = &guard;
    }

    static void remove(ForkGuard& guard) noexcept {
        (guard.before_ == nullptr ? first : guard.before_->after_) = guard.after_;
        (guard.after_ == nullptr ? last : guard.after_->before_) = guard.before_;
    }

    static void before_fork() noexcept {
        mutex().lock();
        for (ForkGuard* guard = first; guard != nullptr; guard = guard->after_)
            if (guard->mutex_ != nullptr) guard->mutex_->lock();
    }

    static void unlock() noexcept {
        for (ForkGuard* guard = last; guard != nullptr; guard = guard->before_)
            if (guard->mutex_ != nullptr) guard->mutex_->unlock();
        mutex().unlock();
    }

    static void in_child() noexcept {
        for (ForkGuard* guard = first; guard != nullptr; guard = guard->after_)
            if (guard->renew_ != nullptr) guard->renew_(guard->object_);
        unlock();
    }

    /// Guards what follows. Made when the first guard is, for not everywhere can one be made without running code.
    static std::mutex& mutex() noexcept {
        static std::mutex one;
        return one;
    }
    static constinit ForkGuard* first;
    static constinit ForkGuard* last;
    static constinit bool registered;
};

constinit ForkGuard* ForkGuards::first = nullptr;
constinit ForkGuard* ForkGuards::last = nullptr;
constinit bool ForkGuards::registered = false;

// The system forgets the functions when the library that this is in is unloaded.
ForkGuard::ForkGuard(std::mutex* mutex, Renew renew, void* object) : mutex_(mutex), renew_(renew), object_(object) {
    const std::lock_guard lock(ForkGuards::mutex());
    if (!ForkGuards::registered) {
        if (!system::at_fork(ForkGuards::before_fork, ForkGuards::unlock, ForkGuards::in_child)) throw std::bad_alloc();
        ForkGuards::registered = true;
    }
    ForkGuards::add(*this);
}

ForkGuard::~ForkGuard() {
    const std::lock_guard lock(ForkGuards::mutex());
    ForkGuards::remove(*this);
}

} // namespace vdisk
