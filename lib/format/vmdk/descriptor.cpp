// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/descriptor.hpp"

#include "base/charset.hpp"
#include "base/parse.hpp"
#include "base/text.hpp"
#include "disk/signature.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace vdisk::vmdk {
namespace {

constexpr std::string_view kBlanks = " \t\r";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::size_t kMostShown = 200; // characters of a text that is only shown

std::string_view without_quotes(std::string_view value) {
    const bool quoted = value.size() >= 2 && value.front() == '"' && value.back() == '"';
    return quoted ? value.substr(1, value.size() - 2) : value;
}

// The first word; `text` becomes what is behind it.
std::string_view next_word(std::string_view& text) {
    text = trimmed(text);
    const std::string_view word = text.substr(0, text.find_first_of(kBlanks));
    text = trimmed(text.substr(word.size()));
    return word;
}

std::optional<ExtentLine::Type> type_of(std::string_view word) {
    const std::string type = lower(word);
    if (type == "flat" || type == "vmfs") return ExtentLine::Type::flat;
    if (type == "sparse" || type == "vmfssparse" || type == "sesparse") return ExtentLine::Type::sparse;
    if (type == "zero") return ExtentLine::Type::zero;
    return std::nullopt;
}

bool is_access(std::string_view word) {
    const std::string access = lower(word);
    return access == "rw" || access == "rdonly" || access == "noaccess";
}

class Parser {
public:
    Parser(std::string_view name, const Limits& limits) : name_(name), limits_(limits) {}

    Result<Descriptor> run(std::string_view text) {
        text = text.substr(text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0);
        text = text.substr(0, text.find('\0'));
        while (!text.empty()) {
            ++line_;
            VDISK_CHECK(read_line(trimmed(take_line(text))));
        }
        if (lines_.empty()) return fail(ErrorKind::corrupt, "{}: the descriptor names no extents", name_);
        VDISK_CHECK(take_values());
        for (const auto& [number, line] : lines_) VDISK_CHECK(take_extent(number, line));
        return std::move(descriptor_);
    }

private:
    Result<void> read_line(std::string_view line) {
        if (line.empty() || line.front() == '#') return ok();
        if (is_access(line.substr(0, line.find_first_of(kBlanks)))) {
            if (lines_.size() >= limits_.extents)
                return fail(ErrorKind::limit_exceeded, "{}: the descriptor has more than {} extents", name_,
                            limits_.extents);
            lines_.emplace_back(line_, line);
            return ok();
        }
        const std::size_t equals = line.find('=');
        if (equals == std::string_view::npos || equals == 0)
            return fail(ErrorKind::corrupt, "{}: line {} of the descriptor is '{}', neither an extent nor a value",
                        name_, line_, shown_name(line));
        const std::string key = lower(trimmed(line.substr(0, equals)));
        const std::string_view value = without_quotes(trimmed(line.substr(equals + 1)));
        const auto [there, added] = values_.emplace(key, value);
        if (!added && there->second != value)
            return fail(ErrorKind::corrupt, "{}: the descriptor gives {} twice, as '{}' and '{}'", name_,
                        shown_name(key), shown_name(there->second), shown_name(value));
        return ok();
    }

    std::string_view value(const std::string& key) const {
        const auto found = values_.find(key);
        return found == values_.end() ? std::string_view() : found->second;
    }

    std::string decoded(std::string_view text) const { return to_utf8(text, value("encoding")); }

    Result<void> take_values() {
        descriptor_.create_type = shortened(printable(value("createtype")), kMostShown);
        descriptor_.parent_hint = decoded(value("parentfilenamehint"));
        descriptor_.change_tracking = decoded(value("changetrackpath"));
        VDISK_CHECK(take_cid("cid", descriptor_.cid));
        VDISK_CHECK(take_cid("parentcid", descriptor_.parent_cid));
        VDISK_CHECK(take_uuid("ddb.uuid.image", descriptor_.image));
        VDISK_CHECK(take_uuid("ddb.uuid.modification", descriptor_.modification));
        VDISK_CHECK(take_uuid("ddb.uuid.parent", descriptor_.parent));
        VDISK_CHECK(take_uuid("ddb.uuid.parentmodification", descriptor_.parent_modification));
        constexpr std::array<std::pair<const char*, const char*>, 6> kShown{
            {{"ddb.adaptertype", "adapter type"},
             {"ddb.virtualhwversion", "hardware version"},
             {"ddb.uuid", "disk UUID"},
             {"ddb.longcontentid", "long content ID"},
             {"ddb.thinprovisioned", "thin provisioned"},
             {"ddb.comment", "comment"}}};
        for (const auto& [key, shown] : kShown)
            if (const auto text = value(key); !text.empty())
                descriptor_.database.emplace_back(shown, shortened(printable(decoded(text)), kMostShown));
        return ok();
    }

