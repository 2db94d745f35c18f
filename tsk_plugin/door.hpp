// SPDX-License-Identifier: Apache-2.0
/// The one door between our code and C callers.
#pragma once

#include "base/error.hpp"
#include "real_tsk.hpp"

#include <exception>

namespace vdisk::tsk {

/// Runs `body`, which returns a Result, for a caller that knows nothing but tsk_error: gives its value, or sets `code`
/// with the error's text and gives `otherwise`. No exception passes.
template<class Value, class Body>
Value through_door(const RealTsk& tsk, std::uint32_t code, Value otherwise, Body&& body) noexcept {
    try {
        auto done = body();
        if (done.has_value()) return done.value();
        tsk.set_error(code, done.error().what);
    } catch (const std::exception& error) { // the standard library's: no memory
        try {
            tsk.set_error(code, std::string("tsk-vdisk: ") + error.what());
        } catch (...) {
            tsk.set_error(code, std::string());
        }
    } catch (...) {
        tsk.set_error(code, std::string());
    }
    return otherwise;
}

} // namespace vdisk::tsk
