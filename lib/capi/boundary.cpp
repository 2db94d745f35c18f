// SPDX-License-Identifier: Apache-2.0
#include "capi/boundary.hpp"

namespace vdisk::capi {
namespace {

struct LastError {
    vdisk_error_kind kind = VDISK_ERROR_NONE;
    std::string text;
};

thread_local LastError last_error;

vdisk_error_kind to_c(ErrorKind kind) noexcept {
    switch (kind) {
    case ErrorKind::not_this_format: return VDISK_ERROR_NOT_THIS_FORMAT;
    case ErrorKind::unsupported: return VDISK_ERROR_UNSUPPORTED;
    case ErrorKind::corrupt: return VDISK_ERROR_CORRUPT;
    case ErrorKind::limit_exceeded: return VDISK_ERROR_LIMIT_EXCEEDED;
    case ErrorKind::truncated: return VDISK_ERROR_TRUNCATED;
    case ErrorKind::io: return VDISK_ERROR_IO;
    case ErrorKind::usage: return VDISK_ERROR_USAGE;
    case ErrorKind::cancelled: return VDISK_ERROR_CANCELLED;
    }
    return VDISK_ERROR_CORRUPT;
}

} // namespace

void remember(Error error) noexcept {
    last_error.kind = to_c(error.kind);
    last_error.text = std::move(error.what);
}

void remember_exception(const char* what) noexcept {
    try {
        remember(Error{ErrorKind::io, what});
    } catch (...) {
        remember_no_memory();
    }
}

void remember_no_memory() noexcept {
    static_assert(sizeof "no memory" <= 16, "short enough for a string to hold it without an allocation");
    last_error.kind = VDISK_ERROR_NO_MEMORY;
    last_error.text = "no memory";
}

} // namespace vdisk::capi

extern "C" const char* vdisk_last_error(void) {
    return vdisk::capi::last_error.text.c_str();
}
extern "C" vdisk_error_kind vdisk_last_error_kind(void) {
    return vdisk::capi::last_error.kind;
}
