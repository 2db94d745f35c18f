// SPDX-License-Identifier: Apache-2.0
#include "open/statistics.hpp"

#include "base/system/program.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>

namespace vdisk {
namespace {

constexpr const char* kVariable = "VDISK_STATS";

std::string in_words(const CacheStatistics& cache) {
    return fmt::format("{} found of {} looked up", cache.hits, cache.hits + cache.misses);
}

std::string describe(const Caches& caches, std::span<const std::shared_ptr<const StreamSource>> streams) {
    const ReadCounters& reads = caches.reads;
    const ExpandedBlocks& clusters = caches.clusters;
    std::string text = fmt::format("reads: {}, {} bytes\n", reads.reads.load(), reads.bytes.load());
    text += fmt::format("bytes read from files: {} as they are, {} compressed, {} of tables\n", reads.stored.load(),
                        reads.packed.load(), caches.metadata.statistics().misses * CachedTable::kBlockBytes);
    text += fmt::format("table blocks: {}\n", in_words(caches.metadata.statistics()));
    text += fmt::format("expanded clusters: {}\n", in_words(clusters.statistics()));
    text += fmt::format("clusters expanded: {}, of them {} ahead of the reader\n", clusters.expanded(),
                        clusters.expanded_ahead());
    for (const auto& stream : streams) {
        const StreamStatistics decoded = stream->statistics();
        text += fmt::format(
            "compressed stream {}: {} bytes decoded, {} times ahead of the reader, index of {} segments {}\n",
            stream->name(), decoded.decoded, decoded.ahead, decoded.segments,
            decoded.cached ? "from the cache" : "made now");
    }
    return text;
}

// Each line with the program's name, so that it is known whose it is.
void print(std::string_view name, const std::string& text) {
    fmt::print(stderr, "{}: statistics of {}:\n", system::program_name(), name);
    for (std::string_view rest = text; !rest.empty();) {
        const std::string_view line = rest.substr(0, rest.find('\n'));
        fmt::print(stderr, "{}: {}\n", system::program_name(), line);
        rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    }
}

} // namespace

Result<StatisticsReport> statistics_from_environment() {
    const char* value = std::getenv(kVariable);
    const std::string_view word = value == nullptr ? "" : value;
    if (word.empty() || word == "0") return StatisticsReport{};
    if (word == "1") return StatisticsReport(print);
    return fail(ErrorKind::usage, "{} is '{}', but can be 1 or 0", kVariable, printable(word));
}

ImagePtr with_statistics(ImagePtr image, std::vector<std::shared_ptr<const StreamSource>> streams,
                         StatisticsReport report) {
    const Image* raw = image.get();
    return {raw, [image = std::move(image), streams = std::move(streams),
                  report = std::move(report)](const Image*) mutable noexcept {
                try {
                    report(image->name(), describe(image->caches(), streams));
                } catch (const std::exception&) { // no memory for it: the disk is closed all the same
                }
                image.reset();
                streams.clear();
            }};
}

} // namespace vdisk
