// SPDX-License-Identifier: Apache-2.0
/// Files of the operating system, opened read-only.
#pragma once

#include "base/system/file.hpp"
#include "io/byte_source.hpp"

#include <filesystem>
#include <optional>
#include <vector>

namespace vdisk {

/// Which kinds of file may be opened. A path that a person typed may be a block device; one that an image names may
/// not. A folder is a file without bytes, for formats that have folders.
enum class FileKinds : std::uint8_t { regular_only, regular_or_folder, regular_or_block_device, any_of_these };

class FileSource;
using FilePtr = std::shared_ptr<const FileSource>;

/// A part of a file that was cut, which lies at `start` of the whole.
struct FilePart {
    std::uint64_t start = 0;
    std::uint64_t length = 0;
    FilePtr file;                     ///< has `length` bytes; null where the bytes can't be had
    std::shared_ptr<const Error> why; ///< then
    std::filesystem::path path;
};

/// A file, opened O_RDONLY and read by pread(). The descriptor is closed with the object. The size is the one at
/// opening: a file that shrinks later gives `truncated` for what is gone. Or the parts of a file that was cut, read as
/// the one that they were: what is said of it is then said of the first part, if not of all.
class FileSource final : public ByteSource {
public:
    /// Never blocks on a FIFO or a terminal, which are `io` errors as all is that is not of these `kinds`.
    [[nodiscard]] static Result<FilePtr> open(const std::filesystem::path& path, FileKinds kinds);

    /// The same of what is open already, read-only, under the name `path`.
    [[nodiscard]] static Result<FilePtr> take(Descriptor descriptor, const std::filesystem::path& path,
                                              FileKinds kinds);

    /// One file out of its parts, which follow each other without a gap. The first has a file.
    [[nodiscard]] static FilePtr join(std::vector<FilePart> parts);

    /// `bytes` in the place of a file, which messages call `name`: for what a program reads by other ways than the
    /// system's. Never the same file as another; its content may change without a trace, as a block device's may.
    [[nodiscard]] static FilePtr over(SourcePtr bytes, const std::filesystem::path& name);

    /// The parts; none of a file that is one.
    [[nodiscard]] const std::vector<FilePart>& parts() const noexcept { return parts_; }
    /// The system's files that it is read from, in their order: itself, or the parts that are there.
    [[nodiscard]] std::vector<const FileSource*> files() const override;
    /// In itself or in its parts.
    [[nodiscard]] Origin origin(std::uint64_t offset, std::uint64_t wanted) const override;

    /// A run of bytes, > 0, not past the end of the file, that the file system stores, or of which it stores none: they
    /// are zeros.
    using Allocation = system::Stored;
    /// The run from `offset`, which must lie inside. All is stored where the file system does not tell, as of a block
    /// device; not to be asked of a file in parts.
    [[nodiscard]] Allocation allocation(std::uint64_t offset) const noexcept;

    [[nodiscard]] std::uint64_t size() const noexcept override { return size_; }
    [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override;
    /// A reason for each part that is missing.
    [[nodiscard]] Readability readability(std::uint64_t offset, std::uint64_t wanted) const override;
    [[nodiscard]] std::string_view name() const noexcept override { return name_; }

    [[nodiscard]] FileIdentity identity() const noexcept { return identity_; }
    /// The lasting_file_system() that the file is on.
    [[nodiscard]] std::uint64_t file_system() const noexcept;
    /// Last modification, nanoseconds since 1970.
    [[nodiscard]] std::int64_t modified() const noexcept { return modified_; }
    /// Last change of the content or of anything about the file, nanoseconds since 1970. Unlike modified(), nobody can
    /// put it back where change_times() are sure.
    [[nodiscard]] std::int64_t changed() const noexcept { return changed_; }
    [[nodiscard]] ChangeTimes change_times() const noexcept;
    /// False for a block device, or with one among the parts: its content changes without a trace in the times.
    [[nodiscard]] bool is_regular() const noexcept { return regular_; }
    /// Whether over() made it.
    [[nodiscard]] bool is_given() const noexcept { return given_ != nullptr; }
    [[nodiscard]] bool is_folder() const noexcept { return folder_; }
    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

    /// What another program did to the file since it was opened, in words ("its size was 512 and is 1024"); nothing if
    /// that can't be seen. For a block device nothing can.
    [[nodiscard]] std::optional<std::string> change() const;

    /// Whether another program says that it writes to the file or resizes it (system::has_writer()). Asks only.
    [[nodiscard]] bool has_writer() const noexcept;

private:
    FileSource(Descriptor descriptor, std::filesystem::path path);
    [[nodiscard]] const FilePart& part_at(std::uint64_t offset) const noexcept;
    [[nodiscard]] Result<std::size_t> read_parts(std::uint64_t offset, std::span<std::byte> out) const;

    Descriptor descriptor_; ///< closed where there are parts
    std::vector<FilePart> parts_;
    SourcePtr given_; ///< what is read in the place of the descriptor; null: that is
    std::filesystem::path path_;
    std::string name_;
    std::uint64_t size_ = 0;
    FileIdentity identity_{};
    std::int64_t modified_ = 0;
    std::int64_t changed_ = 0;
    bool regular_ = false;
    bool folder_ = false;
};

} // namespace vdisk
