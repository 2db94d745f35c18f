// SPDX-License-Identifier: Apache-2.0
/// What tests make that not every system has.
#pragma once

#include "base/system/path.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#ifndef _WIN32
#include <sys/stat.h>
#endif

namespace vdisk::test {

/// For a test of links, pipes or devices in the place of files: BOOST_AUTO_TEST_CASE(name, *on_posix()). Elsewhere it
/// is left out.
inline auto on_posix() {
    return boost::unit_test::enable_if<!system::kHasDrives>();
}

inline void make_fifo(const std::filesystem::path& path) {
#ifdef _WIN32
    throw std::logic_error(path.string() + ": there are no such files here");
#else
    if (::mkfifo(path.c_str(), 0600) != 0) throw std::runtime_error("mkfifo " + path.string());
#endif
}

/// Sets a variable of this process's environment; with "" takes it away. For one thread.
inline void set_variable(const char* name, const char* value) {
#ifdef _WIN32
    ::_putenv_s(name, value);
#else
    if (*value == '\0') ::unsetenv(name);
    else ::setenv(name, value, 1);
#endif
}

} // namespace vdisk::test
