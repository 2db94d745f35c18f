// SPDX-License-Identifier: Apache-2.0
#include "format/ova/tar.hpp"

#include "base/checked.hpp"
#include "base/parse.hpp"
#include "base/text.hpp"
#include "base/zeros.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>

namespace vdisk::ova {
namespace {

// POSIX.1-1988 ("ustar"), which every writer of OVA files uses.
struct RawTarHeader {
    std::array<char, 100> name;
    std::array<char, 24> mode_uid_gid;
    std::array<char, 12> size; // octal, or base 256 with the first bit set
    std::array<char, 12> mtime;
    std::array<char, 8> checksum; // sum of all bytes, with this field as blanks
    char type;
    std::array<char, 100> link_name;
    std::array<char, 8> magic; // "ustar\0" "00", or "ustar  \0" of GNU tar
    std::array<char, 80> owner_and_device;
    std::array<char, 155> prefix; // of the name; something else in GNU tar's
    std::array<char, 12> padding;
};
static_assert(sizeof(RawTarHeader) == kTarBlock);

constexpr std::size_t kFirstHeaders = 64;    // that are looked at for a descriptor
constexpr std::size_t kHeadersAMember = 4;   // its own and what may extend it
constexpr std::uint64_t kExtended = 1 << 16; // bytes of a pax header or of a long name

template<std::size_t Size> std::string_view text_of(const std::array<char, Size>& field) {
    const std::string_view whole(field.data(), field.size());
    return whole.substr(0, whole.find('\0'));
}

std::optional<std::uint64_t> octal(std::string_view text) {
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    text = text.substr(0, text.find_first_of(std::string_view(" \0", 2)));
    return parse_number<std::uint64_t>(text, 8);
}

// Sizes from 8 GiB on do not fit into octal digits.
std::optional<std::uint64_t> size_of(const RawTarHeader& header) {
    const auto first = static_cast<unsigned char>(header.size[0]);
    if (first < 0x80) return octal({header.size.data(), header.size.size()});
    if (first != 0x80 || std::any_of(header.size.begin() + 1, header.size.begin() + 4, [](char c) { return c != 0; }))
        return std::nullopt; // negative, or beyond 2^64
    std::uint64_t value = 0;
    for (std::size_t i = 4; i < header.size.size(); ++i)
        value = value << 8 | static_cast<unsigned char>(header.size[i]);
    return value;
}

bool checksum_holds(const RawTarHeader& header) {
    const auto bytes = std::as_bytes(std::span(&header, 1));
    const auto field = std::as_bytes(std::span(header.checksum));
    std::uint64_t sum = field.size() * ' ';
    for (const std::byte each : bytes) sum += std::to_integer<unsigned char>(each);
    for (const std::byte each : field) sum -= std::to_integer<unsigned char>(each);
    return octal({header.checksum.data(), header.checksum.size()}) == sum;
}

bool is_zero(const RawTarHeader& header) {
    return all_zeros(std::as_bytes(std::span(&header, 1)));
}

// Of a header that only says something about others.
bool is_extension(char type) {
    return std::string_view("xgLK").find(type) != std::string_view::npos;
}

std::string name_in(const RawTarHeader& header) {
    std::string name(text_of(header.name));
    const bool posix = std::string_view(header.magic.data(), 6) == std::string_view("ustar\0", 6);
    const std::string_view prefix = posix ? text_of(header.prefix) : std::string_view();
    return prefix.empty() ? name : fmt::format("{}/{}", prefix, name);
}

// Records "LENGTH key=value\n" of a pax header; false where they are none.
bool read_records(std::string_view text, std::map<std::string, std::string, std::less<>>& records) {
    while (!text.empty() && text.front() != '\0') {
        std::size_t length = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
        const auto digits = static_cast<std::size_t>(end - text.data());
        if (error != std::errc() || length > text.size() || length < digits + 3 || text[digits] != ' ' ||
            text[length - 1] != '\n')
            return false;
        const std::string_view record = text.substr(digits + 1, length - digits - 2);
        const std::size_t equals = record.find('=');
        if (equals == std::string_view::npos) return false;
        records.insert_or_assign(std::string(record.substr(0, equals)), std::string(record.substr(equals + 1)));
        text.remove_prefix(length);
    }
    return true;
}

// Goes from header to header.
class Walk {
public:
    // `headers`: that are read at most.
    Walk(const ByteSource& archive, std::size_t headers) : archive_(archive), left_(headers) {}

    // The next regular file; nothing at the end, or where damage() says why there may be more.
    std::optional<Member> next();

    const std::string& damage() const noexcept { return damage_; }

private:
    struct Entry {
        RawTarHeader header;
        std::uint64_t data = 0;
        std::uint64_t size = 0;
    };

    std::optional<Entry> read_entry();
    bool ends_at(std::uint64_t offset) const;
    bool take_extension(const Entry& entry);
    std::optional<std::string> text_at(const Entry& entry);

    template<class... Args> void stop(fmt::format_string<Args...> format, Args&&... args) {
        damage_ = fmt::format(format, std::forward<Args>(args)...);
    }

