// SPDX-License-Identifier: Apache-2.0
/// What a check of a file's bookkeeping found: contradictions, damage, and bytes in the file that nothing refers to.
#pragma once

#include "base/address.hpp"
#include "base/facts.hpp"
#include "base/limits.hpp"
#include "disk/remark.hpp"
#include "io/progress.hpp"

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdisk {

enum class Severity : std::uint8_t {
    note,    ///< legal, and worth an examiner's look
    warning, ///< the bookkeeping is wrong, but every guest byte can be read and is the right one
    error,   ///< guest bytes can't be read, or can't be trusted
};

/// A stable word for a severity, for JSON.
std::string_view to_string(Severity severity) noexcept;

/// Where a finding is. What does not apply stays away.
struct Place {
    std::optional<HostOffset> host{};   ///< in the file that is audited
    std::string disk{};                 ///< which virtual disk, where the file has several: its name, valid UTF-8
    std::optional<GuestOffset> guest{}; ///< on the virtual disk
    std::uint64_t length = 0;           ///< bytes there, on the disk if `guest` is known; 0: just the place
};

/// Bytes of a virtual disk, [offset, offset + length).
struct DiskRange {
    std::string disk{}; ///< as Place::disk
    GuestOffset offset{};
    std::uint64_t length = 0;
};

struct Finding {
    Severity severity = Severity::note;
    std::string_view kind; ///< a stable word with static storage: "leaked", "shared-block"; one severity each
    Place place{};
    std::string text; ///< one line for people; valid UTF-8
    /// Where the bytes at `place.host` are read on the disks, where that had to be looked for: what not to trust.
    std::vector<DiskRange> read_at{};
    bool read_elsewhere_too = false; ///< there are more such ranges than Limits::finding_ranges
};

/// Bytes of the audited file, [offset, offset + length).
struct HostRange {
    HostOffset offset{};
    std::uint64_t length = 0;
};

/// What an audit is to look at.
struct AuditRequest {
    Progress progress{};   ///< is told and may cancel
    bool leftovers = true; ///< also what no disk shows, whether there is anything in it; else metadata alone is read
};

/// The outcome of DiskFile::audit. Bounded in memory however damaged the file is: of each kind all are counted and only
/// the first Limits::audit_findings are kept.
class AuditReport {
public:
    struct Count {
        Severity severity = Severity::note;
        std::uint64_t number = 0;
    };

    explicit AuditReport(const Limits& limits) : limits_(limits) {}

    /// Counts one finding of `kind` and keeps it if there is room; the text is made only then.
    template<class... Args>
    void add(Severity severity, std::string_view kind, Place place, fmt::format_string<Args...> format,
             Args&&... args) {
        if (count(severity, kind))
            findings_.push_back({severity, kind, place, fmt::format(format, std::forward<Args>(args)...)});
    }

    /// Each of `remarks` as a finding: a doubt as an error of one kind, a note as a note of another.
    void add(std::span<const Remark> remarks, std::string_view doubt_kind, std::string_view note_kind);

    /// The findings about one of the disks in a file, as an audit of the file that it is in `part` made them. `start`:
    /// where that file lies in this one; nothing if it does not lie there in one piece.
    void add_disk(const AuditReport& part, std::string_view disk, std::optional<std::uint64_t> start);

    /// Counts `number` more findings of `kind` of which nothing else is known any more.
    void count_more(Severity severity, std::string_view kind, std::uint64_t number);

    /// Notes that nothing refers to these bytes. Call it in ascending order of offsets, without overlaps; ranges that
    /// touch become one. It makes no finding: say by add() what it means. Error: `limit_exceeded` beyond
    /// Limits::audit_ranges.
    [[nodiscard]] Result<void> leak(HostOffset offset, std::uint64_t length);

    /// Adds to the `index`th of the findings() where its bytes are read; ranges that touch become one.
    void locate(std::size_t index, DiskRange range);

    /// What was looked at, to show before the findings: identifiers, flags, numbers of clusters. Valid UTF-8.
    Facts facts = Facts::object();

    [[nodiscard]] std::span<const Finding> findings() const noexcept { return findings_; }
    [[nodiscard]] const std::map<std::string_view, Count>& counts() const noexcept { return counts_; }
    [[nodiscard]] std::span<const HostRange> leaked() const noexcept { return leaked_; }
    [[nodiscard]] std::uint64_t leaked_bytes() const noexcept { return leaked_bytes_; }
    /// Findings of this or a higher severity, kept or not.
    [[nodiscard]] std::uint64_t number_of(Severity least) const noexcept;

private:
    bool count(Severity severity, std::string_view kind);

    Limits limits_;
    std::vector<Finding> findings_;
    std::map<std::string_view, Count> counts_;
    std::vector<HostRange> leaked_;
    std::uint64_t leaked_bytes_ = 0;
};

/// The report as `vdisk audit --json` prints it.
[[nodiscard]] Facts describe(const AuditReport& report);

} // namespace vdisk
