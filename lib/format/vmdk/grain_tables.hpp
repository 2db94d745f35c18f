// SPDX-License-Identifier: Apache-2.0
/// The directory and the tables of a sparse extent, in one or two copies: what they say of each grain.
#pragma once

#include "format/vmdk/sparse.hpp"
#include "image/block_cache.hpp"

#include <functional>

namespace vdisk::vmdk {

/// What an entry says of a grain.
struct Grain {
    enum class Kind : std::uint8_t {
        absent,   ///< not in this file: the parent's bytes
        zero,     ///< zeros, also over a parent
        stored,   ///< at `host`, which lies inside the file
        no_table, ///< the directory's entry leads to no table: out of the file, or over its header, text or directories
        outside,  ///< at `host`, which is past the file's end
        invalid,  ///< the entry is none
    };

    Kind kind = Kind::absent;
    std::uint64_t raw = 0;  ///< the entry; for no_table the directory's
    std::uint64_t host = 0; ///< byte in the file; of a compressed grain that of its marker
    [[nodiscard]] bool is_damaged() const noexcept { return kind >= Kind::no_table; }
    friend bool operator==(const Grain&, const Grain&) = default;
};

/// Which of the two directories, each with tables of its own.
enum class Copy : std::uint8_t { first, second };

/// Reads entries through the shared metadata cache. Thread-safe.
class GrainTables {
public:
    /// `sparse` must have a directory.
    GrainTables(Sparse sparse, SourcePtr file, CachesPtr caches)
        : sparse_(std::move(sparse)), file_(file), table_(std::move(file), std::move(caches)) {}

    [[nodiscard]] const Sparse& sparse() const noexcept { return sparse_; }
    [[nodiscard]] const ByteSource& file() const noexcept { return *file_; }
    [[nodiscard]] bool has(Copy copy) const noexcept { return copy == Copy::first || sparse_.redundant.has_value(); }

    /// Where tables lie, from number `first` on: each `absent`, `stored` or `no_table`, as a Grain. Errors: `io`.
    [[nodiscard]] Result<std::vector<Grain>> tables(Copy copy, std::uint64_t first, std::uint64_t count) const;

    /// What `count` entries from grain `first` on say, all of one table. Errors: `io`.
    [[nodiscard]] Result<std::vector<Grain>> grains(Copy copy, std::uint64_t first, std::uint64_t count) const;

    /// What the file's last byte that a grain may have is bounded by: what it claims, whole as all writers store it.
    [[nodiscard]] Claim claim_of(std::uint64_t number, const Grain& grain) const noexcept;

private:
    [[nodiscard]] Grain decode_table(std::uint64_t raw, std::uint64_t directory) const noexcept;
    [[nodiscard]] bool lies_over_structures(std::uint64_t table, std::uint64_t directory) const noexcept;
    [[nodiscard]] Grain decode(std::uint64_t raw) const noexcept;
    [[nodiscard]] Grain decode_se(std::uint64_t raw) const noexcept;

    Sparse sparse_;
    SourcePtr file_;
    CachedTable table_;
};

/// Told of the directories' entries, one table after the other; of both copies where there are two.
using TableVisitor = std::function<Result<void>(std::uint64_t number, const Grain& first, const Grain& second)>;

/// Visits the first `most` tables, or all. Errors: `io`, and the visitor's.
[[nodiscard]] Result<void> visit_tables(const GrainTables& tables, std::uint64_t most, const TableVisitor& visit);

/// Told of entries one after the other, of both copies where there are two.
using GrainVisitor = std::function<Result<void>(std::uint64_t number, const Grain& first, const Grain& second)>;

/// Visits the entries of the tables that are there in either copy, in ascending order, until `most_bytes` of the tables
/// were read. Whether that were all. Errors: `io`, and the visitor's.
[[nodiscard]] Result<bool> visit_grains(const GrainTables& tables, std::uint64_t most_bytes, const GrainVisitor& visit);

/// What the tables as a whole say.
struct Survey {
    HostRanges structures{}; ///< headers and tables: no grain lies over them
    HostRanges contested{};  ///< what more than one grain has: none of these is believed
    HostRanges taken{};      ///< what any grain has, as far as both copies agree
    bool complete = false;   ///< whether all tables were looked at
    std::vector<Remark> remarks{};

    [[nodiscard]] bool has_other_owner(const Claim& claim) const noexcept {
        return structures.touch(claim.offset, claim.length) || contested.touch(claim.offset, claim.length);
    }
};

/// Looks at no more tables than Limits::survey_bytes. Error: `io`.
[[nodiscard]] Result<Survey> survey(const GrainTables& tables, const Limits& limits);

/// What is to be believed of a grain of which the copies say this: what both say, what one says where the other one can
/// not be right, a grain rather than none. `disputed` where each could be right. `survey` tells what other grains have.
struct Verdict {
    Grain grain{};
    bool disputed = false;
    bool rescued = false; ///< the second copy's
    bool guessed = false; ///< nothing but that it names a grain speaks for it
};
[[nodiscard]] Verdict judge(const GrainTables& tables, const Survey& survey, std::uint64_t number, const Grain& first,
                            const Grain& second);

/// What the header, both directories and the first `most` tables take up. Errors: `io`.
[[nodiscard]] Result<std::vector<Claim>> structures(const GrainTables& tables, std::uint64_t most);

} // namespace vdisk::vmdk
