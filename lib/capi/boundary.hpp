// SPDX-License-Identifier: Apache-2.0
/// The one door between C callers and this library: no exception gets out, each error is remembered for the thread.
#pragma once

#include "base/error.hpp"
#include "capi/vdisk.h"

#include <exception>
#include <new>

namespace vdisk::capi {

/// Keeps `error` for vdisk_last_error() of this thread.
void remember(Error error) noexcept;

/// The same for an exception of the standard library (or of a caller's progress function), which has only a text;
/// without memory for that too, it is told as such.
void remember_exception(const char* what) noexcept;
void remember_no_memory() noexcept;

/// Runs `body`, which returns Result<T>; its value, or `failed` with the error remembered.
template<class T, class Body> T guarded(T failed, Body&& body) noexcept {
    try {
        Result<T> result = body();
        if (result.has_value()) return std::move(result).value();
        remember(std::move(result).error());
    } catch (const std::bad_alloc&) {
        remember_no_memory();
    } catch (const std::exception& error) {
        remember_exception(error.what());
    } catch (...) {
        remember_exception("an exception of unknown type");
    }
    return failed;
}

} // namespace vdisk::capi
