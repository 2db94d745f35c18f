// SPDX-License-Identifier: Apache-2.0
#include "claim.hpp"

#include "base/text.hpp"
#include "open/registry.hpp"

namespace vdisk::tsk {
namespace {

// nullptr: not surely of a format, or a file that can't be read; libtsk then says about it what it always said.
Result<const Format*> detect(const char* image) {
    auto format = identify_file(image);
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
    VDISK_TRY(options, OpenOptions::from_environment());
    VDISK_TRY(target, identify_target(call.images[0], options));
    if (const ImageType* const type = type_of(*target)) return type;
    return fail(ErrorKind::unsupported, "{}: leads to a {} image, which The Sleuth Kit can't be given",
                printable(call.images[0]), target->name);
}

std::optional<ImageRequest> request(const OpenCall& call, const ImageType& type, std::string_view format) {
    return ImageRequest{.path = call.images[0], .type = &type, .format = format, .sector_size = call.sector_size};
}

Result<std::optional<ImageRequest>> claim_detected(const OpenCall& call) {
    VDISK_TRY(format, detect(call.images[0]));
    VDISK_TRY(type, shown_type(call, format));
    return type == nullptr ? std::nullopt : request(call, *type, format->name);
}

// A file that is not of the type that was asked for is ours all the same, to say so; unless this libtsk has a reader of
// its own under that number: later versions read qcow version 1.
Result<std::optional<ImageRequest>> claim_typed(const RealTsk& tsk, const OpenCall& call, const ImageType& type) {
    const auto format = detect(call.images[0]);
    const Format* const found = format.has_value() ? format.value() : nullptr;
    VDISK_TRY(shown, shown_type(call, found));
    if (shown != &type && found != nullptr && found->follow != nullptr)
        return fail(ErrorKind::usage, "{}: leads to a {} image, not {}", printable(call.images[0]), shown->name,
                    type.name);
    if (shown != &type && libtsk_reads(tsk, type.id)) return std::nullopt;
    return request(call, type, shown == &type ? found->name : type.format);
}

} // namespace

Result<std::optional<ImageRequest>> claim(const RealTsk& tsk, const OpenCall& call) {
    if (call.count < 1 || call.images == nullptr || call.images[0] == nullptr) return std::nullopt;
    const ImageType* const type = find_type(call.type);
    if (call.type != kDetect && type == nullptr) return std::nullopt;
    VDISK_TRY(claimed, type == nullptr ? claim_detected(call) : claim_typed(tsk, call, *type));
    if (claimed && call.count > 1)
        return fail(ErrorKind::usage, "{}: a {} image is one file, not {}", printable(call.images[0]),
                    claimed->type->name, call.count);
    return claimed;
}

} // namespace vdisk::tsk
