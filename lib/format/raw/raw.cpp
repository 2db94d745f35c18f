// SPDX-License-Identifier: Apache-2.0
#include "format/raw/raw.hpp"

namespace vdisk {
namespace {

class RawLayout final : public Layout {
public:
    explicit RawLayout(std::uint64_t size) : size_(size) {}
    std::uint64_t disk_size() const noexcept override { return size_; }
    Result<Mapping> map(GuestOffset at, std::uint64_t /*wanted*/) const override {
        return Extent::stored(size_ - at.value, HostOffset{at.value});
    }

private:
    std::uint64_t size_;
};

class RawFile final : public DiskFile {
public:
    explicit RawFile(SourcePtr source) : source_(std::move(source)), disks_{Disk{.size = source_->size()}} {}
    const Format& format() const noexcept override { return kRawFormat; }
    const std::vector<Disk>& disks() const noexcept override { return disks_; }
    Result<Layer> layer(std::size_t /*index*/) const override {
        return Layer(std::make_shared<const RawLayout>(source_->size()), {source_});
    }
    Facts facts() const override { return Facts::object(); }

private:
    SourcePtr source_;
    std::vector<Disk> disks_;
};

Match probe(std::span<const std::byte> /*head*/, const ByteSource& /*source*/) {
    return Match::no;
}

Result<std::shared_ptr<const DiskFile>> open(SourcePtr source, const OpenContext& /*context*/) {
    return std::shared_ptr<const DiskFile>(std::make_shared<RawFile>(std::move(source)));
}

} // namespace

const Format kRawFormat{"raw", "Raw image (the disk's bytes as they are)", probe, open};

} // namespace vdisk
