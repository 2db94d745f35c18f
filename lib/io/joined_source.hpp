// SPDX-License-Identifier: Apache-2.0
/// Sources one behind the other as one.
#pragma once

#include "io/byte_source.hpp"

#include <string>
#include <vector>

namespace vdisk {

/// A share of a JoinedSource.
struct Share {
    SourcePtr source;                 ///< has at least `length` bytes, or is null where the share is lost
    std::uint64_t length = 0;         ///< bytes, > 0
    std::shared_ptr<const Error> why; ///< why it is lost; not null then
};

/// Immutable and thread-safe, as the sources are.
class JoinedSource final : public ByteSource {
public:
    /// The lengths together fit into 64 bits.
    JoinedSource(std::vector<Share> shares, std::string name);

    [[nodiscard]] std::uint64_t size() const noexcept override { return size_; }
    /// Error: the reason of a lost share that the range touches, or that of the source.
    [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override;
    [[nodiscard]] Readability readability(std::uint64_t offset, std::uint64_t wanted) const override;
    [[nodiscard]] std::uint64_t worth_preparing() const noexcept override;
    void prepare(std::uint64_t offset, std::uint64_t length) const override;
    [[nodiscard]] Origin origin(std::uint64_t offset, std::uint64_t wanted) const override;
    [[nodiscard]] std::vector<const FileSource*> files() const override;
    [[nodiscard]] std::string_view name() const noexcept override { return name_; }

private:
    [[nodiscard]] std::size_t share_at(std::uint64_t offset) const noexcept;

    std::vector<Share> shares_;
    std::vector<std::uint64_t> starts_;
    std::uint64_t size_ = 0;
    std::string name_;
};

} // namespace vdisk
