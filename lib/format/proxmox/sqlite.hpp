// SPDX-License-Identifier: Apache-2.0
/// Rows of a table in an SQLite database, read in place, with what its write-ahead log holds. Nothing is opened for
/// writing and no file is made, as SQLite's own library would do for a log. Source: SQLite's "Database File Format".
#pragma once

#include "base/limits.hpp"
#include "io/byte_source.hpp"

#include <functional>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace vdisk::sqlite {

/// A column: NULL (and what is no integer and no bytes), an integer, or the bytes of a text or blob.
using Value = std::variant<std::monostate, std::int64_t, std::string>;

struct Row {
    std::int64_t id = 0; ///< the row's number, which stands for a column that is an INTEGER PRIMARY KEY
    std::vector<Value> columns;

    [[nodiscard]] std::int64_t integer(std::size_t column) const noexcept; ///< 0 if it is none
    [[nodiscard]] std::string text(std::size_t column) const;              ///< empty if it is none
};

constexpr std::string_view kMagic{"SQLite format 3\0", 16};

/// Holds the places of pages in the log. May be shared between threads.
class Database {
public:
    /// `log`: the file called as the database with "-wal" behind; may be null. What of it was not committed, or does
    /// not bear its checksums, is not applied, as SQLite does it. Errors: `not_this_format`, `unsupported` for texts
    /// that are not UTF-8, `corrupt`, `limit_exceeded`, `io`.
    [[nodiscard]] static Result<Database> open(SourcePtr file, SourcePtr log, const Limits& limits);

    /// Calls `take` with each row of a table that can be read, in their order. What can't be is told in `problems`; a
    /// row of more than Limits::registry_bytes is one. Errors: `corrupt` where there is no such table.
    [[nodiscard]] Result<void> read(std::string_view table, const Limits& limits,
                                    const std::function<void(const Row&)>& take,
                                    std::vector<std::string>& problems) const;

private:
    Database(SourcePtr file, SourcePtr log) : file_(std::move(file)), log_(std::move(log)) {}
    [[nodiscard]] Result<void> read_header();
    [[nodiscard]] Result<void> read_log();
    [[nodiscard]] Result<std::vector<std::byte>> page(std::uint32_t number) const;

    class Walk;

    SourcePtr file_;
    SourcePtr log_;
    std::uint32_t page_size_ = 0;
    std::uint32_t usable_ = 0; ///< bytes of a page
    std::uint64_t pages_ = 0;
    std::map<std::uint32_t, std::uint64_t> in_log_; ///< where in the log the last committed state of a page is
};

} // namespace vdisk::sqlite
