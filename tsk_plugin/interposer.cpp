// SPDX-License-Identifier: Apache-2.0
// The functions of libtsk that the dynamic loader finds here first. Each does what concerns our formats and hands
// everything else to the libtsk of its caller, untouched. libtsk's headers stay out: the newer functions are not in
// older headers, and at the level of the C interface they are the same in all versions.
#include "claim.hpp"
#include "door.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <sys/types.h>

namespace vdisk::tsk {
namespace {

constexpr TypeId kUnsupported = 0xffff;          // TSK_IMG_TYPE_UNSUPP
constexpr std::uint32_t kOpenError = 0x02000004; // TSK_ERR_IMG_OPEN

// Runs `body` with the caller's libtsk. Without any libtsk, which no caller has been seen to lack, there is nobody to
// tell.
template<class Value, class Body> Value with_real(const void* caller, Value otherwise, Body&& body) noexcept {
    try {
        const int saved = errno;
        const RealTskPtr tsk = RealTsk::used_by(caller);
        errno = saved;
        return tsk == nullptr ? otherwise : body(tsk);
    } catch (...) { // the standard library's: no memory
        return otherwise;
    }
}

template<class Value, class... Arguments>
Value pass(const RealTsk& tsk, const char* name, Value otherwise, Arguments... arguments) {
    auto* const real = tsk.function<Value(Arguments...)>(name);
    return real == nullptr ? otherwise : real(arguments...);
}

// Opens what is ours; gives the rest to libtsk's own function `name` with the caller's own arguments and errno.
template<class... Arguments>
TSK_IMG_INFO* open(const void* caller, const char* name, const OpenCall& call, Arguments... arguments) noexcept {
    return with_real<TSK_IMG_INFO*>(caller, nullptr, [&](const RealTskPtr& tsk) {
        const int saved = errno;
        bool ours = true;
        TSK_IMG_INFO* const image =
            through_door<TSK_IMG_INFO*>(*tsk, kOpenError, nullptr, [&]() -> Result<TSK_IMG_INFO*> {
                VDISK_TRY(request, claim(*tsk, call));
                ours = request.has_value();
                if (ours) return open_image(tsk, *request);
                return nullptr;
            });
        if (ours) return image;
        errno = saved;
        return pass<TSK_IMG_INFO*>(*tsk, name, nullptr, arguments...);
    });
}

// ssize_t and TSK_OFF_T are 64 bits wide wherever The Sleuth Kit is.
static_assert(sizeof(ssize_t) == sizeof(std::int64_t));
using Read = std::int64_t(TSK_IMG_INFO*, std::int64_t, char*, std::size_t);

// libtsk's own function for one caller. It is asked for with every read of every image, so each thread keeps what it
// found for its last callers; their library is kept loaded from then on.
Read* real_read(const void* caller) noexcept {
    struct Known {
        const void* caller;
        Read* read;
    };
    thread_local constinit std::array<Known, 16> known{};
    Known& slot = known[reinterpret_cast<std::uintptr_t>(caller) / 8 % known.size()];
    if (slot.caller == caller && slot.read != nullptr) return slot.read;
    slot = {caller, with_real<Read*>(caller, nullptr, [](const RealTskPtr& tsk) {
                tsk->keep_loaded();
                return tsk->function<Read>("tsk_img_read");
            })};
    return slot.read;
}

TypeId type_number(const void* caller, const char* name, const char* word) noexcept {
    return with_real<TypeId>(caller, kUnsupported, [&](const RealTskPtr& tsk) {
        const ImageType* const own = word == nullptr ? nullptr : find_type(std::string_view(word));
        return own != nullptr ? own->id : pass<TypeId>(*tsk, name, kUnsupported, word);
    });
}

} // namespace
} // namespace vdisk::tsk

using vdisk::tsk::ImageType;
using vdisk::tsk::RealTskPtr;
using vdisk::tsk::TypeId;

// What the caller wants opened is found from the caller's own code, so that has to be asked in each function itself.
#define VDISK_CALLER __builtin_return_address(0)

