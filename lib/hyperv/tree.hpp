// SPDX-License-Identifier: Apache-2.0
/// The keys as a forest: who is whose child, in which order, and which can't be placed.
#pragma once

#include "hyperv/key_table.hpp"

#include <array>

namespace vdisk::hyperv {

/// A key: its entry, and the key table (an index of KeyTables::live) that it stands in.
struct Key {
    KeyEntry entry;
    std::uint32_t table = 0;
};

/// Built once, then read only. Children stand in the order of their insertion sequence; siblings may share a name.
class Tree {
public:
    /// How a key comes to have no parent.
    enum class RootKind : std::uint8_t {
        root,   ///< a root key
        orphan, ///< its parent reference leads nowhere, or to what is no node
        cycle,  ///< it is its own ancestor; the circle is cut at its physically first key
    };

    /// `keys` in physical order, table after table of `tables`. Adds orphans and cycles to `findings`.
    static Tree build(const std::vector<Key>& keys, const std::vector<KeyTable>& tables, Findings& findings);

    [[nodiscard]] std::span<const KeyId> children(KeyId key) const { return range(first_[key], first_[key + 1]); }
    [[nodiscard]] const std::vector<KeyId>& tops(RootKind kind) const noexcept {
        return tops_[static_cast<std::size_t>(kind)];
    }
    /// kNoKey for a key that is in tops().
    [[nodiscard]] KeyId parent(KeyId key) const { return parent_[key]; }
    /// Of a key without a parent.
    [[nodiscard]] RootKind root_kind(KeyId key) const;
    /// Which of its siblings of the same name a key is, from 1; 0 if it is the only one.
    [[nodiscard]] std::uint32_t occurrence(KeyId key) const { return occurrence_[key]; }

private:
    friend class TreeBuilder;
    [[nodiscard]] std::span<const KeyId> range(std::size_t from, std::size_t to) const {
        return std::span(order_).subspan(from, to - from);
    }

    std::vector<KeyId> parent_;
    std::vector<KeyId> order_;         ///< children, parent after parent
    std::vector<std::uint32_t> first_; ///< where in order_ a key's children begin; one more at the end
    std::vector<std::uint32_t> occurrence_;
    std::array<std::vector<KeyId>, 3> tops_;
};

} // namespace vdisk::hyperv
