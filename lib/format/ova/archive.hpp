// SPDX-License-Identifier: Apache-2.0
/// The files in an OVA's archive, by name and as sources of bytes.
#pragma once

#include "format/ova/ovf.hpp"
#include "format/ova/tar.hpp"

#include <map>
#include <string_view>

namespace vdisk::ova {

/// `name` without "./" at its start, which some writers put there.
[[nodiscard]] std::string_view without_dot(std::string_view name) noexcept;

/// An archive and where in it what lies. Members are pointed to: it may be moved and not copied.
class Archive {
public:
    /// Errors: as read_members().
    [[nodiscard]] static Result<Archive> read(SourcePtr source, const Limits& limits);

    Archive(const Archive&) = delete;
    Archive& operator=(const Archive&) = delete;
    Archive(Archive&&) noexcept = default;
    Archive& operator=(Archive&&) noexcept = default;
    ~Archive() = default;

    [[nodiscard]] const Members& members() const noexcept { return members_; }
    [[nodiscard]] const SourcePtr& source() const noexcept { return source_; }

    /// The member of this name, or of the name that it is as a URI; the last of several, as tar unpacks them. nullptr
    /// if there is none.
    [[nodiscard]] const Member* find(std::string_view name) const;
    /// The first whose name ends so, in lower case; nullptr if there is none.
    [[nodiscard]] const Member* first_called(std::string_view extension) const;

    /// Whether the archive goes on to its end.
    [[nodiscard]] bool is_whole(const Member& member) const noexcept;

    /// What is there of it.
    [[nodiscard]] SourcePtr bytes_of(const Member& member) const;
    /// All of it: what the archive ends before is an error for its range.
    [[nodiscard]] SourcePtr all_of(const Member& member) const;
    /// Errors: `io`, `limit_exceeded` beyond Limits::registry_bytes.
    [[nodiscard]] Result<std::string> text_of(const Member& member, const Limits& limits) const;
    /// What messages call it.
    [[nodiscard]] std::string name_of(const Member& member) const;

private:
    Archive(SourcePtr source, Members members);

    SourcePtr source_;
    Members members_;
    std::map<std::string_view, const Member*, std::less<>> by_name_; ///< names and members of members_
};

/// A file that the archive holds in chunks: href.000000000, href.000000001, ... (DSP0243, 7.1). A chunk that is missing
/// or of another length is an error for its range. Errors: `corrupt`, `limit_exceeded` beyond Limits::search_files.
[[nodiscard]] Result<SourcePtr> joined_chunks(const Archive& archive, const OvfDisk& disk, const Limits& limits);

} // namespace vdisk::ova
