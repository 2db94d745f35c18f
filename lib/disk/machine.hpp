// SPDX-License-Identifier: Apache-2.0
/// A virtual machine as its settings describe it, whatever the hypervisor: what an examiner asks first, and the drives
/// now and at each checkpoint. The readers of machines' files fill it in; what a text holds is as stored.
#pragma once

#include "base/facts.hpp"
#include "disk/references.hpp"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace vdisk {

/// A drive of a machine and what is in it.
struct Drive {
    enum class Kind : std::uint8_t {
        disk,   ///< a hard disk
        cdrom,  ///< removable
        floppy, ///< removable
        state,  ///< a small disk for the firmware's variables or a TPM's state
    };
    std::string name;         ///< the machine's own for it, unique in one state: "scsi0:0", "vda"
    Kind kind = Kind::disk;   ///< what it holds
    std::string controller;   ///< "SATA", "scsi0"; may be empty
    std::string port;         ///< on the controller; may be empty
    std::string file;         ///< the medium as the host names it; empty: there is none
    std::string identifier{}; ///< of the medium, where the machine knows it by one
    BackingName where{};      ///< where that may be; no paths: no file that could be opened
    NameSearch search{};
    std::string format{};   ///< of the file, as the host states it; empty: to be detected
    std::string snapshot{}; ///< inside the file; empty: the state that was written last
    std::string base{};  ///< what the file's content is changes to, in words: the file must name it; empty: not known
    bool packed = false; ///< the file is compressed, whatever its format
    std::optional<std::uint64_t> file_bytes{}; ///< the file's size as the machine knows it
    std::optional<std::uint64_t> disk_bytes{}; ///< the disk's
    std::string problem{};            ///< why it can't be opened, whatever is found; empty if nothing speaks against
    std::filesystem::path registry{}; ///< FoundFile::registry
    Facts facts = Facts::object();    ///< what else is known of it

    [[nodiscard]] bool is_removable() const noexcept { return kind == Kind::cdrom || kind == Kind::floppy; }
};

/// A stable word for a kind.
[[nodiscard]] std::string_view to_string(Drive::Kind kind) noexcept;

/// The machine at one time.
struct MachineState {
    std::string id{};   ///< of the checkpoint; may be empty
    std::string name{}; ///< of the checkpoint
    std::string
        parent{};       ///< id of the checkpoint that it was made upon, or its name where they have none; may be empty
    std::string time{}; ///< "2024-01-02T03:04:05Z"; may be empty
    std::vector<Drive> drives{};
    Facts facts = Facts::object(); ///< what else is known of it

    /// What `parent` of another one says.
    [[nodiscard]] const std::string& key() const noexcept { return id.empty() ? name : id; }
};

struct NetworkAdapter {
    std::string name{};    ///< "ethernet0"
    std::string model{};   ///< "e1000"; may be empty
    std::string mac{};     ///< "52:54:00:12:34:56"; empty: not told
    std::string network{}; ///< what it is connected to; may be empty
};

struct Machine {
    static constexpr std::string_view kNotTold = "not told";

    std::string name{};
    std::string id{};
    std::string owner{};
    std::string notes{};
    std::string created{};                 ///< "2024-01-02T03:04:05Z"
    std::string system{};                  ///< the guest's operating system, as the hypervisor calls it
    std::string firmware{};                ///< "BIOS" or "UEFI"
    std::optional<std::uint64_t> memory{}; ///< bytes
    std::optional<std::uint64_t> processors{};
    std::optional<bool> secure_boot{};
    std::optional<bool> tpm{};
    std::string encrypted{}; ///< what of it is, in words; kNotTold where settings can't say; empty: nothing is
    std::vector<NetworkAdapter> adapters{};
    std::vector<Drive> drives{}; ///< now
    std::string parent{};        ///< MachineState::key() of the checkpoint that `drives` follow; may be empty
    std::vector<MachineState> checkpoints{}; ///< parents before their children
    std::vector<Drive> unattached{};     ///< known to the machine and in none of its drives now; often in checkpoints
    std::vector<std::string> files{};    ///< others that were read: snapshot databases
    std::vector<std::string> problems{}; ///< what could not be read, in words
    Facts facts = Facts::object();       ///< what else is known of it

    /// Puts parents before their children, each checkpoint behind the one that it was made upon; those whose parent is
    /// not there, or that are their own ancestors, come as if they had none.
    void sort_checkpoints();
};

/// What of it can be told without its disks.
[[nodiscard]] Facts describe(const Machine& machine);

/// "52:54:00:12:34:56" of twelve hexadecimal digits, with whatever stands between them; `text` if it is none.
[[nodiscard]] std::string mac_address(std::string_view text);

/// Bytes of memory that settings tell in mebibytes; nothing if that is no number or beyond all reason.
[[nodiscard]] std::optional<std::uint64_t> memory_in_mebibytes(std::string_view text) noexcept;

/// The names of a machine's drives, each of them another one.
class DriveNames {
public:
    /// `wanted`; where that is empty or taken, `word` and the first number from `number` on that makes a new one.
    /// `number` never goes down.
    [[nodiscard]] std::string unique(std::string wanted, std::string_view word, std::size_t number);

    [[nodiscard]] std::size_t size() const noexcept { return taken_.size(); }

private:
    std::set<std::string> taken_;
    std::map<std::string, std::size_t> next_; ///< by words: from where on numbers may be free
};

/// Error: `limit_exceeded` if `count` media or checkpoints, which `name` tells of, are more than Limits::machine_media.
[[nodiscard]] Result<void> check_media(std::size_t count, std::string_view name, const Limits& limits);

/// The whole text of a machine's settings file. Errors: `limit_exceeded` beyond Limits::registry_bytes, `io`.
[[nodiscard]] Result<std::string> read_settings(const ByteSource& source, const Limits& limits);

} // namespace vdisk
