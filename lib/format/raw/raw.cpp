// SPDX-License-Identifier: Apache-2.0
#include "format/raw/raw.hpp"

#include "image/uniform_layout.hpp"

namespace vdisk {
namespace {

class RawFile final : public DiskFile {
public:
    explicit RawFile(SourcePtr source) : source_(std::move(source)), disks_{Disk{.size = source_->size()}} {}
    const Format& format() const noexcept override { return kRawFormat; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    Result<Layer> layer(std::size_t /*index*/) const override {
        return Layer(std::make_shared<const UniformLayout>(Extent::stored(source_->size(), HostOffset{0})), {source_});
    }
    Facts facts() const override { return Facts::object(); }

private:
    SourcePtr source_;
    std::vector<Disk> disks_;
};

Match probe_raw(std::span<const std::byte> /*head*/, const ByteSource& /*source*/) {
    return Match::no;
}

Result<std::shared_ptr<const DiskFile>> open_raw(SourcePtr source, const OpenContext& /*context*/) {
    return std::shared_ptr<const DiskFile>(std::make_shared<RawFile>(std::move(source)));
}

} // namespace

const Format kRawFormat{"raw", "Raw image (the disk's bytes as they are)", probe_raw, open_raw};

} // namespace vdisk
