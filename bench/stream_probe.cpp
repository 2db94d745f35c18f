// SPDX-License-Identifier: Apache-2.0
// stream_probe FILE [READS [PLAIN]]: opens a compressed stream as a source, tells what that took as "key value" lines,
// reads 64 KiB at READS random places (compared with the file PLAIN if one is given) and tells how much had to be
// decoded for each.
#include "io/stream_source.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>

namespace {

using namespace vdisk;

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int failed(const Error& error) {
    fmt::print(stderr, "stream_probe: {}\n", error.what);
    return 2;
}

Result<std::shared_ptr<StreamSource>> open(const FilePtr& file) {
    VDISK_TRY(compression, detect_compression(*file));
    if (!compression) return fail(ErrorKind::usage, "{}: not compressed", file->name());
    VDISK_TRY(stream, StreamSource::open(file, *compression, IndexCache::from_environment(), Limits{}));
    if (!stream->indexed()) VDISK_CHECK(stream->index({}, {}));
    return std::shared_ptr<StreamSource>(stream);
}

void tell(const StreamSource& stream, const FileSource& file, double opened) {
    const StreamStatistics statistics = stream.statistics();
    fmt::print("open_seconds {:.4f}\ncached {}\nplain {}\npacked {}\nsegments {}\nlongest_segment {}\nindex_size {}\n",
               opened, statistics.cached, stream.size(), file.size(), statistics.segments, statistics.longest_segment,
               statistics.index_size);
    for (const std::string& finding : stream.findings()) fmt::print("finding {}\n", finding);
}

Result<void> read_randomly(const StreamSource& stream, std::size_t count, const FileSource* plain) {
    std::mt19937_64 random(1);
    std::vector<std::byte> bytes(64 << 10);
    std::vector<std::byte> expected(bytes.size());
    std::uint64_t most = 0;
    double slowest = 0;
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t at = random() % (stream.size() - std::min<std::uint64_t>(stream.size() - 1, bytes.size()));
        const std::uint64_t before = stream.statistics().decoded;
        const auto one = std::chrono::steady_clock::now();
        VDISK_TRY(got, stream.read_at(at, bytes));
        slowest = std::max(slowest, seconds_since(one));
        most = std::max(most, stream.statistics().decoded - before);
        if (plain == nullptr) continue;
        VDISK_TRY(wanted, plain->read_at(at, expected));
        if (got != wanted || std::memcmp(bytes.data(), expected.data(), got) != 0)
            return fail_at(at, ErrorKind::corrupt, "wrong bytes at {}", at);
    }
    fmt::print("reads {}\nread_seconds_mean {:.5f}\nread_seconds_most {:.5f}\ndecoded_mean {}\ndecoded_most {}\n",
               count, seconds_since(start) / static_cast<double>(count), slowest, stream.statistics().decoded / count,
               most);
    return ok();
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 2) return failed(fail(ErrorKind::usage, "stream_probe FILE [READS [PLAIN]]"));
    auto file = FileSource::open(argv[1], FileKinds::regular_only);
    if (file.has_error()) return failed(file.error());
    const auto start = std::chrono::steady_clock::now();
    auto stream = open(file.value());
    if (stream.has_error()) return failed(stream.error());
    tell(*stream.value(), *file.value(), seconds_since(start));
    FilePtr plain;
    if (argc > 3) {
        auto opened = FileSource::open(argv[3], FileKinds::regular_only);
        if (opened.has_error()) return failed(opened.error());
        plain = opened.value();
    }
    if (argc > 2 && stream.value()->size() > 0)
        if (auto done = read_randomly(*stream.value(), std::strtoul(argv[2], nullptr, 10), plain.get());
            done.has_error())
            return failed(done.error());
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    fmt::print("peak_kib {}\n", usage.ru_maxrss);
    return 0;
}
