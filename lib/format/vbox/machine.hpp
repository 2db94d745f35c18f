// SPDX-License-Identifier: Apache-2.0
/// VirtualBox's XML files, as far as they are about disks: `<machine>.vbox` and the user's `VirtualBox.xml`.
#pragma once

#include "base/limits.hpp"
#include "base/uuid.hpp"
#include "disk/machine.hpp"

#include <filesystem>
#include <memory>
#include <vector>

namespace vdisk::vbox {

/// What an encrypted medium is enciphered with, as stored.
struct MediumKey {
    std::string id;    ///< what its password is called
    std::string store; ///< for KeyStore::parse()
};

/// One HardDisk of the media registry.
struct Medium {
    Uuid uuid{};
    Uuid parent{}; ///< null: a base image
    std::string
        location;       ///< as stored: perhaps relative to the XML file, perhaps a Windows path; empty if beyond Limits
    std::string format; ///< as stored: "VDI", "VMDK", ...
    bool encrypted = false;                 ///< its blocks are enciphered, which the image itself does not tell
    std::shared_ptr<const MediumKey> key{}; ///< with which, where that is known; its own or the nearest ancestor's
};

/// A medium at a controller's port.
struct Attachment {
    std::string port; ///< "SATA-0-0": controller, port, device
    Uuid medium{};
};

/// A drive for removable media.
struct RemovableDrive {
    std::string port;
    bool floppy = false;
    std::string medium; ///< where the image is, as stored, or the host's drive; empty: none
};

/// What was attached at one time: now, or when a snapshot was made.
struct MachineState {
    bool is_snapshot = false;
    Uuid uuid{};      ///< the snapshot's
    Uuid parent{};    ///< the snapshot that it was made upon; null for the first
    std::string name; ///< the snapshot's
    std::string time; ///< as stored
    std::vector<Attachment> attachments;
    std::vector<RemovableDrive> removable{};
};

/// Values are as stored, bounded by the file's size; they have passed no check.
struct Machine {
    Uuid uuid{};
    std::filesystem::path file;
    std::filesystem::path folder;          ///< where the XML file lies
    std::filesystem::path snapshot_folder; ///< as stored; empty in VirtualBox.xml
    std::vector<Medium> media;             ///< parents before their children
    std::vector<MachineState> states;      ///< the current one, then the snapshots, parents before their children
    Uuid current{};                        ///< the snapshot that the current state follows; null: none
    vdisk::Machine described{};            ///< all that is not about disks
    std::string damage;                    ///< why the XML could be read in part only; empty if it is whole

    /// Reads what can be read: XML that breaks off gives what stands before that. Errors: `not_this_format` where no
    /// VirtualBox element is found, `limit_exceeded`, `io`.
    [[nodiscard]] static Result<Machine> parse(const ByteSource& source, const std::filesystem::path& file,
                                               const Limits& limits);

    /// The medium of that name, or nullptr.
    [[nodiscard]] const Medium* find(const Uuid& wanted) const noexcept;
};

} // namespace vdisk::vbox
