// SPDX-License-Identifier: Apache-2.0
#include "format/ova/archive.hpp"

#include "base/checked.hpp"
#include "base/parse.hpp"
#include "base/text.hpp"
#include "io/joined_source.hpp"
#include "io/memory_source.hpp"

#include <algorithm>

namespace vdisk::ova {

std::string_view without_dot(std::string_view name) noexcept {
    while (name.starts_with("./")) name.remove_prefix(2);
    return name;
}

Result<Archive> Archive::read(SourcePtr source, const Limits& limits) {
    VDISK_TRY(members, read_members(*source, limits));
    return Archive(std::move(source), std::move(members));
}

Archive::Archive(SourcePtr source, Members members) : source_(std::move(source)), members_(std::move(members)) {
    for (const Member& member : members_.list) by_name_.insert_or_assign(without_dot(member.name), &member);
}

const Member* Archive::find(std::string_view name) const {
    if (const auto found = by_name_.find(without_dot(name)); found != by_name_.end()) return found->second;
    const auto decoded = by_name_.find(without_dot(percent_decoded(name)));
    return decoded == by_name_.end() ? nullptr : decoded->second;
}

const Member* Archive::first_called(std::string_view extension) const {
    const auto found =
        std::ranges::find_if(members_.list, [&](const Member& each) { return ends_in(each.name, extension); });
    return found == members_.list.end() ? nullptr : &*found;
}

bool Archive::is_whole(const Member& member) const noexcept {
    return fits(member.offset, member.size, source_->size());
}

SourcePtr Archive::bytes_of(const Member& member) const {
    return std::make_shared<SliceSource>(source_, member.offset, member.size, name_of(member));
}

SourcePtr Archive::all_of(const Member& member) const {
    SourcePtr there = bytes_of(member);
    if (is_whole(member)) return there;
    std::vector<Share> shares;
    const std::uint64_t length = there->size();
    if (length > 0) shares.push_back({.source = std::move(there), .length = length});
    shares.push_back(
        {.length = member.size - length,
         .why = std::make_shared<const Error>(
             fail(ErrorKind::truncated, "{}: the archive ends at {}, within it", name_of(member), source_->size()))});
    return std::make_shared<JoinedSource>(std::move(shares), name_of(member));
}

Result<std::string> Archive::text_of(const Member& member, const Limits& limits) const {
    if (member.size > limits.registry_bytes)
        return fail(ErrorKind::limit_exceeded, "{}: has {} bytes, the limit for such a text is {}", name_of(member),
                    member.size, limits.registry_bytes);
    return read_text(*bytes_of(member), 0, member.size, "text");
}

std::string Archive::name_of(const Member& member) const {
    return fmt::format("{}: {}", source_->name(), printable(member.name));
}

Result<SourcePtr> joined_chunks(const Archive& archive, const OvfDisk& disk, const Limits& limits) {
    const std::string name = fmt::format("{}: {}", archive.source()->name(), printable(disk.href));
    if (!disk.file_size)
        return fail(ErrorKind::corrupt, "{}: lies in chunks, and the descriptor does not say its size", name);
    const std::uint64_t count = div_ceil(*disk.file_size, *disk.chunk_size);
    if (count > limits.search_files)
        return fail(ErrorKind::limit_exceeded, "{}: lies in {} chunks, the limit is {}", name, count,
                    limits.search_files);
    std::vector<Share> shares;
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t length = std::min(*disk.chunk_size, *disk.file_size - i * *disk.chunk_size);
        const std::string chunk = fmt::format("{}.{:09}", disk.href, i);
        const Member* const member = archive.find(chunk);
        Share share{.length = length};
        if (member != nullptr && member->size == length && archive.is_whole(*member))
            share.source = archive.bytes_of(*member);
        else
            share.why = std::make_shared<const Error>(
                fail(ErrorKind::corrupt, "{}: its chunk '{}' {}", name, printable(chunk),
                     member == nullptr ? std::string("is missing")
                                       : fmt::format("has {} bytes of {}", archive.bytes_of(*member)->size(), length)));
        shares.push_back(std::move(share));
    }
    return SourcePtr(std::make_shared<JoinedSource>(std::move(shares), name));
}

} // namespace vdisk::ova
