// SPDX-License-Identifier: Apache-2.0
// Constructions that ask for more than a reader may give: of each, the kind of error or exactly what reads, how much
// work that took, and, by the program that runs them, that memory stays below kMostMemory.
#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace vdisk::test {

using Bytes = std::vector<std::byte>;
using Folder = std::filesystem::path;

constexpr long kMostMemory = 256L << 10; // KiB, as getrusage() counts

// `make` and `check` are run in processes of their own, so that what making the file takes does not count.
struct LimitCase {
    std::string name;
    std::function<void(const Folder&)> make;
    std::function<void(const Folder&)> check;
};

std::vector<LimitCase> machine_limits();
std::vector<LimitCase> pbs_limits();
std::vector<LimitCase> qcow_limits();
std::vector<LimitCase> qcow2_limits();
std::vector<LimitCase> vdi_limits();
std::vector<LimitCase> vhd_limits();
std::vector<LimitCase> vma_limits();
std::vector<LimitCase> vmdk_limits();
std::vector<LimitCase> stream_limits();
std::vector<LimitCase> hyperv_limits();

// Ends the process with a line if `condition` does not hold.
void require(bool condition, const std::string& what);

// `value` is at most `most`.
void require_at_most(std::uint64_t value, std::uint64_t most, const std::string& what);

template<class T> void require_error(const Result<T>& result, ErrorKind kind, const std::string& what) {
    require(result.has_error(), what + ": there is no error");
    require(result.error().kind == kind,
            what + ": the error is '" + std::string(to_string(result.error().kind)) + "': " + result.error().what);
}

template<class T> T required(Result<T> result, const std::string& what) {
    require(result.has_value(), what + ": " + (result.has_error() ? result.error().what : ""));
    return std::move(result).value();
}

// Writes a file that ends at `size`, with a hole behind `bytes`.
void write_file(const std::filesystem::path& path, const Bytes& bytes, std::uint64_t size = 0);

} // namespace vdisk::test
