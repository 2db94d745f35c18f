// SPDX-License-Identifier: Apache-2.0
/// An export that an interruption left half done, and goes on.
#pragma once

#include "common/output.hpp"
#include "image/image.hpp"
#include "vdisk/copy.hpp"

#include <chrono>

namespace vdisk::tools {

/// What is exported: it has to be the same when an export goes on.
struct ExportSource {
    const Image& image;
    std::uint64_t start = 0; ///< of what is written, on the image
    Facts what;              ///< an object: the disk, and the files that it is read from
};

/// `what` of ExportSource for `disk` and all files that are open now: of each its name, number, size and time.
[[nodiscard]] Facts what_is_exported(const Disk& disk, bool vm_state, std::uint64_t size);

/// Writes to a file that is kept, and keeps beside it, as "OUT.partial.state", how much of it is on the disk: every few
/// seconds. Must not outlive the output and the source.
class ContinuedOutput final : public Sink {
public:
    /// Takes up what an earlier run left in `out`, which was opened with `kept`: cuts off what is not sure to be on the
    /// disk, reads the last 16 MiB again and samples of what lies before, and compares them with the source. Errors:
    /// `usage` where what is there is not the same export's, `corrupt` where it has other bytes, `io`.
    static Result<std::unique_ptr<ContinuedOutput>> take_up(Output& out, const ExportSource& source);

    /// Bytes that were there already.
    [[nodiscard]] std::uint64_t done() const noexcept { return done_; }
    /// What of all that is there can't be read, by offsets on the image.
    [[nodiscard]] const std::vector<LostRange>& lost() const noexcept { return lost_; }

    [[nodiscard]] Result<void> write(std::span<const std::byte> bytes) override;
    [[nodiscard]] Result<void> skip(std::uint64_t length) override;
    [[nodiscard]] Result<void> lose(std::uint64_t length, const std::string& why) override;

    /// Removes the state, once the output has its name. Call it once, last.
    void remove_state();

private:
    ContinuedOutput(Output& out, const ExportSource& source);
    Result<void> take_state(const Facts& state, std::uint64_t left);
    Result<void> compare_with_source() const;
    Result<void> compare(std::uint64_t offset, std::uint64_t length) const;
    Result<void> compare_piece(std::uint64_t offset, std::uint64_t length, bool lost) const;
    Result<void> advance(std::uint64_t length);
    Result<void> save(bool first);

    Output& out_;
    const ExportSource& source_;
    std::filesystem::path state_; ///< the file
    std::uint64_t done_ = 0;
    std::uint64_t at_ = 0;    ///< written so far
    std::uint64_t saved_ = 0; ///< of these, what the state says
    std::chrono::steady_clock::time_point saved_when_{};
    std::vector<LostRange> lost_{};
};

} // namespace vdisk::tools