    const ByteSource& archive_;
    std::size_t left_; // headers that may still be read
    std::uint64_t at_ = 0;
    std::string damage_;
    std::string long_name_;                                   // for the next member, as GNU tar says it
    std::map<std::string, std::string, std::less<>> records_; // and as pax does
};

std::optional<Walk::Entry> Walk::read_entry() {
    if (at_ > archive_.size()) return std::nullopt; // within the last member's data or their padding
    if (!fits(at_, kTarBlock, archive_.size())) {
        stop("the archive ends at {} without tar's mark of an end", archive_.size());
        return std::nullopt;
    }
    if (left_ == 0) {
        stop("there are more headers than an archive of a machine has, from offset {} on", at_);
        return std::nullopt;
    }
    --left_;
    Entry entry;
    if (const auto read = read_exact(archive_, at_, std::as_writable_bytes(std::span(&entry.header, 1)));
        read.has_error()) {
        stop("the member header at offset {} can't be read ({}), and what follows can't be found", at_,
             read.error().what);
        return std::nullopt;
    }
    if (is_zero(entry.header)) {
        if (!ends_at(at_))
            stop("the member header at offset {} is zeros, and what is behind it is not: what follows can't be found",
                 at_);
        return std::nullopt;
    }
    if (!checksum_holds(entry.header)) {
        stop("the member header at offset {} is damaged: its checksum does not hold, and what follows can't be found",
             at_);
        return std::nullopt;
    }
    entry.data = at_ + kTarBlock;
    auto size = size_of(entry.header);
    if (const auto said = records_.find("size"); said != records_.end() && !is_extension(entry.header.type))
        size = parse_number<std::uint64_t>(said->second);
    const bool has_data = entry.header.type < '1' || entry.header.type > '6';
    entry.size = has_data ? size.value_or(0) : 0;
    const auto end = checked_add(entry.data, entry.size);
    if (!size || !end || *end > UINT64_MAX - kTarBlock) {
        stop("the member header at offset {} has no size that an archive can hold", at_);
        return std::nullopt;
    }
    at_ = (*end + kTarBlock - 1) / kTarBlock * kTarBlock;
    return entry;
}

// Whether the block of zeros there is the mark of an end: two of them. Some writers leave out the second.
bool Walk::ends_at(std::uint64_t offset) const {
    RawTarHeader second{};
    const std::uint64_t at = offset + kTarBlock;
    if (!fits(at, kTarBlock, archive_.size())) return true;
    return read_exact(archive_, at, std::as_writable_bytes(std::span(&second, 1))).has_value() && is_zero(second);
}

std::optional<std::string> Walk::text_at(const Entry& entry) {
    const std::uint64_t at = entry.data - kTarBlock;
    if (entry.size > kExtended) {
        stop("the extended header at offset {} has {} bytes, the limit is {}", at, entry.size, kExtended);
        return std::nullopt;
    }
    const auto bytes = read_bytes(archive_, entry.data, entry.size, "extended header");
    if (bytes.has_error()) {
        stop("the extended header at offset {} can't be read ({}), and what follows can't be found", at,
             bytes.error().what);
        return std::nullopt;
    }
    return std::string(reinterpret_cast<const char*>(bytes.value().data()), bytes.value().size());
}

// Whether the entry only says something about the next one.
bool Walk::take_extension(const Entry& entry) {
    if (entry.header.type == 'L') {
        if (const auto text = text_at(entry)) long_name_ = text->substr(0, text->find('\0'));
    } else if (entry.header.type == 'x') {
        if (const auto text = text_at(entry); text && !read_records(*text, records_))
            stop("the extended header at offset {} holds no records, and what follows can't be found",
                 entry.data - kTarBlock);
    }
    return is_extension(entry.header.type);
}

std::optional<Member> Walk::next() {
    while (damage_.empty()) {
        const auto entry = read_entry();
        if (!entry) break;
        if (entry->header.type == 'L' || entry->header.type == 'x')
            if (!fits(entry->data, entry->size, archive_.size())) {
                stop("the archive ends at {} within the extended header at offset {}", archive_.size(),
                     entry->data - kTarBlock);
                break;
            }
        if (take_extension(*entry)) continue;
        Member member{.name = name_in(entry->header), .offset = entry->data, .size = entry->size};
        if (!long_name_.empty()) member.name = std::move(long_name_);
        if (const auto path = records_.find("path"); path != records_.end()) member.name = path->second;
        long_name_.clear();
        records_.clear();
        const char type = entry->header.type;
        if (type == '0' || type == '\0' || type == '7') return member;
    }
    return std::nullopt;
}

} // namespace

Result<Members> read_members(const ByteSource& archive, const Limits& limits) {
    Members members;
    Walk walk(archive, limits.search_files * kHeadersAMember);
    while (true) {
        auto member = walk.next();
        if (!member) break;
        if (members.list.size() == limits.search_files)
            return fail(ErrorKind::limit_exceeded, "{}: the archive has more than {} members, the limit",
                        archive.name(), limits.search_files);
        members.list.push_back(std::move(*member));
    }
    members.damage = walk.damage();
    return members;
}

bool has_descriptor(const ByteSource& archive) {
    Walk walk(archive, kFirstHeaders);
    while (true) {
        const auto member = walk.next();
        if (!member) return false;
        if (ends_in(member->name, ".ovf")) return true;
    }
}

} // namespace vdisk::ova
