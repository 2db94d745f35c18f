// SPDX-License-Identifier: Apache-2.0
#include "io/file_parts.hpp"

#include "base/checked.hpp"
#include "base/system/path.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <map>
#include <system_error>

namespace fs = std::filesystem;

namespace vdisk {
namespace {

constexpr std::string_view kDecimal = "0123456789";
constexpr std::string_view kHexadecimal = "0123456789abcdef";
constexpr std::string_view kPartLetters = "abcdefghijklmnopqrstuvwxyz";
constexpr std::size_t kNarrowest = 2;
constexpr std::size_t kWidest = 9;

bool made_of(std::string_view text, std::string_view digits) {
    return text.find_first_not_of(digits) == std::string_view::npos;
}

std::uint64_t number_in(std::string_view text, std::string_view digits) {
    std::uint64_t number = 0;
    for (const char c : text) number = number * digits.size() + digits.find(c);
    return number;
}

// How the parts of one file are numbered.
class Numbering {
public:
    Numbering(std::string_view digits, std::size_t width) : digits_(digits), width_(width) {}

    /// The number of a name of the usual width.
    std::optional<std::uint64_t> number(std::string_view name) const {
        if (name.size() != width_ || !made_of(name, digits_)) return std::nullopt;
        return number_in(name, digits_);
    }

    /// The number of a longer name: what split(1) goes on with, or what simply has one digit more.
    std::optional<std::uint64_t> longer(std::string_view name) const {
        if (name.size() <= width_ || name.size() > kWidest || !made_of(name, digits_)) return std::nullopt;
        if (const auto widened = this->widened(name)) return widened;
        return digits_ == kDecimal && name.front() != '0' ? std::optional(number_in(name, digits_)) : std::nullopt;
    }

    std::string name(std::uint64_t number) const {
        std::string text(width_, digits_.front());
        for (auto digit = text.rbegin(); digit != text.rend() && number > 0; ++digit, number /= digits_.size())
            *digit = digits_[static_cast<std::size_t>(number % digits_.size())];
        return text;
    }

    /// The number of the first part where `there` does not tell.
    std::uint64_t first() const { return digits_ == kPartLetters ? 0 : 1; }

private:
    // split(1) keeps the last digit of its alphabet back: a name that begins with N of them has N digits more behind.
    std::optional<std::uint64_t> widened(std::string_view name) const {
        const std::size_t more = (name.size() - width_) / 2;
        const std::string_view rest = name.substr(more);
        if (name.size() != width_ + 2 * more || rest.front() == digits_.back() ||
            name.substr(0, more) != std::string(more, digits_.back()))
            return std::nullopt;
        std::uint64_t before = 0;
        std::uint64_t block = digits_.size() - 1; // names of this length
        for (std::size_t i = 1; i < width_; ++i) block *= digits_.size();
        for (std::size_t i = 0; i < more; ++i, block *= digits_.size()) before += block;
        return before + number_in(rest, digits_);
    }

