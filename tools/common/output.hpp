// SPDX-License-Identifier: Apache-2.0
/// The file or stream that a command writes to: the only place where a tool opens something to write to.
#pragma once

#include "common/sink.hpp"
#include "common/unfinished_file.hpp"

namespace vdisk::tools {

/// What to open.
struct OutputRequest {
    std::string path;          ///< "-" is standard output
    bool overwrite = false;    ///< a file that is there, or a block device
    std::uint64_t size = 0;    ///< bytes that will be written, as far as that is known before
    bool out_of_order = false; ///< whether rewrite() is needed
    bool kept = false;         ///< what an interruption leaves stays as "PATH.partial", and is taken up by the next one
};

/// Where bytes go, one after the other. A file is sparse, stands beside its final name until finish(), and is removed
/// if it does not come to that; what it replaces stays until then. Pipes and devices are written to as they are. Errors
/// name the output.
class Output final : public Sink {
public:
    /// Errors: `usage` for what is an input (see check_no_input()), for a file or a block device that is there and may
    /// not be overwritten, and for what can't be written out of order; `io`, also where so many bytes find no room in
    /// any case.
    static Result<std::unique_ptr<Output>> open(const OutputRequest& request);

    [[nodiscard]] bool is_standard_output() const noexcept;

    [[nodiscard]] Result<void> write(std::span<const std::byte> bytes) override;

    /// A hole where the output can have one.
    [[nodiscard]] Result<void> skip(std::uint64_t length) override;

    /// Writes over what is there at `offset`, for what is known only later.
    Result<void> rewrite(std::uint64_t offset, std::span<const std::byte> bytes);

    /// Of one that is kept: its path until it has its own name, and which file it is.
    [[nodiscard]] std::filesystem::path kept_path() const;
    [[nodiscard]] FileIdentity identity() const;
    /// How many bytes an earlier run left, and what they are. Errors: `io`.
    [[nodiscard]] Result<std::uint64_t> left() const;
    [[nodiscard]] Result<void> read(std::uint64_t offset, std::span<std::byte> out) const;
    /// Leaves the first `offset` bytes as they are and goes on behind them. Call it before anything is written. Errors:
    /// `io`.
    [[nodiscard]] Result<void> go_on_at(std::uint64_t offset);
    /// Puts all that was written, `size` bytes with the hole at their end, on the disk. Errors: `io`.
    [[nodiscard]] Result<void> flush(std::uint64_t size);

    /// Sets a file's size, which a hole at its end needs, puts everything on the disk, and gives a file its name. Call
    /// it once, last.
    Result<void> finish(std::uint64_t size);

private:
    Output(int descriptor, std::string name) : descriptor_(descriptor), name_(std::move(name)) {}
    static Result<std::unique_ptr<Output>> open_descriptor(int number);
    static Result<std::unique_ptr<Output>> open_special(const OutputRequest& request, bool block_device);
    static Result<std::unique_ptr<Output>> open_file(const OutputRequest& request);
    [[nodiscard]] Error failed(std::string_view doing) const;
    [[nodiscard]] Result<void> check_room(const OutputRequest& request) const;

    int descriptor_;
    std::string name_;                       ///< as it was given, safe to show
    std::unique_ptr<UnfinishedFile> file_{}; ///< the owner of a regular file's descriptor
    Descriptor owned_{};                     ///< that of a pipe or device; a standard stream has no owner here
    bool seekable_ = false;
};

} // namespace vdisk::tools
