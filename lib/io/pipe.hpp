// SPDX-License-Identifier: Apache-2.0
/// What a program hands over by a pipe, in the place of a file.
#pragma once

#include "base/error.hpp"

#include <filesystem>
#include <span>

namespace vdisk {

/// Whether `path` is a FIFO or leads to a pipe, as /dev/stdin and a shell's process substitution do.
[[nodiscard]] bool is_pipe(const std::filesystem::path& path) noexcept;

/// Reads all that is written to the pipe at `path` until its last writer closes it, and returns how many bytes that
/// are. Waits a minute at most for each part. Errors: `io`; `limit_exceeded` where it is more than fits into `out`.
[[nodiscard]] Result<std::size_t> read_pipe(const std::filesystem::path& path, std::span<std::byte> out);

} // namespace vdisk