extern "C" {

TSK_IMG_INFO* tsk_img_open(int count, const char* const images[], TypeId type, unsigned sector_size) {
    return vdisk::tsk::open(VDISK_CALLER, "tsk_img_open", {count, images, type, sector_size}, count, images, type,
                            sector_size);
}

TSK_IMG_INFO* tsk_img_open_sing(const char* image, TypeId type, unsigned sector_size) {
    return vdisk::tsk::open(VDISK_CALLER, "tsk_img_open_sing", {1, &image, type, sector_size}, image, type,
                            sector_size);
}

TSK_IMG_INFO* tsk_img_open_utf8(int count, const char* const images[], TypeId type, unsigned sector_size) {
    return vdisk::tsk::open(VDISK_CALLER, "tsk_img_open_utf8", {count, images, type, sector_size}, count, images, type,
                            sector_size);
}

TSK_IMG_INFO* tsk_img_open_utf8_sing(const char* image, TypeId type, unsigned sector_size) {
    return vdisk::tsk::open(VDISK_CALLER, "tsk_img_open_utf8_sing", {1, &image, type, sector_size}, image, type,
                            sector_size);
}

TSK_IMG_INFO* tsk_img_open_opt(int count, const char* const images[], TypeId type, unsigned sector_size,
                               const void* options) {
    return vdisk::tsk::open(VDISK_CALLER, "tsk_img_open_opt", {count, images, type, sector_size}, count, images, type,
                            sector_size, options);
}

TSK_IMG_INFO* tsk_img_open_sing_opt(const char* image, TypeId type, unsigned sector_size, const void* options) {
    return vdisk::tsk::open(VDISK_CALLER, "tsk_img_open_sing_opt", {1, &image, type, sector_size}, image, type,
                            sector_size, options);
}

TSK_IMG_INFO* tsk_img_open_utf8_opt(int count, const char* const images[], TypeId type, unsigned sector_size,
                                    const void* options) {
    return vdisk::tsk::open(VDISK_CALLER, "tsk_img_open_utf8_opt", {count, images, type, sector_size}, count, images,
                            type, sector_size, options);
}

TSK_IMG_INFO* tsk_img_open_utf8_sing_opt(const char* image, TypeId type, unsigned sector_size, const void* options) {
    return vdisk::tsk::open(VDISK_CALLER, "tsk_img_open_utf8_sing_opt", {1, &image, type, sector_size}, image, type,
                            sector_size, options);
}

std::int64_t tsk_img_read(TSK_IMG_INFO* image, std::int64_t offset, char* buffer, std::size_t length) {
    if (image != nullptr && buffer != nullptr && vdisk::tsk::is_ours(image))
        return vdisk::tsk::read_image(image, offset, buffer, length);
    auto* const real = vdisk::tsk::real_read(VDISK_CALLER);
    return real == nullptr ? -1 : real(image, offset, buffer, length);
}

TypeId tsk_img_type_toid(const char* word) {
    return vdisk::tsk::type_number(VDISK_CALLER, "tsk_img_type_toid", word);
}

TypeId tsk_img_type_toid_utf8(const char* word) {
    return vdisk::tsk::type_number(VDISK_CALLER, "tsk_img_type_toid_utf8", word);
}

const char* tsk_img_type_toname(TypeId type) {
    return vdisk::tsk::with_real<const char*>(VDISK_CALLER, nullptr, [&](const RealTskPtr& tsk) {
        const ImageType* const own = vdisk::tsk::find_type(type);
        return own != nullptr ? own->name.c_str()
                              : vdisk::tsk::pass<const char*>(*tsk, "tsk_img_type_toname", nullptr, type);
    });
}

const char* tsk_img_type_todesc(TypeId type) {
    return vdisk::tsk::with_real<const char*>(VDISK_CALLER, nullptr, [&](const RealTskPtr& tsk) {
        const ImageType* const own = vdisk::tsk::find_type(type);
        return own != nullptr ? own->description.c_str()
                              : vdisk::tsk::pass<const char*>(*tsk, "tsk_img_type_todesc", nullptr, type);
    });
}

TypeId tsk_img_type_supported() {
    return vdisk::tsk::with_real<TypeId>(VDISK_CALLER, 0, [](const RealTskPtr& tsk) {
        TypeId all = vdisk::tsk::pass<TypeId>(*tsk, "tsk_img_type_supported", 0);
        for (const ImageType& own : vdisk::tsk::image_types()) all |= own.id;
        return all;
    });
}

void tsk_img_type_print(std::FILE* out) {
    vdisk::tsk::with_real<int>(VDISK_CALLER, 0, [&](const RealTskPtr& tsk) {
        if (auto* const real = tsk->function<void(std::FILE*)>("tsk_img_type_print")) real(out);
        for (const ImageType& own : vdisk::tsk::image_types()) {
            const char* const word = vdisk::tsk::pass<const char*>(*tsk, "tsk_img_type_toname", nullptr, own.id);
            const TypeId theirs = vdisk::tsk::pass<TypeId>(*tsk, "tsk_img_type_supported", 0);
            const bool printed = word != nullptr && own.name == word && (theirs & own.id) != 0;
            if (!printed) fmt::print(out, "\t{} ({})\n", own.name, own.description);
        }
        return 0;
    });
}

} // extern "C"
