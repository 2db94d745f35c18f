// SPDX-License-Identifier: Apache-2.0
#include "hyperv/tree.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <map>
#include <numeric>

namespace vdisk::hyperv {

class TreeBuilder {
public:
    TreeBuilder(const std::vector<Key>& keys, const std::vector<KeyTable>& tables, Findings& findings)
        : keys_(keys), tables_(tables), findings_(findings) {}

    Tree run() {
        index_tables();
        find_parents();
        cut_cycles();
        sort_children();
        number_namesakes();
        return std::move(tree_);
    }

private:
    struct TableKeys {
        KeyId first = 0;
        KeyId end = 0;
    };

    std::uint64_t file_offset(KeyId id) const { return tables_[keys_[id].table].offset + keys_[id].entry.offset; }
    std::string shown(KeyId id) const { return printable(keys_[id].entry.name); }
    std::vector<KeyId>& tops(Tree::RootKind kind) { return tree_.tops_[static_cast<std::size_t>(kind)]; }

    void index_tables() {
        for (KeyId id = 0; id < keys_.size(); ++id) {
            TableKeys& range = by_index_.try_emplace(tables_[keys_[id].table].index, TableKeys{id, id}).first->second;
            range.end = id + 1;
        }
    }

    // The key that stands exactly there, or kNoKey.
    KeyId key_at(KeyPlace place) const {
        const auto table = by_index_.find(place.table);
        if (table == by_index_.end()) return kNoKey;
        const auto first = keys_.begin() + table->second.first;
        const auto end = keys_.begin() + table->second.end;
        const auto found = std::lower_bound(
            first, end, place.offset, [](const Key& key, std::uint32_t offset) { return key.entry.offset < offset; });
        if (found == end || found->entry.offset != place.offset) return kNoKey;
        return static_cast<KeyId>(found - keys_.begin());
    }

    void find_parents() {
        tree_.parent_.assign(keys_.size(), kNoKey);
        for (KeyId id = 0; id < keys_.size(); ++id) {
            const KeyPlace place = keys_[id].entry.parent;
            if (place == KeyPlace{}) {
                tops(Tree::RootKind::root).push_back(id);
                continue;
            }
            const KeyId parent = key_at(place);
            if (parent != kNoKey && keys_[parent].entry.type == KeyType::node) tree_.parent_[id] = parent;
            else add_orphan(id, parent);
        }
    }

    void add_orphan(KeyId id, KeyId parent) {
        const KeyPlace place = keys_[id].entry.parent;
        std::string why;
        if (!by_index_.contains(place.table)) why = fmt::format("there is no key table {}", place.table);
        else if (parent == kNoKey)
            why = fmt::format("offset {} of key table {} is not the start of a key", place.offset, place.table);
        else why = fmt::format("\"{}\" is of type {} and no node", shown(parent), to_string(keys_[parent].entry.type));
        tops(Tree::RootKind::orphan).push_back(id);
        findings_.add(
            {FindingKind::orphan, file_offset(id), fmt::format("\"{}\" has no parent: {}", shown(id), why), id});
    }

    // Follows each key up until a key that is known; one met twice on the way is in a circle.
    void cut_cycles() {
        std::vector<KeyId> seen_from(keys_.size(), kNoKey);
        for (KeyId start = 0; start < keys_.size(); ++start) {
            KeyId at = start;
            while (at != kNoKey && seen_from[at] == kNoKey) {
                seen_from[at] = start;
                at = tree_.parent_[at];
            }
            if (at != kNoKey && seen_from[at] == start) cut_cycle_of(at);
        }
        auto& cycles = tops(Tree::RootKind::cycle);
        std::sort(cycles.begin(), cycles.end());
    }

    void cut_cycle_of(KeyId member) {
        KeyId first = member;
        std::size_t length = 0;
        for (KeyId at = tree_.parent_[member]; ++length, at != member; at = tree_.parent_[at])
            first = std::min(first, at);
        tree_.parent_[first] = kNoKey;
        tops(Tree::RootKind::cycle).push_back(first);
        findings_.add({FindingKind::unreachable, file_offset(first),
                       fmt::format("\"{}\" is its own ancestor, over {} keys", shown(first), length), first});
    }

    void sort_children() {
        const auto by_sequence = [&](KeyId a, KeyId b) {
            return std::pair(keys_[a].entry.sequence, a) < std::pair(keys_[b].entry.sequence, b);
        };
        std::vector<KeyId> all(keys_.size());
        std::iota(all.begin(), all.end(), KeyId{0});
        std::sort(all.begin(), all.end(), by_sequence);
        auto& roots = tops(Tree::RootKind::root);
        std::sort(roots.begin(), roots.end(), by_sequence);

        // A counting sort by parent, which keeps the order of the sequence.
        tree_.first_.assign(keys_.size() + 1, 0);
        for (const KeyId parent : tree_.parent_)
            if (parent != kNoKey) ++tree_.first_[parent + 1];
        std::partial_sum(tree_.first_.begin(), tree_.first_.end(), tree_.first_.begin());
        tree_.order_.resize(tree_.first_.back());
        std::vector<std::uint32_t> next(tree_.first_.begin(), tree_.first_.end() - 1);
        for (const KeyId id : all)
            if (const KeyId parent = tree_.parent_[id]; parent != kNoKey) tree_.order_[next[parent]++] = id;
    }

    void number_namesakes() {
        tree_.occurrence_.assign(keys_.size(), 0);
        for (const std::vector<KeyId>& top : tree_.tops_) number(top);
        for (KeyId id = 0; id < keys_.size(); ++id) number(tree_.children(id));
    }

    void number(std::span<const KeyId> siblings) {
        std::vector<KeyId> sorted(siblings.begin(), siblings.end());
        std::stable_sort(sorted.begin(), sorted.end(),
                         [&](KeyId a, KeyId b) { return keys_[a].entry.name < keys_[b].entry.name; });
        for (std::size_t i = 1; i < sorted.size(); ++i) {
            if (keys_[sorted[i]].entry.name != keys_[sorted[i - 1]].entry.name) continue;
            std::uint32_t& before = tree_.occurrence_[sorted[i - 1]];
            if (before == 0) before = 1;
            tree_.occurrence_[sorted[i]] = before + 1;
        }
    }

    const std::vector<Key>& keys_;
    const std::vector<KeyTable>& tables_;
    Findings& findings_;
    std::map<std::uint16_t, TableKeys> by_index_;
    Tree tree_;
};

Tree Tree::build(const std::vector<Key>& keys, const std::vector<KeyTable>& tables, Findings& findings) {
    return TreeBuilder(keys, tables, findings).run();
}

Tree::RootKind Tree::root_kind(KeyId key) const {
    for (const RootKind kind : {RootKind::orphan, RootKind::cycle}) {
        const auto& list = tops(kind);
        if (std::binary_search(list.begin(), list.end(), key)) return kind;
    }
    return RootKind::root;
}

} // namespace vdisk::hyperv