    Result<void> take_cid(const std::string& key, std::optional<std::uint32_t>& cid) const {
        if (!values_.contains(key)) return ok();
        const auto read = parse_number<std::uint32_t>(value(key), 16);
        if (!read)
            return fail(ErrorKind::corrupt, "{}: {} is '{}', which is no number of 32 bits", name_, key,
                        shown_name(value(key)));
        cid = *read;
        return ok();
    }

    Result<void> take_uuid(const std::string& key, Uuid& uuid) const {
        if (value(key).empty()) return ok();
        const auto read = Uuid::parse(value(key));
        if (!read)
            return fail(ErrorKind::corrupt, "{}: {} is '{}', which is no UUID", name_, key, shown_name(value(key)));
        uuid = *read;
        return ok();
    }

    Result<void> take_extent(std::size_t line_number, std::string_view line) {
        const auto wrong = [&](std::string_view what) {
            return fail(ErrorKind::corrupt, "{}: line {} of the descriptor is '{}': {}", name_, line_number,
                        shown_name(line), what);
        };
        ExtentLine extent{.text = shown_name(line)};
        std::string_view rest = line;
        next_word(rest); // what the guest may do with it changes nothing
        const auto sectors = parse_number<std::uint64_t>(next_word(rest));
        if (!sectors || *sectors == 0) return wrong("its size is no number of sectors");
        extent.sectors = *sectors;
        const std::string_view type = next_word(rest);
        const auto known = type_of(type);
        if (!known)
            return fail(ErrorKind::unsupported,
                        "{}: line {} of the descriptor is '{}': the bytes of an extent of type {} are on a device, and "
                        "not in any file",
                        name_, line_number, shown_name(line), shown_name(type));
        extent.type = *known;
        VDISK_CHECK(take_name(rest, extent, wrong));
        const auto end = checked_add(total_, extent.sectors);
        if (!end || !checked_mul(*end, kSector)) return wrong("all sectors together are more than a disk can have");
        total_ = *end;
        descriptor_.extents.push_back(std::move(extent));
        return ok();
    }

    template<class Wrong> Result<void> take_name(std::string_view rest, ExtentLine& extent, const Wrong& wrong) const {
        if (extent.type == ExtentLine::Type::zero) return rest.empty() ? Result<void>(ok()) : wrong("it has no file");
        const std::size_t quote = rest.find('"', 1);
        if (!rest.starts_with('"') || quote == std::string_view::npos) return wrong("it names no file");
        extent.name = decoded(rest.substr(1, quote - 1));
        rest = trimmed(rest.substr(quote + 1));
        if (rest.empty()) return ok();
        const auto offset = parse_number<std::uint64_t>(next_word(rest));
        const bool possible = offset && checked_mul(*offset, kSector) && checked_add(*offset, extent.sectors);
        if (!possible || !rest.empty()) return wrong("what is behind the name is no number of sectors");
        extent.offset = *offset;
        return ok();
    }

    std::string_view name_;
    const Limits& limits_;
    std::size_t line_ = 0;
    std::uint64_t total_ = 0;
    std::vector<std::pair<std::size_t, std::string_view>> lines_; ///< of the extents, and their numbers
    std::map<std::string, std::string, std::less<>> values_;
    Descriptor descriptor_;
};

} // namespace

Result<Descriptor> Descriptor::parse(std::string_view text, std::string_view name, const Limits& limits) {
    return Parser(name, limits).run(text);
}

std::uint64_t Descriptor::disk_size() const noexcept {
    std::uint64_t sectors = 0;
    for (const ExtentLine& extent : extents) sectors += extent.sectors;
    return sectors * kSector;
}

bool Descriptor::has_parent() const noexcept {
    return parent_cid.value_or(kNoParentCid) != kNoParentCid || !parent_hint.empty() || !parent.is_null() ||
           !parent_modification.is_null();
}

bool begins_descriptor(std::span<const std::byte> head) noexcept {
    return begins_as_text(head.first(std::min<std::size_t>(head.size(), 512)), "# disk descriptorfile");
}

} // namespace vdisk::vmdk
