// SPDX-License-Identifier: Apache-2.0
/// Takers of a disk's bytes, and threads to run them in.
#pragma once

#include "base/error.hpp"

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace vdisk::tools {

/// Takes bytes in their order. One thread at a time.
class Sink {
public:
    Sink() = default;
    Sink(const Sink&) = delete;
    Sink& operator=(const Sink&) = delete;
    virtual ~Sink() = default;

    [[nodiscard]] virtual Result<void> write(std::span<const std::byte> bytes) = 0;
    /// `length` zeros.
    [[nodiscard]] virtual Result<void> skip(std::uint64_t length) = 0;
    /// `length` bytes that can't be read, as `why` tells: zeros, for who does not tell them apart.
    [[nodiscard]] virtual Result<void> lose(std::uint64_t length, const std::string& why);
};

/// What goes to every sink: bytes, or a run of zeros.
struct Piece {
    std::shared_ptr<const std::vector<std::byte>> bytes; ///< null: zeros
    std::uint64_t length = 0;
    std::shared_ptr<const std::string> lost{}; ///< why bytes can't be read, in whose place the zeros are
};

/// Buffers of one size that come back when the last piece made of them is gone. Thread-safe.
class BufferPool {
public:
    explicit BufferPool(std::size_t bytes);

    /// A buffer of the pool's size, with whatever bytes its last use left.
    [[nodiscard]] std::shared_ptr<std::vector<std::byte>> take();

private:
    struct Free {
        std::mutex mutex;
        std::vector<std::unique_ptr<std::vector<std::byte>>> buffers;
    };
    std::shared_ptr<Free> free_; // buffers may outlive the pool
    std::size_t bytes_;
};

/// Runs a sink in a thread of its own, a few pieces behind whoever gives them. One giver.
class SinkThread {
public:
    /// `sink` must outlive this object.
    explicit SinkThread(Sink& sink);
    /// Leaves out what the sink has not yet taken.
    ~SinkThread();
    SinkThread(const SinkThread&) = delete;
    SinkThread& operator=(const SinkThread&) = delete;

    /// Waits while too much is on its way. False once the sink has failed: finish() tells why.
    [[nodiscard]] bool give(Piece piece);
    /// Waits until the sink has taken all, and returns its first error. Call it once, last.
    [[nodiscard]] Result<void> finish();

private:
    void run();
    void end(bool drop);

    Sink& sink_;
    std::mutex mutex_; // guards what follows
    std::condition_variable changed_;
    std::deque<Piece> waiting_;
    bool ended_ = false;
    std::optional<Error> failed_;
    std::thread thread_; // last: it uses the rest
};

} // namespace vdisk::tools
