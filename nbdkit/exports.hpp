// SPDX-License-Identifier: Apache-2.0
/// The disks of a file as named exports.
#pragma once

#include <vdisk.h>

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace vdisk::nbd {

using DiskPtr = std::shared_ptr<const vdisk_disk>;

/// One disk of the file. Clients that read it at the same time share one open disk, and so its caches.
class Export {
public:
    Export(std::string name, std::string description, std::size_t index)
        : name_(std::move(name)), description_(std::move(description)), index_(index) {}

    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] const std::string& description() const noexcept { return description_; }

    /// The open disk; null on an error, told by vdisk_last_error(). Thread-safe.
    [[nodiscard]] DiskPtr open(const vdisk_file& file);

private:
    std::string name_;
    std::string description_;
    std::size_t index_;
    std::mutex mutex_;
    std::weak_ptr<const vdisk_disk> disk_;
};

/// All disks of a file, each under a name of its own.
class Exports {
public:
    /// Opens the file that `path` (PATH#SELECTOR) names and lists its disks; null on an error, told by
    /// vdisk_last_error().
    static std::unique_ptr<Exports> open(const std::string& path, const std::string& format);

    [[nodiscard]] const std::deque<Export>& all() const noexcept { return exports_; }

    /// The export of that name, or null.
    [[nodiscard]] Export* find(std::string_view name) const;

    /// The export of the disk that the path selects, or null: vdisk_last_error() then says what there is to choose
    /// from.
    [[nodiscard]] const Export* selected() const;

    /// Whether the disk that the path selects opens, or, with `any`, at least one of all; else vdisk_last_error() says
    /// why not. Nothing stays open.
    [[nodiscard]] bool opens(bool any);

    [[nodiscard]] const vdisk_file& file() const noexcept { return *file_; }

private:
    using FilePtr = std::unique_ptr<vdisk_file, decltype(&vdisk_file_close)>;
    explicit Exports(FilePtr file);
    [[nodiscard]] std::string free_name(const vdisk_disk_info& info, std::size_t index) const;

    FilePtr file_;
    std::deque<Export> exports_; ///< stays where it is as it grows: an Export can't be moved
    std::unordered_map<std::string_view, Export*> by_name_;
};

} // namespace vdisk::nbd
