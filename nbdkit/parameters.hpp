// SPDX-License-Identifier: Apache-2.0
/// What `nbdkit vdisk` was told on its command line.
#pragma once

#include <string>
#include <string_view>

namespace vdisk::nbd {

/// file=, format= and the keys of a selector, gathered one by one.
class Parameters {
public:
    /// Takes one parameter, making paths absolute, because a server leaves the folder that it was started in. False for
    /// a key that is unknown, given twice or without a value; nbdkit has been told why then.
    bool set(std::string_view key, const char* value);

    /// PATH#SELECTOR, as libvdisk takes it; empty if there was no file=.
    [[nodiscard]] std::string path() const;

    /// What to read the file as; empty: detect it.
    [[nodiscard]] const std::string& format() const noexcept { return format_; }

    /// Whether one disk in the file was asked for.
    [[nodiscard]] bool selects_a_disk() const;

private:
    bool file_has_selector() const;

    std::string file_;
    std::string format_;
    std::string selector_; ///< key=value,key=value
    bool disk_named_ = false;
};

} // namespace vdisk::nbd
