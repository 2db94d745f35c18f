// SPDX-License-Identifier: Apache-2.0
/// Bytes one after the other: for work that goes over a whole archive once.
#pragma once

#include "io/byte_source.hpp"

#include <algorithm>
#include <functional>
#include <optional>

namespace vdisk {

/// A cursor that only moves on. One thread.
class ForwardReader {
public:
    ForwardReader() = default;
    ForwardReader(const ForwardReader&) = delete;
    ForwardReader& operator=(const ForwardReader&) = delete;
    virtual ~ForwardReader() = default;

    /// Fills `out`; returns how many bytes that were, fewer than asked only at the end of the bytes (0 from then on). A
    /// stream that is cut off, or damaged so that nothing behind is known, ends there. Bytes that can't be read
    /// although what follows them can are an error with their offset: the position is then the first of them, and
    /// skip() leads past them.
    [[nodiscard]] virtual Result<std::size_t> read(std::span<std::byte> out) = 0;

    /// Moves on by `count` bytes, readable or not; returns by how many, fewer than asked only at the end.
    [[nodiscard]] virtual Result<std::uint64_t> skip(std::uint64_t count) = 0;

    /// The offset of the next byte.
    [[nodiscard]] virtual std::uint64_t position() const noexcept = 0;

    /// Bytes in all, where that is known before the end.
    [[nodiscard]] virtual std::optional<std::uint64_t> size() const noexcept = 0;

    /// What it goes over, where that can be read anywhere; else null. Lives as long as the reader.
    [[nodiscard]] virtual const ByteSource* source() const noexcept { return nullptr; }
};

/// What is done in one go over all bytes. What it leaves unread is no error. Its own error ends the work.
using ForwardScan = std::function<Result<void>(ForwardReader&)>;

/// Goes over a source that can be read anywhere.
class SourceReader final : public ForwardReader {
public:
    /// Starts at `position`, at the end if that is past it. `source` must outlive the reader.
    explicit SourceReader(const ByteSource& source, std::uint64_t position = 0)
        : source_(source), position_(std::min(position, source.size())) {}

    [[nodiscard]] Result<std::size_t> read(std::span<std::byte> out) override {
        VDISK_TRY(got, source_.read_at(position_, out));
        position_ += got;
        return got;
    }
    [[nodiscard]] Result<std::uint64_t> skip(std::uint64_t count) override {
        const std::uint64_t moved = std::min(count, source_.size() - position_);
        position_ += moved;
        return moved;
    }
    [[nodiscard]] std::uint64_t position() const noexcept override { return position_; }
    [[nodiscard]] std::optional<std::uint64_t> size() const noexcept override { return source_.size(); }
    [[nodiscard]] const ByteSource* source() const noexcept override { return &source_; }

private:
    const ByteSource& source_;
    std::uint64_t position_; ///< never past the end
};

} // namespace vdisk
