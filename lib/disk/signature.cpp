// SPDX-License-Identifier: Apache-2.0
#include "disk/signature.hpp"

#include "base/parse.hpp"

#include <algorithm>
#include <cstring>

namespace vdisk {
namespace {

bool stands_at(std::span<const std::byte> bytes, std::uint64_t offset, std::string_view magic) noexcept {
    return fits(offset, magic.size(), bytes.size()) &&
           std::memcmp(bytes.data() + offset, magic.data(), magic.size()) == 0;
}

} // namespace

Result<FirstLook> FirstLook::at(const ByteSource& source) {
    std::vector<std::byte> head(static_cast<std::size_t>(std::min<std::uint64_t>(kHeadBytes, source.size())));
    VDISK_TRY(got, source.read_at(0, head));
    head.resize(got);
    FirstLook look = at_end(source);
    look.head_ = std::move(head);
    return look;
}

FirstLook FirstLook::at_end(const ByteSource& source) {
    FirstLook look;
    look.size_ = source.size();
    look.tail_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kTailBytes, source.size())));
    // An end that can't be read is looked at as one that has no signature; who reads there gets the error.
    const auto tail = source.read_at(source.size() - look.tail_.size(), look.tail_);
    if (tail.has_error() || tail.value() != look.tail_.size()) look.tail_.clear();
    return look;
}

FirstLook FirstLook::at_start(std::vector<std::byte> head) {
    FirstLook look;
    look.head_ = std::move(head);
    return look;
}

Sign FirstLook::look_for(const Signature& signature) const noexcept {
    const bool at_end = signature.from == Signature::From::end;
    if (!size_ && at_end) return Sign::unknown;
    if (size_.value_or(signature.least_size) < signature.least_size) return Sign::absent;
    if (!at_end) return stands_at(head_, signature.offset, signature.magic) ? Sign::present : Sign::absent;
    if (signature.offset > tail_.size()) return Sign::absent;
    return stands_at(tail_, tail_.size() - signature.offset, signature.magic) ? Sign::present : Sign::absent;
}

bool begins_as_text(std::span<const std::byte> head, std::string_view start) noexcept {
    std::string_view text = as_text(head);
    text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n\xEF\xBB\xBF"), text.size()));
    return text.size() >= start.size() &&
           std::ranges::equal(text.substr(0, start.size()), start, {}, [](char c) { return lower(c); });
}

bool is_xml_with(std::span<const std::byte> head, std::string_view element) noexcept {
    return begins_as_text(head, "<") && as_text(head).find(element) != std::string_view::npos;
}

} // namespace vdisk
