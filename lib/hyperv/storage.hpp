// SPDX-License-Identifier: Apache-2.0
/// A HyperVStorage file (.vmcx, .vmrs, .vsv): the one door to this folder.
///
/// Opening reads and verifies all that the tree needs; values in file objects are read when asked for. Whatever is
/// wrong is a Finding and what can be had in spite of it is there; an error means that there is nothing to show. Memory
/// is bounded by the file's size, and nothing is recursive. A Storage is read only and may be shared between threads.
#pragma once

#include "hyperv/header.hpp"
#include "hyperv/object_table.hpp"
#include "hyperv/replay_log.hpp"
#include "hyperv/tree.hpp"

#include <map>

namespace vdisk::hyperv {

struct ReadOptions {
    /// Show the committed state: pending entries of the replay log count as written. Else the file as it lies.
    bool replay = true;

    /// Also read format versions whose layout is not known, go on behind damaged entries at the next one that verifies,
    /// and take key tables that no object table lists.
    bool best_effort = false;
};

class Storage {
public:
    /// `not_this_format`, `unsupported` (another format version), `truncated` or `io` if nothing can be shown.
    [[nodiscard]] static Result<std::shared_ptr<const Storage>> open(SourcePtr source, const ReadOptions& options = {});

    /// The file with its log applied, if it was.
    [[nodiscard]] const SourcePtr& source() const noexcept { return source_; }
    /// The file as it lies.
    [[nodiscard]] const SourcePtr& raw_source() const noexcept { return raw_; }

    [[nodiscard]] const Headers& headers() const noexcept { return headers_; }
    [[nodiscard]] const ReplayLog& log() const noexcept { return log_; }
    [[nodiscard]] bool log_applied() const noexcept { return source_ != raw_; }
    [[nodiscard]] const ObjectTables& objects() const noexcept { return objects_; }
    [[nodiscard]] const KeyTables& key_tables() const noexcept { return tables_; }
    [[nodiscard]] const std::vector<Finding>& findings() const noexcept { return findings_.list(); }

    /// One behind the last byte that the header and the object tables give a use. A file may end before that without a
    /// loss: where the replay log is clean, Hyper-V itself does not always write its region whole.
    [[nodiscard]] std::uint64_t told_size() const noexcept;

    /// All keys that could be read, free entries not among them.
    [[nodiscard]] const std::vector<Key>& keys() const noexcept { return keys_; }
    [[nodiscard]] const Key& key(KeyId id) const { return keys_[id]; }
    [[nodiscard]] const KeyTable& table_of(KeyId id) const { return tables_.live[keys_[id].table]; }
    [[nodiscard]] const Tree& tree() const noexcept { return tree_; }

    /// Bytes of a value, without length prefix; of a damaged one as many as there are.
    [[nodiscard]] std::uint64_t value_size(KeyId id) const;
    /// Fills `out` from `offset` of the value; returns how many bytes that were, fewer than asked only at its end.
    [[nodiscard]] Result<std::size_t> read_value(KeyId id, std::uint64_t offset, std::span<std::byte> out) const;
    /// The whole value.
    [[nodiscard]] Result<std::vector<std::byte>> value(KeyId id) const;

private:
    Storage(SourcePtr source, const ReadOptions& options)
        : raw_(source), source_(std::move(source)), options_(options) {}

    Result<void> load();
    Result<void> recognise() const;
    Result<void> load_log();
    Result<void> load_tables();
    void load_keys(std::uint32_t table);
    void take_entries(std::uint32_t table, std::vector<KeyEntry>& entries);
    void judge_entries();
    void judge_pointer(KeyId id);

    SourcePtr raw_;
    SourcePtr source_;
    ReadOptions options_;
    Headers headers_;
    ReplayLog log_;
    ObjectTables objects_;
    KeyTables tables_;
    std::map<std::uint64_t, std::uint32_t> file_objects_; ///< offset to size
    std::vector<Key> keys_;
    Tree tree_;
    Findings findings_;
};

using StoragePtr = std::shared_ptr<const Storage>;

} // namespace vdisk::hyperv
