// SPDX-License-Identifier: Apache-2.0
#include "image_types.hpp"

#include "format/registry.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace vdisk::tsk {
namespace {

// 0x0400 is what later versions of The Sleuth Kit use for QCOW themselves; the others are free in every version up
// to 4.14. A number must never change its meaning: case databases keep it.
constexpr std::array kNumbers{
    std::pair<TypeId, std::string_view>{0x0400, "qcow2"},
    std::pair<TypeId, std::string_view>{0x0800, "vdi"},
    std::pair<TypeId, std::string_view>{0x2000, "vma"},
};

std::vector<ImageType> types_of_this_build() {
    std::vector<ImageType> types;
    for (const auto& [id, name] : kNumbers)
        if (const Format* format = find_format(name))
            types.push_back({id, std::string(name), std::string(format->description)});
    return types;
}

} // namespace

std::span<const ImageType> image_types() {
    static const std::vector<ImageType> types = types_of_this_build();
    return types;
}

const ImageType* type_of(const Format& format) {
    return find_type(format.name == "vbox" ? std::string_view("vdi") : format.name);
}

const ImageType* find_type(TypeId id) {
    const auto found = std::ranges::find(image_types(), id, &ImageType::id);
    return found == image_types().end() ? nullptr : &*found;
}

const ImageType* find_type(std::string_view name) {
    const auto found = std::ranges::find(image_types(), name, &ImageType::name);
    return found == image_types().end() ? nullptr : &*found;
}

} // namespace vdisk::tsk
