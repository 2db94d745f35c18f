// SPDX-License-Identifier: Apache-2.0
/// Reading a whole disk, for whoever wants all its bytes.
#pragma once

#include "common/sink.hpp"
#include "disk/disk_file.hpp"
#include "open/bookkeeping.hpp"

namespace vdisk::tools {

/// Bytes of a disk that can't be read.
struct LostRange {
    std::uint64_t offset;
    std::uint64_t length;
    std::string why;
};

/// What becomes of the sinks where bytes can't be read.
enum class OnLoss : std::uint8_t {
    zeros, ///< they are given zeros for them
    stop,  ///< they are given nothing any more; what else can't be read is still looked for
};

/// Gives the bytes of `image` from `start` to its end to each of `sinks`, which run in threads of their own. Holes are
/// not read, nor what is known to be unreadable, which is one range however long it is. Shows a progress bar named
/// `label`. Returns what can't be read, in order, to the sector; errors are those of the sinks.
[[nodiscard]] Result<std::vector<LostRange>> copy_disk(const Image& image, std::uint64_t start,
                                                       std::span<Sink* const> sinks, std::string label,
                                                       OnLoss on_loss = OnLoss::zeros);

/// Gives all bytes of `source`, a file as it is, to each of `sinks`. The first that can't be read is an error.
[[nodiscard]] Result<void> copy_file(const ByteSource& source, std::span<Sink* const> sinks, std::string label);

/// What the bookkeeping of the disk's files says against bytes of it, without what lies in `lost`, which nobody has.
/// Shows a progress bar. Says so where the bookkeeping can't be looked at. Error: `cancelled`.
[[nodiscard]] Result<Distrust> distrusted(const OpenedDisk& disk, std::span<const LostRange> lost);

/// Prints a warning for each of the first ranges; the tool's exit status is then that for a doubt.
void warn_of_distrusted(const Distrust& distrust);

/// It as a list of facts.
[[nodiscard]] Facts describe_distrusted(const Distrust& distrust);

/// Adds what comes behind all of `lost`; what follows the last one becomes one with it.
void add_lost(std::vector<LostRange>& lost, std::uint64_t offset, std::uint64_t length, const std::string& why);

/// They as a list of facts.
[[nodiscard]] Facts describe_lost(std::span<const LostRange> lost);

/// Prints a warning line for each of `lost`, with what became of them: "are zeros in the output".
void warn_of_lost(std::span<const LostRange> lost, std::string_view outcome);

} // namespace vdisk::tools
