// SPDX-License-Identifier: Apache-2.0
#include "base/crc32c.hpp"
#include "format/vhdx/vhdx.hpp"
#include "format_target.hpp"

#include <cstring>

namespace {

using Bytes = std::vector<std::byte>;

constexpr std::size_t kMiB = 1U << 20;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kRegions = 64U << 10; // of a region table

// The parts of a VHDX that say something, one behind the other in the input, and their places in a file: a real one is
// mebibytes of zeros, in which nothing would be found.
struct Part {
    std::size_t at;
    std::size_t length;
};
constexpr std::array kParts{Part{64U << 10, 80}, Part{128U << 10, 80},        Part{192U << 10, 112},
                            Part{2 * kMiB, 288}, Part{2 * kMiB + 65536, 512}, Part{3 * kMiB, 512},
                            Part{5 * kMiB, 512}, Part{1 * kMiB, 16 * kPage}};

void make_sum_right(Bytes& file, std::size_t at, std::size_t length) {
    const std::uint32_t sum = vdisk::crc32c_without_field(std::span(file).subspan(at, length), 4);
    std::memcpy(file.data() + at + 4, &sum, sizeof sum);
}

// No input has right checksums by chance.
void make_sums_right(Bytes& file) {
    make_sum_right(file, kParts[0].at, kPage);
    make_sum_right(file, kParts[1].at, kPage);
    make_sum_right(file, kParts[2].at, kRegions);
    std::memcpy(file.data() + kParts[2].at + kRegions, file.data() + kParts[2].at, kRegions);
    const std::size_t end = kParts.back().at + kParts.back().length;
    for (std::size_t at = kParts.back().at; at < end; at += kPage) {
        std::uint32_t length = 0;
        std::memcpy(&length, file.data() + at + 8, sizeof length);
        const bool entry = std::memcmp(file.data() + at, "loge", 4) == 0;
        if (entry && length >= kPage && length <= end - at) make_sum_right(file, at, length);
    }
}

// The file that `input` begins with, of which it leaves what no part takes. Valid until the next call: to clear eight
// mebibytes each time would take longer than all else.
const Bytes& expanded(vdisk::fuzz::Input& input) {
    static Bytes file = [] {
        Bytes made(8 * kMiB);
        std::memcpy(made.data(), "vhdxfile", 8);
        return made;
    }();
    for (const Part& part : kParts) {
        const std::size_t taken = std::min(part.length, input.size());
        if (taken > 0) std::memcpy(file.data() + part.at, input.data(), taken);
        std::memset(file.data() + part.at + taken, 0, part.length - taken);
        input = input.subspan(taken);
    }
    make_sums_right(file);
    return file;
}

} // namespace

void vdisk::fuzz::vhdx(Input input) {
    const Parts parts(input, kParts);
    const Bytes& file = expanded(input);
    run(kVhdxFormat, std::make_shared<const SpanSource>(file), input, parts);
}
