// SPDX-License-Identifier: Apache-2.0
#include "open/changes.hpp"

#include <algorithm>

namespace vdisk {
namespace {

// The file of the system that an extent lies in; nothing where it lies in what is made of files.
std::optional<FileIdentity> file_of(const ResolvedExtent& found) {
    const auto* const file = dynamic_cast<const FileSource*>(&found.layer->source_of(found.extent));
    if (file == nullptr || !file->parts().empty()) return std::nullopt;
    return file->identity();
}

bool is_proven(const PackedCluster& cluster) {
    return std::ranges::any_of(cluster.digest, [](std::byte b) { return b != std::byte{0}; });
}

// Of two extents that begin at one offset of their disks.
bool same_cluster(const ResolvedExtent& left, const ResolvedExtent& right) {
    const PackedCluster& one = left.extent.packed;
    const PackedCluster& other = right.extent.packed;
    if (one.start != other.start) return false;
    if (is_proven(one) || is_proven(other)) return one.digest == other.digest;
    const auto file = file_of(left);
    return file && file == file_of(right) && left.extent.host == right.extent.host && one.codec == other.codec &&
           one.host_length == other.host_length;
}

bool same_place(const ResolvedExtent& left, const ResolvedExtent& right) {
    if (left.extent.enciphered || right.extent.enciphered || left.extent.host != right.extent.host) return false;
    const auto file = file_of(left);
    return file && file == file_of(right);
}

bool are_same(const ResolvedExtent& left, const ResolvedExtent& right) {
    if (left.extent.kind != right.extent.kind) return false;
    switch (left.extent.kind) {
    case Extent::Kind::zero: return true;
    case Extent::Kind::stored: return same_place(left, right);
    case Extent::Kind::packed: return same_cluster(left, right);
    case Extent::Kind::unreadable: return false;
    }
    return false;
}

// What the two have from an offset that both have: how far, and whether it is the same.
struct Step {
    std::uint64_t length;
    bool same;
};

Step compare(const Image& left, const Image& right, std::uint64_t at) {
    constexpr std::uint64_t kUnknown = 512; // of what could not be looked at just now
    const std::uint64_t wanted = std::min(left.size(), right.size()) - at;
    const auto one = left.resolve(GuestOffset{at}, wanted);
    const auto other = right.resolve(GuestOffset{at}, wanted);
    if (one.has_error() || other.has_error()) return {std::min(wanted, kUnknown), false};
    return {std::min(one.value().extent.length, other.value().extent.length), are_same(one.value(), other.value())};
}

// Joins what touches before it is told.
class Ranges {
public:
    explicit Ranges(const OnChange& on_change) : on_change_(on_change) {}

    // Whether it goes on.
    bool add(std::uint64_t start, std::uint64_t end) {
        if (start == end) return true;
        if (start != end_ && !tell()) return false;
        if (start_ == end_) start_ = start;
        end_ = end;
        return true;
    }
    bool tell() {
        const ChangedRange range{GuestOffset{start_}, end_ - start_};
        start_ = end_;
        return range.length == 0 || on_change_(range);
    }

private:
    const OnChange& on_change_;
    std::uint64_t start_ = 0;
    std::uint64_t end_ = 0; // start_: nothing is kept
};

} // namespace

Result<void> visit_changes(const Image& left, const Image& right, const OnChange& on_change) {
    const std::uint64_t common = std::min(left.size(), right.size());
    const std::uint64_t end = std::max(left.size(), right.size());
    Ranges ranges(on_change);
    bool goes_on = true;
    for (std::uint64_t at = 0; at < common && goes_on;) {
        const Step step = compare(left, right, at);
        if (!step.same) goes_on = ranges.add(at, at + step.length);
        at += step.length;
    }
    if (!goes_on || !ranges.add(common, end) || !ranges.tell()) return fail(ErrorKind::cancelled, "cancelled");
    return ok();
}

} // namespace vdisk
