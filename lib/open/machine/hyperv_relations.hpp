// SPDX-License-Identifier: Apache-2.0
/// Which of Hyper-V's configurations are checkpoints of which machine, and what each was made upon.
#pragma once

#include "disk/format.hpp"
#include "disk/machine.hpp"
#include "hyperv/machine.hpp"

#include <optional>
#include <span>
#include <vector>

namespace vdisk::hyperv_machine {

/// The drives of a configuration that have a medium, or may have one.
[[nodiscard]] std::vector<Drive> drives_of(const hyperv::Machine& machine);

/// A configuration, of a machine or of a checkpoint.
struct Configuration {
    hyperv::Machine machine;
    std::vector<Drive> drives;                    ///< as drives_of() has them
    std::shared_ptr<const References> references; ///< the gate beside its file; never null
    bool is_machine = false;                      ///< else it may be a checkpoint
};

/// How one stands to the others; numbers are places in the list that relate() was given.
struct Relation {
    std::optional<std::size_t> machine{}; ///< whose checkpoint it is; a machine's own number
    std::optional<std::size_t> after{};   ///< the checkpoint that its disks stand upon
};

/// One for each configuration. A checkpoint is of the machine that lists its id or whose id it has; if it has none,
/// of one whose disks stand upon its own. What was made upon what only the chains of disks tell: no key is known that
/// does. Opens each disk and its parents through the gates, each file once; what is not found relates to nothing.
[[nodiscard]] std::vector<Relation> relate(std::span<const Configuration> all, const OpenContext& context);

} // namespace vdisk::hyperv_machine
