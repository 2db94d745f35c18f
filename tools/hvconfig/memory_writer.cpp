// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/memory_writer.hpp"

#include "base/zeros.hpp"

#include <boost/endian/buffers.hpp>

namespace vdisk::tools {
namespace {

using namespace boost::endian;

constexpr std::size_t kPage = 4096;
constexpr std::uint32_t kLimeMagic = 0x4C694D45;

struct LimeHeader {
    little_uint32_buf_t magic;
    little_uint32_buf_t version;
    little_uint64_buf_t first; // address of the first byte
    little_uint64_buf_t last;  // and of the last one
    little_uint64_buf_t reserved;
};
static_assert(sizeof(LimeHeader) == 32);

// Writes pages of zeros as holes.
Result<void> write_sparse(Output& output, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const bool zero = all_zeros(bytes.first(kPage));
        std::size_t length = kPage;
        while (length < bytes.size() && all_zeros(bytes.subspan(length, kPage)) == zero) length += kPage;
        if (zero) VDISK_CHECK(output.skip(length));
        else VDISK_CHECK(output.write(bytes.first(length)));
        bytes = bytes.subspan(length);
    }
    return ok();
}

class RawWriter final : public MemoryWriter {
public:
    explicit RawWriter(Output& output) : output_(output) {}
    Result<void> pages(std::uint64_t address, std::span<const std::byte> bytes) override {
        VDISK_CHECK(skip_to(address));
        at_ += bytes.size();
        return write_sparse(output_, bytes);
    }
    Result<void> finish(std::uint64_t end) override {
        VDISK_CHECK(skip_to(end));
        return output_.finish(end);
    }

private:
    Result<void> skip_to(std::uint64_t address) {
        const std::uint64_t gap = address - at_;
        at_ = address;
        return gap == 0 ? Result<void>(ok()) : output_.skip(gap);
    }
    Output& output_;
    std::uint64_t at_ = 0;
};

class LimeWriter final : public MemoryWriter {
public:
    explicit LimeWriter(Output& output) : output_(output) {}
    Result<void> pages(std::uint64_t address, std::span<const std::byte> bytes) override {
        if (size_ == 0 || address != end_) VDISK_CHECK(begin_range(address));
        end_ = address + bytes.size();
        size_ += bytes.size();
        return write_sparse(output_, bytes);
    }
    Result<void> finish(std::uint64_t) override {
        VDISK_CHECK(end_range());
        return output_.finish(size_);
    }

private:
    Result<void> begin_range(std::uint64_t address) {
        VDISK_CHECK(end_range());
        header_at_ = size_;
        start_ = address;
        size_ += sizeof(LimeHeader);
        return output_.skip(sizeof(LimeHeader)); // its end is known only when the range is
    }
    Result<void> end_range() {
        if (size_ == 0) return ok();
        LimeHeader header{};
        header.magic = little_uint32_buf_t(kLimeMagic);
        header.version = little_uint32_buf_t(1);
        header.first = little_uint64_buf_t(start_);
        header.last = little_uint64_buf_t(end_ - 1);
        return output_.rewrite(header_at_, std::as_bytes(std::span(&header, 1)));
    }

    Output& output_;
    std::uint64_t size_ = 0; // of the file so far
    std::uint64_t header_at_ = 0;
    std::uint64_t start_ = 0;
    std::uint64_t end_ = 0;
};

} // namespace

std::unique_ptr<MemoryWriter> raw_writer(Output& output) {
    return std::make_unique<RawWriter>(output);
}
std::unique_ptr<MemoryWriter> lime_writer(Output& output) {
    return std::make_unique<LimeWriter>(output);
}

} // namespace vdisk::tools
