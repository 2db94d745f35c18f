// SPDX-License-Identifier: Apache-2.0
/// Sources that are not files: bytes in memory, a slice of another source.
#pragma once

#include "io/byte_source.hpp"

#include <algorithm>
#include <cstring>

namespace vdisk {

/// Bytes that the source owns.
class MemorySource final : public ByteSource {
public:
    MemorySource(std::vector<std::byte> bytes, std::string name) : bytes_(std::move(bytes)), name_(std::move(name)) {}

    [[nodiscard]] std::uint64_t size() const noexcept override { return bytes_.size(); }
    [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
        if (offset >= bytes_.size()) return std::size_t{0};
        const std::size_t count = std::min(out.size(), bytes_.size() - static_cast<std::size_t>(offset));
        if (count > 0) std::memcpy(out.data(), bytes_.data() + offset, count);
        return count;
    }
    [[nodiscard]] std::string_view name() const noexcept override { return name_; }

private:
    std::vector<std::byte> bytes_;
    std::string name_;
};

/// [start, start + length) of another source, which it keeps alive; shorter if that source ends before.
class SliceSource final : public ByteSource {
public:
    /// `name`: what messages call it; as the other one if it is empty.
    SliceSource(SourcePtr source, std::uint64_t start, std::uint64_t length, std::string name = {})
        : source_(std::move(source)), start_(std::min(start, source_->size())),
          length_(std::min(length, source_->size() - start_)), name_(std::move(name)) {}

    [[nodiscard]] std::uint64_t size() const noexcept override { return length_; }
    [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
        if (offset >= length_) return std::size_t{0};
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), length_ - offset));
        return source_->read_at(start_ + offset, out.first(count));
    }
    [[nodiscard]] Readability readability(std::uint64_t offset, std::uint64_t wanted) const override {
        offset = std::min(offset, length_);
        return source_->readability(start_ + offset, std::min(wanted, length_ - offset));
    }
    [[nodiscard]] Origin origin(std::uint64_t offset, std::uint64_t wanted) const override {
        return source_->origin(start_ + offset, std::min(wanted, length_ - offset));
    }
    [[nodiscard]] std::uint64_t worth_preparing() const noexcept override { return source_->worth_preparing(); }
    void prepare(std::uint64_t offset, std::uint64_t length) const override {
        offset = std::min(offset, length_);
        source_->prepare(start_ + offset, std::min(length, length_ - offset));
    }
    [[nodiscard]] std::vector<const FileSource*> files() const override { return source_->files(); }
    [[nodiscard]] std::string_view name() const noexcept override { return name_.empty() ? source_->name() : name_; }

private:
    SourcePtr source_;
    std::uint64_t start_;
    std::uint64_t length_;
    std::string name_;
};

} // namespace vdisk