    std::string_view digits_;
    std::size_t width_;
};

// Hexadecimal names are told from decimal ones by those that have a letter behind a leading 0.
bool shows_hexadecimal(std::string_view name, std::size_t width) {
    return name.size() == width && name.front() == '0' && made_of(name, kHexadecimal) && !made_of(name, kDecimal);
}

std::optional<Numbering> numbering_of(std::string_view own, const std::set<std::string>& there) {
    // A name that split made longer has one of the usual width for its first.
    for (std::size_t width = own.size(); width >= kNarrowest && width <= kWidest; width -= 2) {
        const auto is_there = [&](const std::string& name) { return there.contains(name); };
        const bool hexadecimal = made_of(own, kHexadecimal) && std::ranges::any_of(there, [&](const std::string& name) {
                                     return shows_hexadecimal(name, width);
                                 });
        for (const std::string_view digits : {hexadecimal ? kHexadecimal : kDecimal, kPartLetters}) {
            const Numbering numbering(digits, width);
            if (!made_of(own, digits)) continue;
            if (width == own.size() && digits != kPartLetters) return numbering;
            if (is_there(numbering.name(0)) || is_there(numbering.name(numbering.first()))) return numbering;
        }
        if (width < kNarrowest + 2) break;
    }
    return std::nullopt;
}

using Numbered = std::map<std::uint64_t, std::string>;

Numbered number_all(const Numbering& numbering, const std::set<std::string>& there) {
    Numbered found;
    Numbered longer;
    for (const std::string& name : there) {
        if (const auto number = numbering.number(name)) found.emplace(*number, name);
        else if (const auto more = numbering.longer(name)) longer.emplace(*more, name);
    }
    for (const auto& [number, name] : longer)
        if (number > 0 && found.contains(number - 1)) found.emplace(number, name);
    return found;
}

std::vector<std::string> listed(const fs::path& folder, const std::string& stem) {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
        const std::string name = utf8(entry->path().filename());
        if (name.size() > stem.size() + kNarrowest && name.starts_with(stem) && name[stem.size()] == '.')
            names.push_back(name.substr(stem.size() + 1));
    }
    return names;
}

bool is_there(const fs::path& path) {
    std::error_code error;
    return fs::exists(fs::symlink_status(path, error));
}

// Whether `suffix` may number a part at all. Most names end in letters, so of these the first has to be there.
bool may_number(std::string_view suffix, const fs::path& stem) {
    if (suffix.size() < kNarrowest || suffix.size() > kWidest) return false;
    if (made_of(suffix, kHexadecimal) && suffix.find_first_of(kDecimal) != std::string_view::npos) return true;
    if (!made_of(suffix, kPartLetters)) return false;
    for (std::size_t width = suffix.size(); width >= kNarrowest; width -= 2) {
        if (is_there(utf8(stem) + "." + std::string(width, 'a'))) return true;
        if (width < kNarrowest + 2) break;
    }
    return false;
}

Error odd_length(const PartSize& part, const PartSize& first) {
    return fail(ErrorKind::corrupt,
                "{} has {} bytes and {} {}: the parts of a file are equally long but for a shorter last one, so nobody "
                "knows where its bytes lie",
                part.name, *part.size, first.name, *first.size);
}

bool all_there(std::span<const PartSize> parts) {
    return std::ranges::all_of(parts, [](const PartSize& part) { return part.size.has_value(); });
}

bool are_equal(std::span<const PartSize> parts) {
    const std::uint64_t full = *parts.front().size;
    return *parts.back().size <= full &&
           std::ranges::all_of(parts.first(parts.size() - 1), [&](const PartSize& part) { return *part.size == full; });
}

// As split -n cuts: what the division leaves goes to the last part, or a byte each to the first ones.
bool are_even(std::span<const PartSize> parts) {
    const auto size = [](const PartSize& part) { return *part.size; };
    const std::uint64_t first = size(parts.front());
    const std::uint64_t last = size(parts.back());
    if (first > last) return first - last == 1 && std::ranges::is_sorted(parts, std::ranges::greater{}, size);
    return last - first < parts.size() &&
           std::ranges::all_of(
               parts.first(parts.size() - 1), [&](std::uint64_t each) { return each == first; }, size);
}

Result<std::vector<PartPlace>> place_by_number(std::span<const PartSize> parts) {
    const PartSize& first = parts.front();
    const std::uint64_t full = *first.size;
    const PartSize* broken = nullptr;
    std::size_t whole = 0;
    std::vector<PartPlace> places;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const PartSize& part = parts[i];
        const bool last = i + 1 == parts.size();
        const bool sound = part.size && (last || *part.size == full);
        if (part.size && *part.size > full) return odd_length(part, first);
        if (part.size && *part.size + 1 == full) return odd_length(part, first); // split -n makes such, and no others
        if (part.size == full) ++whole;
        if (!sound && broken == nullptr) broken = &part;
        const std::uint64_t length = last ? *part.size : full;
        const auto start = checked_mul(std::uint64_t{i}, full);
        if (!start || !checked_add(*start, length))
            return fail(ErrorKind::limit_exceeded, "{}: lies beyond what a size can be", part.name);
        places.push_back({.start = *start, .length = length, .sound = sound});
    }
    constexpr std::size_t kEnough = 2;
    if (broken == nullptr || whole >= kEnough) return places;
    if (broken->size) return odd_length(*broken, first);
    return fail(ErrorKind::corrupt, "{} is missing, and the other parts don't show how long it was", broken->name);
}

} // namespace

