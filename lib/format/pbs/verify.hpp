// SPDX-License-Identifier: Apache-2.0
/// Reading all chunks of indexes, each chunk once.
#pragma once

#include "base/fork_guard.hpp"
#include "format/pbs/index_disk.hpp"

#include <mutex>
#include <unordered_map>

namespace vdisk::pbs {

/// Verifies one index after the other; what a chunk was found to be holds for all that name it. One thread calls it; it
/// has threads of its own while it is at work.
class Verifier {
public:
    explicit Verifier(const Limits& limits) : limits_(limits), report_(limits) {}

    /// Reads all chunks of `disk`, which `name` calls in findings. Where a key is missing only the CRC of its chunks
    /// can be checked, as the server itself does, and a finding says so. Errors: `cancelled`, `io`, those of a wrong
    /// key.
    [[nodiscard]] Result<void> verify(const IndexDisk& disk, const std::string& name, const Progress& progress);

    [[nodiscard]] AuditReport& report() noexcept { return report_; }
    /// The report with its numbers.
    [[nodiscard]] AuditReport result() &&;

private:
    struct Outcome {
        ChunkStore::Condition condition = ChunkStore::Condition::sound;
        std::string why{}; ///< what is wrong with it; empty: the content is there
    };
    struct DigestHash {
        std::size_t operator()(const Digest& digest) const noexcept;
    };
    class Pass;

    bool claim(const Digest& digest);
    void settle(const Digest& digest, Outcome outcome);
    void tell(const Chunk& chunk, const std::string& name, const Outcome& outcome);

    Limits limits_;
    AuditReport report_;
    std::mutex mutex_; ///< guards what follows
    ForkGuard guard_{&mutex_};
    std::unordered_map<Digest, Outcome, DigestHash> known_;
    std::uint64_t read_ = 0;
};

} // namespace vdisk::pbs
