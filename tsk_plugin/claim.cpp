// SPDX-License-Identifier: Apache-2.0
#include "claim.hpp"

#include "base/text.hpp"
#include "open/registry.hpp"

namespace vdisk::tsk {
namespace {

std::vector<std::string> more_parts(const OpenCall& call) {
    std::vector<std::string> paths;
    for (int i = 1; i < call.count; ++i)
        if (call.images[i] != nullptr) paths.emplace_back(call.images[i]);
    return paths;
}

// nullptr: not surely of a format, or a file that can't be read; libtsk then says about it what it always said.
Result<const Format*> detect(const OpenCall& call) {
    auto format = identify_file(call.images[0], more_parts(call));
    if (format.has_value() || format.error().kind == ErrorKind::not_this_format) return format;
    return nullptr;
}

bool libtsk_reads(const RealTsk& tsk, TypeId type) {
    auto* const supported = tsk.function<TypeId()>("tsk_img_type_supported");
    return supported != nullptr && (supported() & type) != 0;
}

// The type under which a file that `format` is sure of is shown: a reference file as the image that it leads to.
// nullptr for what is not ours. Errors: that of a reference file that leads nowhere; libtsk would take its text for a
// disk.
Result<const ImageType*> shown_type(const OpenCall& call, const Format* format) {
    if (format == nullptr) return nullptr;
    if (format->follow == nullptr) return type_of(*format);
    if (call.count > 1)
        return fail(ErrorKind::usage, "{}: is a reference file, which leads to its image alone and has no parts",
                    printable(call.images[0]));
    VDISK_TRY(options, OpenOptions::from_environment());
    VDISK_TRY(target, identify_target(call.images[0], options));
    if (const ImageType* const type = type_of(*target)) return type;
    return fail(ErrorKind::unsupported, "{}: leads to a {} image, which The Sleuth Kit can't be given",
                printable(call.images[0]), target->name);
}

std::optional<ImageRequest> request(const OpenCall& call, const ImageType& type, std::string_view format) {
    return ImageRequest{.path = call.images[0],
                        .type = &type,
                        .format = format,
                        .sector_size = call.sector_size,
                        .more_parts = more_parts(call)};
}

Result<std::optional<ImageRequest>> claim_detected(const OpenCall& call) {
    VDISK_TRY(format, detect(call));
    VDISK_TRY(type, shown_type(call, format));
    return type == nullptr ? std::nullopt : request(call, *type, format->name);
}

// A file that is not of the type that was asked for is ours all the same, to say so; unless this libtsk has a reader of
// its own under that number: later versions read qcow version 1.
Result<std::optional<ImageRequest>> claim_typed(const RealTsk& tsk, const OpenCall& call, const ImageType& type) {
    const auto format = detect(call);
    const Format* const found = format.has_value() ? format.value() : nullptr;
    VDISK_TRY(shown, shown_type(call, found));
    if (shown != &type && found != nullptr && found->follow != nullptr)
        return fail(ErrorKind::usage, "{}: leads to a {} image, not {}", printable(call.images[0]), shown->name,
                    type.name);
    if (found != nullptr && found->name == type.also) return request(call, type, found->name);
    if (shown != &type && libtsk_reads(tsk, type.id)) return std::nullopt;
    return request(call, type, shown == &type ? found->name : type.format);
}

} // namespace

Result<std::optional<ImageRequest>> claim(const RealTsk& tsk, const OpenCall& call) {
    if (call.count < 1 || call.images == nullptr || call.images[0] == nullptr) return std::nullopt;
    const ImageType* const type = find_type(call.type);
    if (call.type != kDetect && type == nullptr) return std::nullopt;
    return type == nullptr ? claim_detected(call) : claim_typed(tsk, call, *type);
}

} // namespace vdisk::tsk
