// SPDX-License-Identifier: Apache-2.0
/// What a careful reader notices in a HyperVStorage file.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdisk::hyperv {

/// A key of the tree, as an index; see Storage::key().
using KeyId = std::uint32_t;
inline constexpr KeyId kNoKey = 0xFFFFFFFF;

enum class FindingKind : std::uint8_t {
    dirty,
    duplicate_table_index,
    entry_checksum,
    entry_size_bad,
    entry_size_zero,
    file_object_range,
    file_object_size,
    file_object_unlisted,
    format_version,
    header_copy_bad,
    header_equal_sequence,
    key_table_checksum,
    key_table_range,
    key_table_signature,
    key_table_truncated,
    key_table_unlisted,
    log_count,
    log_data_checksum,
    log_entry_checksum,
    log_entry_destination,
    log_entry_range,
    log_header_checksum,
    log_missing,
    log_signature,
    name_range,
    name_unterminated,
    name_utf8,
    no_good_header,
    object_entry_checksum,
    object_table_count,
    object_table_loop,
    object_table_range,
    object_table_signature,
    object_table_truncated,
    orphan,
    table_tail,
    unknown_key_type,
    unreachable,
    value_range,
};
inline constexpr std::size_t kFindingKinds = static_cast<std::size_t>(FindingKind::value_range) + 1;

/// The stable name of a kind: "entry-checksum".
[[nodiscard]] std::string_view to_string(FindingKind kind) noexcept;

/// Kinds, as a set.
class FindingSet {
public:
    void add(FindingKind kind) noexcept { bits_ |= bit(kind); }
    [[nodiscard]] bool has(FindingKind kind) const noexcept { return (bits_ & bit(kind)) != 0; }
    [[nodiscard]] bool empty() const noexcept { return bits_ == 0; }
    [[nodiscard]] std::vector<FindingKind> list() const;

private:
    static_assert(kFindingKinds <= 64);
    static constexpr std::uint64_t bit(FindingKind kind) noexcept {
        return std::uint64_t{1} << static_cast<unsigned>(kind);
    }
    std::uint64_t bits_ = 0;
};

/// The faults that put a key's value in doubt; a reader marks the value with them. The others concern its name or how
/// it is stored, and the value is what the file says.
[[nodiscard]] bool doubts_value(FindingKind kind) noexcept;

struct Finding {
    FindingKind kind;
    std::uint64_t offset; ///< in the file
    std::string what;     ///< one line for people; says neither kind nor offset
    KeyId key = kNoKey;   ///< the key that it concerns, if it is one that is shown
};

class Findings {
public:
    template<class... Args>
    void add(FindingKind kind, std::uint64_t offset, fmt::format_string<Args...> format, Args&&... args) {
        list_.push_back({kind, offset, fmt::format(format, std::forward<Args>(args)...)});
    }
    void add(Finding finding) { list_.push_back(std::move(finding)); }
    [[nodiscard]] const std::vector<Finding>& list() const noexcept { return list_; }

private:
    std::vector<Finding> list_;
};

} // namespace vdisk::hyperv
