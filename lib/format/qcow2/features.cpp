// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/features.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>

namespace vdisk::qcow2 {
namespace {

// The specification's feature name table: a row of it.
struct RawFeatureName {
    std::uint8_t type;
    std::uint8_t bit;
    std::array<char, 46> name;
};
static_assert(sizeof(RawFeatureName) == 48);

struct KnownFeature {
    FeatureType type;
    std::uint64_t bit;
    std::string_view name;
};

constexpr std::array kKnownFeatures{
    KnownFeature{FeatureType::incompatible, kDirty, "dirty"},
    KnownFeature{FeatureType::incompatible, kCorrupt, "corrupt"},
    KnownFeature{FeatureType::incompatible, kDataFile, "external data file"},
    KnownFeature{FeatureType::incompatible, kCompressionType, "compression type"},
    KnownFeature{FeatureType::incompatible, kExtendedL2, "extended L2 entries"},
    KnownFeature{FeatureType::compatible, kLazyRefcounts, "lazy refcounts"},
    KnownFeature{FeatureType::autoclear, kBitmapsConsistent, "bitmaps"},
    KnownFeature{FeatureType::autoclear, kDataFileRaw, "raw external data"},
};

constexpr std::array kKnownExtensions{kExtensionBackingFormat, kExtensionFeatureNames, kExtensionBitmaps,
                                      kExtensionEncryption, kExtensionDataFile};

std::string known_name(FeatureType type, unsigned bit) {
    for (const KnownFeature& feature : kKnownFeatures)
        if (feature.type == type && feature.bit == std::uint64_t{1} << bit) return std::string(feature.name);
    return "";
}

// The names in the image's own table, by bit; empty where there is none or it can't be read: a name is no reason to
// fail.
std::array<std::string, 64> stored_names(const ByteSource& file, const Header& header, FeatureType type) {
    std::array<std::string, 64> names;
    for (const Extension& extension : header.extensions) {
        if (extension.type != kExtensionFeatureNames) continue;
        for (std::uint64_t at = 0; fits(at, sizeof(RawFeatureName), extension.length); at += sizeof(RawFeatureName)) {
            const auto row = read_struct<RawFeatureName>(file, extension.offset + at, "feature name");
            if (row.has_error()) return names;
            if (row.value().type != static_cast<std::uint8_t>(type) || row.value().bit >= names.size()) continue;
            std::string& known = names[row.value().bit];
            const std::string_view name(row.value().name.data(), row.value().name.size());
            if (known.empty()) known = printable(name.substr(0, name.find('\0')));
        }
    }
    return names;
}

} // namespace

std::vector<std::string> feature_names(const ByteSource& file, const Header& header, FeatureType type,
                                       std::uint64_t bits) {
    std::vector<std::string> names;
    const auto stored = stored_names(file, header, type);
    for (unsigned bit = 0; bit < 64; ++bit) {
        if ((bits >> bit & 1) == 0) continue;
        std::string name = known_name(type, bit);
        if (name.empty()) {
            name = stored[bit].empty() ? fmt::format("bit {}", bit) : fmt::format("{} (bit {})", stored[bit], bit);
        }
        names.push_back(std::move(name));
    }
    return names;
}

std::vector<std::string> unknown_extensions(const Header& header) {
    std::vector<std::string> texts;
    for (const Extension& extension : header.extensions)
        if (std::ranges::find(kKnownExtensions, extension.type) == kKnownExtensions.end())
            texts.push_back(
                fmt::format("{:#010x}, {} bytes at offset {}", extension.type, extension.length, extension.offset));
    return texts;
}

} // namespace vdisk::qcow2
