// SPDX-License-Identifier: Apache-2.0
/// Errors as values: what every fallible function of this library returns.
#pragma once

#include <boost/outcome/basic_result.hpp>
#include <boost/outcome/policy/terminate.hpp>
#include <boost/outcome/try.hpp>
#include <boost/version.hpp>
#include <fmt/core.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace vdisk {

/// What a caller can do something about. Few and stable; the text says the rest.
enum class ErrorKind : std::uint8_t {
    not_this_format, ///< the bytes are not of the format that was asked for, or of none
    unsupported,     ///< a legal feature that this build or version can't read
    corrupt,         ///< the bytes contradict the format's rules
    limit_exceeded,  ///< a number that is legal but beyond what Limits allows
    truncated,       ///< the file ends before what it promises
    io,              ///< the operating system refused
    usage,           ///< the caller asked for something that does not exist
    cancelled,       ///< the caller's progress callback said stop
};

/// A stable word for a kind, for JSON and logs. Never empty.
std::string_view to_string(ErrorKind kind) noexcept;

/// One error: a kind to decide by and one line to show. `what` names the file, the field and the value.
struct Error {
    ErrorKind kind = ErrorKind::corrupt;
    std::string what;
    std::optional<std::uint64_t> offset{}; ///< where in the file or on the disk, in bytes, if there is one place

    /// The same error with `context` and a colon put before its text, unless that begins so already.
    [[nodiscard]] Error in(std::string_view context) &&;
};

/// A value or an Error. Asking an error for its value ends the program: check first, or use VDISK_TRY.
template<class T> using Result = boost::outcome_v2::basic_result<T, Error, boost::outcome_v2::policy::terminate>;

/// What a function returns that gives nothing but success.
inline auto ok() noexcept {
    return boost::outcome_v2::success();
}

/// Makes an Error from a {fmt} format: `return fail(ErrorKind::corrupt, "{}: cluster_bits is {}", name, bits);`
template<class... Args> [[nodiscard]] Error fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
    return Error{kind, fmt::format(format, std::forward<Args>(args)...), std::nullopt};
}

/// As fail(), with the place in the file or on the disk.
template<class... Args>
[[nodiscard]] Error fail_at(std::uint64_t offset, ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
    return Error{kind, fmt::format(format, std::forward<Args>(args)...), offset};
}

} // namespace vdisk

/// VDISK_TRY(name, expression): declares `name` as the expression's value, or returns its error.
/// VDISK_CHECK(expression): the same where there is no value. (Boost changed its macro's form in 1.76.)
#if BOOST_VERSION < 107600
#define VDISK_TRY(name, ...) BOOST_OUTCOME_TRY(name, __VA_ARGS__)
#else
#define VDISK_TRY(name, ...) BOOST_OUTCOME_TRY(auto&& name, __VA_ARGS__)
#endif
#define VDISK_CHECK(...)                                                                                               \
    do {                                                                                                               \
        BOOST_OUTCOME_TRYV(__VA_ARGS__);                                                                               \
    } while (false)
