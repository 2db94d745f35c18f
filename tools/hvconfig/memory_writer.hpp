// SPDX-License-Identifier: Apache-2.0
/// Files of physical memory.
#pragma once

#include "common/output.hpp"

#include <functional>

namespace vdisk::tools {

/// Receives runs of memory in rising addresses and writes them as a file format has them.
class MemoryWriter {
public:
    virtual ~MemoryWriter() = default;
    [[nodiscard]] virtual Result<void> pages(std::uint64_t address, std::span<const std::byte> bytes) = 0;
    /// `end`: one behind the last address.
    [[nodiscard]] virtual Result<void> finish(std::uint64_t end) = 0;
};

/// A byte's offset is its address; what is not there is a hole and reads as zeros.
[[nodiscard]] std::unique_ptr<MemoryWriter> raw_writer(Output& output);

/// LiME version 1: a header of 32 bytes before each contiguous range. What is not there is in no range. `output` must
/// be able to seek.
[[nodiscard]] std::unique_ptr<MemoryWriter> lime_writer(Output& output);

} // namespace vdisk::tools
