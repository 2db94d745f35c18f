// SPDX-License-Identifier: Apache-2.0
/// How changes are written: as text, JSON, CSV, or as a body file for mactime.
#pragma once

#include "diff_files/changes.hpp"

#include <memory>

namespace vdisk::diff_files {

/// Two states that were compared, and one place of a file system in both.
struct Step {
    std::string before, after; ///< the images as they were given, safe to show
};
struct SystemChanges {
    std::uint64_t offset = 0;            ///< on the disk, bytes
    std::string type_before, type_after; ///< empty: there is none
    std::vector<Change> changes{};
    std::vector<Area> areas{};
    std::vector<std::string> problems{}; ///< what of it could not be told
};

/// When a file was there: the numbers of the first and the last of the states, from 0.
struct Lifetime {
    std::uint64_t offset = 0; ///< of its file system
    std::string path;
    std::size_t first = 0, last = 0;
};

/// Writes to standard output, as it goes.
class Writer {
public:
    Writer() = default;
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    virtual ~Writer() = default;

    virtual void begin_step(const Step& /*step*/) {}
    virtual void write(const SystemChanges& system) = 0;
    /// Changes in no file system: bytes.
    virtual void end_step(std::uint64_t /*outside*/) {}
    /// Of a series, once, last: those files that were not there all the time.
    virtual void finish(const std::vector<std::string>& /*images*/, const std::vector<Lifetime>& /*lifetimes*/) {}
};

enum class Form : std::uint8_t { text, json, csv, body };

[[nodiscard]] std::unique_ptr<Writer> make_writer(Form form);

} // namespace vdisk::diff_files
