// SPDX-License-Identifier: Apache-2.0
#include "io/joined_source.hpp"

#include <algorithm>

namespace vdisk {

JoinedSource::JoinedSource(std::vector<Share> shares, std::string name)
    : shares_(std::move(shares)), name_(std::move(name)) {
    for (const Share& share : shares_) {
        starts_.push_back(size_);
        size_ += share.length;
    }
}

// `offset` must lie within the whole.
std::size_t JoinedSource::share_at(std::uint64_t offset) const noexcept {
    return static_cast<std::size_t>(std::ranges::upper_bound(starts_, offset) - starts_.begin()) - 1;
}

Result<std::size_t> JoinedSource::read_at(std::uint64_t offset, std::span<std::byte> out) const {
    std::size_t done = 0;
    while (done < out.size() && offset + done < size_) {
        const std::size_t index = share_at(offset + done);
        const Share& share = shares_[index];
        if (!share.source) return Error(*share.why);
        const std::uint64_t within = offset + done - starts_[index];
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(out.size() - done, share.length - within));
        VDISK_CHECK(read_exact(*share.source, within, out.subspan(done, count)));
        done += count;
    }
    return done;
}

Readability JoinedSource::readability(std::uint64_t offset, std::uint64_t wanted) const {
    if (offset >= size_ || wanted == 0) return {};
    const std::size_t index = share_at(offset);
    const Share& share = shares_[index];
    const std::uint64_t within = offset - starts_[index];
    const std::uint64_t length = std::min(wanted, share.length - within);
    if (!share.source) return {.length = length, .why = share.why};
    return share.source->readability(within, length);
}

std::uint64_t JoinedSource::worth_preparing() const noexcept {
    std::uint64_t most = 0;
    for (const Share& share : shares_)
        if (share.source) most = std::max(most, share.source->worth_preparing());
    return most;
}

void JoinedSource::prepare(std::uint64_t offset, std::uint64_t length) const {
    const std::uint64_t end = offset + std::min(length, size_ - std::min(offset, size_));
    while (offset < end) {
        const std::size_t index = share_at(offset);
        const std::uint64_t within = offset - starts_[index];
        const std::uint64_t count = std::min(end - offset, shares_[index].length - within);
        if (shares_[index].source) shares_[index].source->prepare(within, count);
        offset += count;
    }
}

Origin JoinedSource::origin(std::uint64_t offset, std::uint64_t wanted) const {
    const std::size_t index = share_at(offset);
    const Share& share = shares_[index];
    const std::uint64_t within = offset - starts_[index];
    const std::uint64_t length = std::min(wanted, share.length - within);
    return share.source ? share.source->origin(within, length) : Origin{.length = length};
}

std::vector<const FileSource*> JoinedSource::files() const {
    std::vector<const FileSource*> all;
    for (const Share& share : shares_) {
        if (!share.source) continue;
        const auto more = share.source->files();
        all.insert(all.end(), more.begin(), more.end());
    }
    return all;
}

} // namespace vdisk
