// SPDX-License-Identifier: Apache-2.0
#include "real_tsk.hpp"

#include <dlfcn.h>
#include <link.h>

#include <string_view>
#include <vector>

namespace vdisk::tsk {
namespace {

// Nobody stands in front of this function, so whoever defines it is a real libtsk.
constexpr const char* kAnchor = "tsk_img_close";

void* loaded(const char* path) noexcept {
    return dlopen(path, RTLD_NOLOAD | RTLD_LAZY);
}

const char* path_of(const void* address) noexcept {
    Dl_info info{};
    return address != nullptr && dladdr(address, &info) != 0 ? info.dli_fname : nullptr;
}

// The anchor as the object that holds `address` sees it. A main program can't be reopened by its path: nullptr then.
void* anchor_seen_from(const void* address) noexcept {
    const char* const path = path_of(address);
    void* const object = path == nullptr ? nullptr : loaded(path);
    if (object == nullptr) return nullptr;
    void* const anchor = dlsym(object, kAnchor);
    dlclose(object);
    return anchor;
}

int collect_libtsk(dl_phdr_info* info, std::size_t /*size*/, void* paths) {
    const std::string_view path(info->dlpi_name);
    if (path.substr(path.rfind('/') + 1).starts_with("libtsk"))
        static_cast<std::vector<std::string>*>(paths)->emplace_back(path);
    return 0;
}

// Libraries that a JVM loads are in nobody's scope but their own, and the caller's path may be useless: look at all.
void* anchor_anywhere() {
    std::vector<std::string> paths;
    dl_iterate_phdr(collect_libtsk, &paths);
    for (const std::string& path : paths) {
        void* const library = loaded(path.c_str());
        if (library == nullptr) continue;
        void* const anchor = dlsym(library, kAnchor);
        dlclose(library);
        if (anchor != nullptr) return anchor;
    }
    return nullptr;
}

} // namespace

RealTskPtr RealTsk::used_by(const void* return_address) {
    void* anchor = anchor_seen_from(return_address);
    if (anchor == nullptr) anchor = dlsym(RTLD_DEFAULT, kAnchor);
    if (anchor == nullptr) anchor = anchor_anywhere();
    const char* const path = path_of(anchor);
    void* const library = path == nullptr ? nullptr : loaded(path);
    return library == nullptr ? nullptr : std::make_shared<const RealTsk>(library);
}

RealTsk::~RealTsk() {
    dlclose(library_);
}

void* RealTsk::symbol(const char* name) const noexcept {
    return dlsym(library_, name);
}

void RealTsk::set_error(std::uint32_t code, const std::string& text) const noexcept {
    auto* const reset = function<void()>("tsk_error_reset");
    auto* const set_code = function<void(std::uint32_t)>("tsk_error_set_errno");
    auto* const set_text = function<void(const char*, ...)>("tsk_error_set_errstr");
    if (reset != nullptr) reset();
    if (set_code != nullptr) set_code(code);
    if (set_text != nullptr) set_text("%s", text.c_str());
}

void RealTsk::keep_loaded() const noexcept {
    const char* const path = path_of(symbol(kAnchor));
    if (path != nullptr) (void)dlopen(path, RTLD_NOLOAD | RTLD_LAZY | RTLD_NODELETE);
}

bool RealTsk::verbose() const noexcept {
    // A main program has its own copy of the variable (a copy relocation), and libtsk uses that too.
    const void* flag = dlsym(RTLD_DEFAULT, "tsk_verbose");
    if (flag == nullptr) flag = symbol("tsk_verbose");
    return flag != nullptr && *static_cast<const int*>(flag) != 0;
}

bool in_java() noexcept {
    void* const machine = loaded("libjvm.so");
    if (machine == nullptr) return false;
    dlclose(machine);
    return true;
}

} // namespace vdisk::tsk
