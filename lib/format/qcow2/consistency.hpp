// SPDX-License-Identifier: Apache-2.0
/// Whether the places that the header and the snapshot table name can be what they are said to be. A table that is read
/// from a wrong place looks like an empty disk, so this is asked before a state is opened.
#pragma once

#include "format/qcow2/snapshots.hpp"

namespace vdisk::qcow2 {

/// One thing that can't be so: the field and its value, without the file's name.
struct Contradiction {
    HostOffset at{}; ///< where in the file the field stands, or the table that it names
    std::string what;
};

/// What a check found. What can't be read contradicts nothing: a check that needs it is left out, and a disk that needs
/// it has errors there.
struct Consistency {
    std::vector<Contradiction> contradictions{};
    std::vector<Remark> left_out{};
};

/// What the header says that can't be so. Nobody knows which of two fields that contradict each other is right, so each
/// of these makes all states unreadable. Reads the file only where the header alone is not enough.
[[nodiscard]] Consistency check_consistency(const Header& header, const ByteSource& file);

/// What speaks against the L1 table of one state: its offset, what else lies there, what it and the first L2 tables
/// have for entries, and L2 tables of another state that have one owner. `snapshots` may hold the state itself: the
/// `index`th disk is snapshot `index` - 1, the active state is 0.
[[nodiscard]] Consistency check_consistency(const Header& header, const SnapshotTable& snapshots, std::size_t index,
                                            const ByteSource& file);

/// The `index`th state, as above.
[[nodiscard]] State state_of(const Header& header, const SnapshotTable& snapshots, std::size_t index);

/// Whether an L1 table of at most 1 MiB, which lies in the file, has nothing but zeros: an empty disk, or no L1 table.
[[nodiscard]] Result<bool> is_empty(const Header& header, const State& state, const ByteSource& file);

} // namespace vdisk::qcow2
