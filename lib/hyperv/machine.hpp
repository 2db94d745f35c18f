// SPDX-License-Identifier: Apache-2.0
/// What a configuration says about the machine: what an examiner asks first.
#pragma once

#include "base/limits.hpp"
#include "hyperv/storage.hpp"

namespace vdisk::hyperv {

/// The instance of the one IDE controller, which machines of generation 1 have.
inline constexpr std::string_view kIdeController = "83f8638b-8dca-4152-9eda-2ca8b33039b4";

/// The instance in the name of a device's key: "_83f8638b-..._" without its underscores; empty if it is no such name.
[[nodiscard]] std::string instance_in(std::string_view name);

/// The seconds since 1970 at a FILETIME.
[[nodiscard]] std::int64_t unix_time(std::uint64_t file_time) noexcept;

struct Drive {
    std::string path;       ///< of its key
    std::string device;     ///< the controller's instance, "83f8638b-..."; empty if not known
    std::string controller; ///< what the manifest calls that device, or its key's name
    std::string location;   ///< "controller0/drive1"
    std::string type;       ///< VHD, ISO, VFD, PHYSICAL, NONE, ...
    std::string file;       ///< empty: no medium
};

struct NetworkAdapter {
    std::string path;
    std::string device;
    std::string name;
    std::string mac_address;
    std::optional<bool> mac_is_static;
    std::string switch_name;
    std::optional<bool> connected;
};

/// A file or pipe that is no drive: the guest state file, a serial port.
struct OtherFile {
    std::string path;
    std::string what;
    std::string file;
};

/// A machine or a checkpoint that a host's list (data.vmcx) names.
struct ListedMachine {
    std::string id;   ///< GUID
    std::string file; ///< of its configuration, on the host
    bool checkpoint = false;
};

struct Machine {
    std::string name;
    std::string id;
    std::string type; ///< "Virtual Machines", or of a checkpoint "Snapshots"
    std::string notes;
    std::string owner;                      ///< SID
    std::string logical_id{};               ///< of the machine, in its checkpoints' configurations too; may be empty
    std::vector<std::string> checkpoints{}; ///< ids of those that the machine lists
    std::optional<unsigned> generation;
    std::optional<std::int64_t> version; ///< (major << 8) | minor of the configuration
    std::optional<std::int64_t> created; ///< seconds since 1970
    std::optional<std::int64_t> memory_mib, least_memory_mib, most_memory_mib;
    std::optional<bool> dynamic_memory;
    std::optional<std::int64_t> processors;
    std::optional<bool> nested_virtualization;
    std::optional<bool> secure_boot;
    std::optional<bool> tpm{};             ///< a virtual one
    std::optional<bool> shielded{};        ///< shielding is asked for
    std::optional<bool> encrypted_state{}; ///< saved states and the traffic of migrations are to be encrypted
    std::vector<Drive> drives;
    std::vector<NetworkAdapter> adapters;
    std::vector<OtherFile> files;
    std::vector<ListedMachine> listed;

    /// Paths of keys that belong to the above and whose values are in doubt or could not be read.
    std::vector<std::string> doubtful;

    /// Whether there is anything of a machine, but for doubts.
    [[nodiscard]] bool is_there() const noexcept;
};

/// What an XML configuration of Windows Server 2008 to 2012 R2 says in the keys of the same names. Errors:
/// `not_this_format` without a configuration, `limit_exceeded` beyond Limits::machine_media drives; what breaks off
/// gives what stands before that, with the place in `doubtful`.
[[nodiscard]] Result<Machine> describe_xml(std::string_view text, std::string_view name, const Limits& limits);

/// Gathers what can be read; drives and adapters also among keys that have lost their parents.
[[nodiscard]] Machine describe_machine(const Storage& storage);

} // namespace vdisk::hyperv
