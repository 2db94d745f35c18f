// SPDX-License-Identifier: Apache-2.0
/// The file or stream that a command writes to.
#pragma once

#include "common/sink.hpp"

namespace vdisk::tools {

/// Where bytes go, one after the other: a sparse file, or a stream that can't seek.
class Output final : public Sink {
public:
    /// "-" is standard output. An existing file is an `io` error unless it may be overwritten.
    static Result<std::unique_ptr<Output>> open(const std::string& path, bool overwrite);
    ~Output() override;

    [[nodiscard]] Result<void> write(std::span<const std::byte> bytes) override;

    /// A hole where the output can have one.
    [[nodiscard]] Result<void> skip(std::uint64_t length) override;

    /// Writes over what is there at `offset`, for what is known only later; a `usage` error if the output can't seek.
    Result<void> rewrite(std::uint64_t offset, std::span<const std::byte> bytes);

    /// Sets a file's size, which a hole at its end needs, and flushes it to the disk.
    Result<void> finish(std::uint64_t size);

private:
    Output(int descriptor, bool seekable) : descriptor_(descriptor), seekable_(seekable) {}
    int descriptor_;
    bool seekable_;
};

} // namespace vdisk::tools
