// SPDX-License-Identifier: Apache-2.0
/// A compressed file in a folder of its own, opened as often as one likes.
#pragma once

#include "io/stream_source.hpp"
#include "model.hpp"
#include "settled.hpp"
#include "temporary_folder.hpp"

namespace vdisk::test {

class PackedFile {
public:
    explicit PackedFile(const Bytes& bytes) : path_(folder_.write("packed", bytes)) {}

    [[nodiscard]] Result<std::shared_ptr<StreamSource>>
    open(const IndexCache& cache = {}, Unverified unverified = Unverified::refuse, const Limits& limits = {}) const {
        VDISK_TRY(file, FileSource::open(path_, FileKinds::regular_only));
        VDISK_TRY(compression, detect_compression(*file));
        if (!compression) return fail(ErrorKind::not_this_format, "not compressed");
        return StreamSource::open(file, *compression, cache, limits, unverified);
    }

    /// After a pass, if one is needed.
    [[nodiscard]] std::shared_ptr<StreamSource>
    indexed(const IndexCache& cache = {}, Unverified unverified = Unverified::refuse, const Limits& limits = {}) const {
        auto stream = required(open(cache, unverified, limits));
        if (!stream->indexed()) BOOST_REQUIRE(stream->index({}, {}).has_value());
        return stream;
    }

    [[nodiscard]] std::filesystem::path cache_folder() const { return folder_.path() / "cache"; }
    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

    /// Files that were written a moment ago are not kept in the cache.
    void let_settle() const { settle(path_); }

private:
    TemporaryFolder folder_;
    std::filesystem::path path_;
};

} // namespace vdisk::test
