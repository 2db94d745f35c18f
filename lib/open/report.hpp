// SPDX-License-Identifier: Apache-2.0
/// What `vdisk info` and the TSK backend's img_stat tell about a file.
#pragma once

#include "open/open.hpp"

namespace vdisk {

/// The file's own facts and its disks; works without any parent.
[[nodiscard]] Facts describe(const OpenedFile& file);

/// The same with the selected disk and the chain of files that it is really read from.
[[nodiscard]] Facts describe(const OpenedDisk& disk);

/// One disk of a file.
[[nodiscard]] Facts describe(const Disk& disk);

/// The size of a disk for people; "missing" of one whose file is not there, "unknown" where it can't be told.
[[nodiscard]] std::string shown_size(const Disk& disk);

/// What is known of one disk in a file, in one line of at most some 500 bytes: its kind, names, size, then facts as far
/// as they fit.
[[nodiscard]] std::string one_line(const Disk& disk);

/// A value that is neither list nor object, as people read it. A number under a key that ends in "size" or "bytes" is
/// shown with its unit.
[[nodiscard]] std::string value_text(std::string_view key, const Facts& value);

/// Facts as lines of text, nested ones indented; each value as value_text() has it.
[[nodiscard]] std::string to_text(const Facts& facts);

/// Whether what describe() told of a file says that something in it is damaged or lost.
[[nodiscard]] bool tells_damage(const Facts& facts);

/// describe()'s facts of `file` as text, without the list of disks where the only one is the file's own.
[[nodiscard]] std::string to_text(const OpenedFile& file, Facts facts);

/// DiskFile::audit and, behind it, what is odd about the chain of parents: findings of the kinds "parent-missing" and
/// "parent-mismatch". `options.progress` is told and may cancel.
[[nodiscard]] Result<AuditReport> audit_file(const OpenedFile& file, const OpenOptions& options);

} // namespace vdisk