std::optional<NumberedNames> numbered_names(std::string_view own, const std::set<std::string>& there) {
    const auto numbering = numbering_of(own, there);
    if (!numbering) return std::nullopt;
    const Numbered found = number_all(*numbering, there);
    const std::uint64_t first = found.contains(0) ? 0 : numbering->first();
    NumberedNames numbered;
    std::optional<std::size_t> asked;
    std::size_t present = 0;
    for (const auto& [number, name] : found) {
        const std::uint64_t missing = number - first - numbered.names.size();
        if (missing > std::max<std::size_t>(present, 1)) {
            numbered.beyond = NumberedNames::Name{name};
            break;
        }
        for (std::uint64_t i = 0; i < missing; ++i)
            numbered.names.push_back({numbering->name(first + numbered.names.size()), false});
        if (name == own) asked = numbered.names.size();
        numbered.names.push_back({name, true});
        ++present;
    }
    if (!asked || (present < 2 && !numbered.beyond)) return std::nullopt;
    numbered.own = *asked;
    return numbered;
}

std::optional<NumberedNames> numbered_files(const fs::path& path) {
    const std::string extension = utf8(path.extension());
    fs::path stem = path;
    stem.replace_extension();
    if (extension.empty() || !may_number(std::string_view(extension).substr(1), stem)) return std::nullopt;
    const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    const std::vector<std::string> names = listed(folder, utf8(stem.filename()));
    auto numbered = numbered_names(extension.substr(1), {names.begin(), names.end()});
    if (!numbered) return numbered;
    for (NumberedNames::Name& name : numbered->names) name.text = fmt::format("{}.{}", utf8(stem), name.text);
    if (numbered->beyond) numbered->beyond->text = fmt::format("{}.{}", utf8(stem), numbered->beyond->text);
    return numbered;
}

fs::path as_it_lies(const fs::path& path) {
    std::error_code error;
    if (fs::exists(path, error)) return path;
    for (const std::string_view first : {".000", ".000000000", ".001", ".00", ".01", ".aa", ".aaa"}) {
        fs::path part = path;
        part += first;
        if (fs::is_regular_file(part, error) && numbered_files(part)) return part;
    }
    return path;
}

Result<std::vector<PartPlace>> append_parts(std::span<const PartSize> parts) {
    std::vector<PartPlace> places;
    std::uint64_t at = 0;
    for (const PartSize& part : parts) {
        if (!part.size) return fail(ErrorKind::corrupt, "{} is missing", part.name);
        places.push_back({.start = at, .length = *part.size});
        const auto end = checked_add(at, *part.size);
        if (!end) return fail(ErrorKind::limit_exceeded, "{}: ends beyond what a size can be", part.name);
        at = *end;
    }
    return places;
}

Result<std::vector<PartPlace>> place_parts(std::span<const PartSize> parts) {
    if (parts.empty()) return std::vector<PartPlace>();
    if (!parts.front().size) return fail(ErrorKind::corrupt, "{} is missing", parts.front().name);
    if (all_there(parts) && (are_equal(parts) || are_even(parts))) return append_parts(parts);
    if (!parts.back().size) return fail(ErrorKind::corrupt, "{} can't be opened", parts.back().name);
    return place_by_number(parts);
}

} // namespace vdisk
