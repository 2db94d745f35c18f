// SPDX-License-Identifier: Apache-2.0
#include "common/sink.hpp"

#include <exception>

namespace vdisk::tools {
namespace {

// Pieces between the reader and a sink: enough for their unequal pace, and a few megabytes.
constexpr std::size_t kMostWaiting = 4;
// Unused buffers that a pool keeps: as many as are on their way between one reader and the slowest sink.
constexpr std::size_t kMostKept = kMostWaiting + 2;

Result<void> take(Sink& sink, const Piece& piece) {
    try {
        if (piece.lost) return sink.lose(piece.length, *piece.lost);
        return piece.bytes ? sink.write(std::span(*piece.bytes).first(static_cast<std::size_t>(piece.length)))
                           : sink.skip(piece.length);
    } catch (const std::exception& error) { // the standard library's: no memory
        return fail(ErrorKind::io, "{}", error.what());
    }
}

} // namespace

Result<void> Sink::lose(std::uint64_t length, const std::string& /*why*/) {
    return skip(length);
}

BufferPool::BufferPool(std::size_t bytes) : free_(std::make_shared<Free>()), bytes_(bytes) {
    free_->buffers.reserve(kMostKept);
}

std::shared_ptr<std::vector<std::byte>> BufferPool::take() {
    std::unique_ptr<std::vector<std::byte>> buffer;
    {
        const std::lock_guard lock(free_->mutex);
        if (!free_->buffers.empty()) {
            buffer = std::move(free_->buffers.back());
            free_->buffers.pop_back();
        }
    }
    if (!buffer) buffer = std::make_unique<std::vector<std::byte>>(bytes_);
    return {buffer.release(), [free = free_](std::vector<std::byte>* used) {
                std::unique_ptr<std::vector<std::byte>> back(used);
                const std::lock_guard lock(free->mutex);
                if (free->buffers.size() < kMostKept)
                    free->buffers.push_back(std::move(back)); // in the room reserved: this must not throw
            }};
}

SinkThread::SinkThread(Sink& sink) : sink_(sink), thread_([this] { run(); }) {}

SinkThread::~SinkThread() {
    end(true);
}

bool SinkThread::give(Piece piece) {
    {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return waiting_.size() < kMostWaiting || failed_; });
        if (failed_) return false;
        waiting_.push_back(std::move(piece));
    }
    changed_.notify_all();
    return true;
}

Result<void> SinkThread::finish() {
    end(false);
    if (failed_) return *failed_;
    return ok();
}

void SinkThread::end(bool drop) {
    if (!thread_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        ended_ = true;
        if (drop) waiting_.clear();
    }
    changed_.notify_all();
    thread_.join();
}

void SinkThread::run() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return ended_ || !waiting_.empty(); });
        if (waiting_.empty()) return;
        Piece piece = std::move(waiting_.front());
        waiting_.pop_front();
        lock.unlock();
        changed_.notify_all();
        auto taken = take(sink_, piece);
        piece = {};
        lock.lock();
        if (taken.has_error()) {
            failed_ = std::move(taken).error();
            waiting_.clear();
            changed_.notify_all();
            return;
        }
    }
}

} // namespace vdisk::tools
