// SPDX-License-Identifier: Apache-2.0
/// The Sleuth Kit of the running process, found without being linked to it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace vdisk::tsk {

class RealTsk;
using RealTskPtr = std::shared_ptr<const RealTsk>;

/// A libtsk that is loaded, kept loaded as long as this lives. A process can hold several (a JVM often does), and
/// handles of one must not reach another; so it is always the one that the caller uses. Immutable and thread-safe.
class RealTsk {
public:
    /// The libtsk that the code at `return_address` uses; nullptr if there is none. Sets no tsk_error.
    [[nodiscard]] static RealTskPtr used_by(const void* return_address);

    explicit RealTsk(void* library) noexcept : library_(library) {} ///< takes over what dlopen() gave
    RealTsk(const RealTsk&) = delete;
    RealTsk& operator=(const RealTsk&) = delete;
    ~RealTsk();

    /// libtsk's own function of that name, never the one that stands in front of it; nullptr if this version has none.
    template<class Function> [[nodiscard]] Function* function(const char* name) const {
        return reinterpret_cast<Function*>(symbol(name));
    }

    /// Sets the calling thread's tsk_error. `code` is one of TSK_ERR_*.
    void set_error(std::uint32_t code, const std::string& text) const noexcept;

    /// Keeps the library loaded until the process ends.
    void keep_loaded() const noexcept;

    /// Whether the program was asked (-v) to tell more on standard error.
    [[nodiscard]] bool verbose() const noexcept;

private:
    [[nodiscard]] void* symbol(const char* name) const noexcept;

    void* library_;
};

/// Whether this process runs Java.
[[nodiscard]] bool in_java() noexcept;

} // namespace vdisk::tsk
