// SPDX-License-Identifier: Apache-2.0
/// Files that were cut into parts: which names belong together, and where in the whole each part's bytes lie.
#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdisk {

/// Names that go on from one another, from the first to the last that is there.
struct NumberedNames {
    struct Name {
        std::string text;
        bool there = true;
    };
    std::vector<Name> names;      ///< the first may be missing, the last is there
    std::size_t own = 0;          ///< which one was asked about
    std::optional<Name> beyond{}; ///< one that is there too, behind more missing ones than there are before it
};

/// The last parts of names (what stands behind the dot) that go on from one another as those of a cut file do, `own`
/// among them: decimal digits from 0 or 1 on (imaging programs, split -d), hexadecimal ones (split -x) or letters from
/// aa on (split), at least two of them. Where split runs out of them it makes longer ones (.89, .9000; .yz, .zaaa).
/// `there`: all that are. Nothing where `own` is not such a name or goes on into no other.
[[nodiscard]] std::optional<NumberedNames> numbered_names(std::string_view own, const std::set<std::string>& there);

/// numbered_names() of the files in `path`'s folder that are called as it is up to the last dot; the names are paths.
/// What can't be listed is not there.
[[nodiscard]] std::optional<NumberedNames> numbered_files(const std::filesystem::path& path);

/// `path`, or the first of the parts into which the file of that name was cut where they lie there instead of it.
[[nodiscard]] std::filesystem::path as_it_lies(const std::filesystem::path& path);

/// A part before it is known where it lies.
struct PartSize {
    std::string name;                    ///< safe to show
    std::optional<std::uint64_t> size{}; ///< nothing: it is missing or can't be opened
};

/// Where a part lies in the whole.
struct PartPlace {
    std::uint64_t start = 0;
    std::uint64_t length = 0;
    bool sound = true; ///< its bytes are those there; else nobody knows what is
};

/// Places the parts of a file, in their order. They are equally long but for a shorter last one, or as even as
/// `split -n` makes them. Where one is missing or shorter, the others are placed by their numbers if two more at least
/// show how long a part is, and that one's range is not sound. Errors: `corrupt`, naming the part, where the lengths
/// show no such file.
[[nodiscard]] Result<std::vector<PartPlace>> place_parts(std::span<const PartSize> parts);

/// Places them one behind the other, whatever their lengths. Errors: `corrupt` where one is missing.
[[nodiscard]] Result<std::vector<PartPlace>> append_parts(std::span<const PartSize> parts);

} // namespace vdisk
