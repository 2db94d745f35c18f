// SPDX-License-Identifier: Apache-2.0
/// A machine's guest state (.vmgs): what its firmware and its TPM keep. Source: Microsoft's OpenVMM, vm/vmgs, for
/// versions 3; for version 1, which lies in a partition of its own, one public reader's description.
#pragma once

#include "base/error.hpp"
#include "base/uuid.hpp"
#include "io/byte_source.hpp"

#include <array>
#include <string>
#include <vector>

namespace vdisk::hyperv {

/// One of the two copies of the header.
struct GuestStateHeader {
    std::uint64_t offset = 0;
    bool signature_good = false;
    bool blank = false; ///< nothing but zeros: not written yet
    std::string fault;  ///< why it can't be believed; empty if it can
    std::uint32_t version = 0;
    std::uint32_t sequence = 0;
    std::uint64_t table_offset = 0; ///< of the table of files, in bytes; 0 in version 1
    std::uint16_t algorithm = 0;    ///< 0: nothing is encrypted; 1: AES-GCM
    bool reprovisioned = false;     ///< the host asked for a new state
    /// The places for a key that opens the others, each enciphered by a key that is kept elsewhere: its nonce in
    /// hexadecimal digits, empty where the place is.
    std::array<std::string, 2> key_nonces{};

    [[nodiscard]] bool good() const noexcept { return !blank && fault.empty(); }
};

/// One of the files in it.
struct GuestStateFile {
    unsigned id = 0;
    std::uint64_t offset = 0;
    std::uint64_t allocated = 0; ///< bytes
    std::uint64_t size = 0;      ///< bytes that mean something
    bool encrypted = false;
    std::string nonce{}; ///< with which it is encrypted, in hexadecimal digits; may be empty
    std::string fault{}; ///< why its content can't be given; empty if it can, or is encrypted
};

/// "3.0" of 0x00030000.
[[nodiscard]] std::string guest_state_version(std::uint32_t version);

/// What the format calls a file: "BIOS_NVRAM"; empty for a number without a name.
[[nodiscard]] std::string_view guest_state_name(unsigned id) noexcept;

/// A parsed guest state. Read only; may be shared between threads.
class GuestState {
public:
    /// Errors: `not_this_format`, `unsupported` for a version that is not known, `corrupt` without a header or a table
    /// that can be believed, `truncated`, `io`.
    [[nodiscard]] static Result<GuestState> open(SourcePtr source);

    [[nodiscard]] std::uint32_t version() const noexcept { return headers_[active_].version; } ///< major << 16 | minor
    [[nodiscard]] const std::array<GuestStateHeader, 2>& headers() const noexcept { return headers_; }
    [[nodiscard]] std::size_t active() const noexcept { return active_; }  ///< the header that counts
    [[nodiscard]] const std::string& why() const noexcept { return why_; } ///< it does, a sentence
    [[nodiscard]] const std::vector<GuestStateFile>& files() const noexcept { return files_; }    ///< by their numbers
    [[nodiscard]] const std::vector<std::string>& findings() const noexcept { return findings_; } ///< what is wrong
    [[nodiscard]] const SourcePtr& source() const noexcept { return source_; }

    /// The file of that number, or nullptr.
    [[nodiscard]] const GuestStateFile* find(unsigned id) const noexcept;

    /// The bytes of one of files(). Errors: `unsupported` for an encrypted one, `corrupt` for one with a fault.
    [[nodiscard]] Result<SourcePtr> content(const GuestStateFile& file) const;

private:
    explicit GuestState(SourcePtr source) : source_(std::move(source)) {}
    Result<void> load();
    Result<void> load_version_1();
    Result<void> choose();
    Result<void> load_table();
    void judge_files();

    SourcePtr source_;
    std::array<GuestStateHeader, 2> headers_{};
    std::size_t active_ = 0;
    std::string why_;
    std::vector<GuestStateFile> files_;
    std::vector<std::string> findings_;
};

/// A variable of the guest's firmware.
struct UefiVariable {
    std::string name;
    Uuid vendor{};
    std::uint32_t attributes = 0; ///< as the UEFI specification numbers them
    std::uint64_t size = 0;       ///< of its value
    std::string time{};           ///< "2024-01-02T03:04:05"; empty: none was set
    std::uint64_t offset = 0;     ///< of its record in the file
    bool name_exact = true;       ///< the name is valid and ends as names do
};

struct UefiVariables {
    std::vector<UefiVariable> list;
    std::string fault; ///< why what follows them could not be read; empty if all was
};

/// The variables in a file BIOS_NVRAM. Memory is bounded by the size of `bytes`.
[[nodiscard]] UefiVariables parse_uefi_variables(std::span<const std::byte> bytes);

/// The names of the attributes: "NV+BS+RT"; bits without a name as a number.
[[nodiscard]] std::string uefi_attributes(std::uint32_t attributes);

} // namespace vdisk::hyperv
