// SPDX-License-Identifier: Apache-2.0
/// Where the sectors of a sparse extent are.
#pragma once

#include "format/vmdk/grain_tables.hpp"
#include "format/vmdk/markers.hpp"
#include "image/layout.hpp"

namespace vdisk::vmdk {

/// By the grain tables. Stored extents lie in the extent's file.
class TableLayout final : public Layout {
public:
    TableLayout(std::shared_ptr<const GrainTables> tables, Survey survey)
        : tables_(std::move(tables)), survey_(std::move(survey)) {}

    [[nodiscard]] std::uint64_t disk_size() const noexcept override { return tables_->sparse().disk_size; }
    [[nodiscard]] Result<Mapping> map(GuestOffset at, std::uint64_t wanted) const override;

private:
    [[nodiscard]] Result<std::vector<Verdict>> verdicts(std::uint64_t first, std::uint64_t count) const;
    [[nodiscard]] Mapping mapping_of(std::uint64_t number, const Verdict& verdict) const;
    [[nodiscard]] Result<Mapping> map_packed(std::uint64_t number) const;

    std::shared_ptr<const GrainTables> tables_;
    Survey survey_;
};

/// By the markers, of a stream-optimized extent without a directory.
class MarkerLayout final : public Layout {
public:
    MarkerLayout(Sparse sparse, SourcePtr file, FoundGrains found)
        : sparse_(std::move(sparse)), file_(std::move(file)), found_(std::move(found)) {}

    [[nodiscard]] std::uint64_t disk_size() const noexcept override { return sparse_.disk_size; }
    [[nodiscard]] Result<Mapping> map(GuestOffset at, std::uint64_t wanted) const override;

private:
    [[nodiscard]] Result<Mapping> map_missing(std::uint64_t number) const;

    Sparse sparse_;
    SourcePtr file_;
    FoundGrains found_;
};

/// A layout of which nothing tells whether it has a parent: what it does not have is an error.
class OrphanLayout final : public Layout {
public:
    OrphanLayout(std::shared_ptr<const Layout> layout, std::shared_ptr<const Error> why)
        : layout_(std::move(layout)), why_(std::move(why)) {}

    [[nodiscard]] std::uint64_t disk_size() const noexcept override { return layout_->disk_size(); }
    [[nodiscard]] Result<Mapping> map(GuestOffset at, std::uint64_t wanted) const override;

private:
    std::shared_ptr<const Layout> layout_;
    std::shared_ptr<const Error> why_;
};

} // namespace vdisk::vmdk
