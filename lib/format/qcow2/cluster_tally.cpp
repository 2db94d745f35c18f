// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/cluster_tally.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

namespace vdisk::qcow2 {
namespace {

constexpr std::uint64_t kBytesEach = 2 * sizeof(std::uint16_t) + sizeof(std::uint8_t);

constexpr std::array kRoleNames{std::pair{Role::header, "header"},
                                std::pair{Role::l1_table, "L1 table"},
                                std::pair{Role::l2_table, "L2 table"},
                                std::pair{Role::refcounts, "refcounts"},
                                std::pair{Role::snapshot_table, "snapshot table"},
                                std::pair{Role::bitmap, "bitmap"},
                                std::pair{Role::encryption, "encryption header"},
                                std::pair{Role::guest_data, "guest data"}};

// What snapshots share with each other and the active state.
constexpr unsigned kSharable = static_cast<unsigned>(Role::l2_table) | static_cast<unsigned>(Role::guest_data);

} // namespace

Result<ClusterTally> ClusterTally::make(std::uint64_t file_size, std::uint32_t cluster_bits, const Limits& limits) {
    const std::uint64_t clusters = div_ceil(file_size, std::uint64_t{1} << cluster_bits) + 1;
    if (clusters > limits.audit_bytes / kBytesEach)
        return fail(ErrorKind::limit_exceeded, "the file has {} clusters, an audit's limit is {}", clusters,
                    limits.audit_bytes / kBytesEach);
    return ClusterTally(file_size, cluster_bits, clusters);
}

ClusterTally::ClusterTally(std::uint64_t file_size, std::uint32_t cluster_bits, std::uint64_t clusters)
    : file_size_(file_size), cluster_bits_(cluster_bits), in_file_(clusters - 1), references_(clusters),
      refcounts_(clusters), roles_(clusters) {}

bool ClusterTally::reaches(std::uint64_t offset, std::uint64_t length) const noexcept {
    const auto end = checked_add(offset, length);
    return end && (*end <= file_size_ || *end - file_size_ < std::uint64_t{1} << cluster_bits_);
}

std::uint64_t ClusterTally::refer(std::uint64_t offset, std::uint64_t length, Role role, std::uint64_t most) {
    if (length == 0) return 0;
    std::uint64_t full = 0;
    for (std::uint64_t cluster = offset >> cluster_bits_; cluster <= (offset + length - 1) >> cluster_bits_;
         ++cluster) {
        if (cluster >= in_file_) referenced_past_end_ = true;
        roles_[cluster] = static_cast<std::uint8_t>(roles_[cluster] | static_cast<unsigned>(role));
        if (references_[cluster] >= most) ++full;
        else if (references_[cluster] < kMost) ++references_[cluster];
    }
    return full;
}

bool ClusterTally::overlaps(std::uint64_t cluster) const {
    const unsigned roles = roles_[cluster];
    return std::popcount(roles) > 1 || (references_[cluster] > 1 && (roles & ~kSharable) != 0);
}

std::string ClusterTally::roles(std::uint64_t cluster) const {
    std::string names;
    for (const auto& [role, name] : kRoleNames) {
        if ((roles_[cluster] & static_cast<unsigned>(role)) == 0) continue;
        names += names.empty() ? "" : " and ";
        names += name;
    }
    return names.empty() ? "nothing" : names;
}

} // namespace vdisk::qcow2
