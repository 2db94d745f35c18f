// SPDX-License-Identifier: Apache-2.0
/// Files of one format, opened in memory as nothing else would open them.
#pragma once

#include "disk/format.hpp"
#include "model.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>

namespace vdisk::test {

class FormatInMemory {
public:
    explicit FormatInMemory(const Format& format) : format_(format) {}

    /// Nothing that an image names is opened. One set of caches, as the layers of a chain must share them.
    [[nodiscard]] static OpenContext context() {
        static const CachesPtr caches = std::make_shared<Caches>(Limits{});
        OpenContext context;
        context.caches = caches;
        context.references = std::make_shared<const References>("image", ReferencePolicy::deny, context.limits);
        return context;
    }

    [[nodiscard]] Result<std::shared_ptr<const DiskFile>> parse(const Bytes& file) const { return parse(memory(file)); }
    [[nodiscard]] Result<std::shared_ptr<const DiskFile>> parse(SourcePtr file) const {
        return format_.open(std::move(file), context());
    }

    /// The kind of error that opening it ends with.
    [[nodiscard]] ErrorKind refused(const Bytes& file) const {
        const auto parsed = parse(file);
        BOOST_REQUIRE(parsed.has_error());
        return parsed.error().kind;
    }

    /// The file's only disk.
    [[nodiscard]] static ImagePtr image_of(const DiskFile& file, ImagePtr parent = nullptr) {
        Layer layer = required(file.layer(0));
        return std::make_shared<const Image>(Image::Parts{.name = "image",
                                                          .layout = layer.layout,
                                                          .sources = layer.sources,
                                                          .parent = std::move(parent),
                                                          .caches = context().caches});
    }
    [[nodiscard]] ImagePtr image_of(const Bytes& file, ImagePtr parent = nullptr) const {
        return image_of(*required(parse(file)), std::move(parent));
    }

    [[nodiscard]] std::vector<Remark> remarks(const Bytes& file) const {
        return required(required(parse(file))->layer(0)).remarks;
    }
    [[nodiscard]] bool doubts(const Bytes& file) const { return doubts(*required(parse(file))); }
    [[nodiscard]] static bool doubts(const DiskFile& file) {
        return !doubts_of(required(file.layer(0)).remarks).empty();
    }

    [[nodiscard]] AuditReport audit(const Bytes& file) const { return required(required(parse(file))->audit({})); }

private:
    const Format& format_;
};

inline Result<std::size_t> read_some(const Image& image, std::uint64_t at, std::size_t length) {
    Bytes out(length);
    return image.read_at(at, out);
}

/// Findings of a kind.
inline std::uint64_t count(const AuditReport& report, std::string_view kind) {
    const auto found = report.counts().find(kind);
    return found == report.counts().end() ? 0 : found->second.number;
}

} // namespace vdisk::test
