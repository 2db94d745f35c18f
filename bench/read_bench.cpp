// SPDX-License-Identifier: Apache-2.0
/// Reads a disk in a chosen way through this library, as a raw file, or through libqcow, and prints what that cost as
/// one JSON line. usage: read_bench vdisk|raw|qcow IMAGE open|whole|data|random [THREADS [READS [READERS]]]
/// `whole` reads pieces of 1 MiB in order, `data` the same but for holes, as `qemu-img convert` reads; `random` reads
/// 64 KiB at READS offsets, the same ones for each program: READERS threads share them.
#include "open/open.hpp"

#include "config.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <random>
#include <thread>

#ifdef HAVE_LIBQCOW
#include <libqcow.h>
#endif

namespace {

using namespace vdisk;

class Reader {
public:
    virtual ~Reader() = default;
    virtual std::uint64_t size() const = 0;
    virtual bool read(std::uint64_t offset, std::span<std::byte> out) = 0;
    /// Bytes from `offset` that are known to be zeros.
    virtual std::uint64_t hole_at(std::uint64_t) { return 0; }
};

class SourceReader final : public Reader {
public:
    explicit SourceReader(SourcePtr source) : source_(std::move(source)) {}
    std::uint64_t size() const override { return source_->size(); }
    bool read(std::uint64_t offset, std::span<std::byte> out) override {
        return source_->read_at(offset, out).has_value();
    }

private:
    SourcePtr source_;
};

class DiskReader final : public Reader {
public:
    explicit DiskReader(ImagePtr disk) : disk_(std::move(disk)) {}
    std::uint64_t size() const override { return disk_->size(); }
    bool read(std::uint64_t offset, std::span<std::byte> out) override {
        return disk_->read_at(offset, out).has_value();
    }
    std::uint64_t hole_at(std::uint64_t offset) override {
        const auto found = disk_->resolve(GuestOffset{offset}, disk_->size() - offset);
        return found.has_value() && found.value().extent.kind == Extent::Kind::zero ? found.value().extent.length : 0;
    }

private:
    ImagePtr disk_;
};

#ifdef HAVE_LIBQCOW
class QcowReader final : public Reader {
public:
    explicit QcowReader(const char* path) {
        if (libqcow_file_initialize(&file_, nullptr) != 1 ||
            libqcow_file_open(file_, path, LIBQCOW_OPEN_READ, nullptr) != 1)
            return;
        size64_t size = 0;
        if (libqcow_file_get_media_size(file_, &size, nullptr) == 1) size_ = size;
    }
    ~QcowReader() override { libqcow_file_free(&file_, nullptr); }
    std::uint64_t size() const override { return size_; }
    bool read(std::uint64_t offset, std::span<std::byte> out) override {
        return libqcow_file_read_buffer_at_offset(file_, out.data(), out.size(), static_cast<off64_t>(offset),
                                                  nullptr) >= 0;
    }

private:
    libqcow_file_t* file_ = nullptr;
    std::uint64_t size_ = 0;
};
#endif

std::unique_ptr<Reader> open_reader(const std::string& kind, const char* path, std::size_t threads) {
    if (kind == "vdisk") {
        auto options = OpenOptions::from_environment();
        if (options.has_error()) return nullptr;
        options.value().limits.threads = threads;
        auto disk = open_disk(path, options.value());
        if (disk.has_value()) return std::make_unique<DiskReader>(disk.value().image);
        std::fprintf(stderr, "%s\n", disk.error().what.c_str());
    }
    if (kind == "raw") {
        auto file = FileSource::open(path, FileKinds::regular_or_block_device);
        if (file.has_value()) return std::make_unique<SourceReader>(file.value());
    }
#ifdef HAVE_LIBQCOW
    if (kind == "qcow") return std::make_unique<QcowReader>(path);
#endif
    return nullptr;
}

bool read_whole(Reader& reader) {
    std::vector<std::byte> piece(1U << 20);
    for (std::uint64_t at = 0; at < reader.size(); at += piece.size())
        if (!reader.read(at, std::span(piece).first(
                                 static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), reader.size() - at)))))
            return false;
    return true;
}

bool read_data(Reader& reader) {
    std::vector<std::byte> piece(1U << 20);
    for (std::uint64_t at = 0; at < reader.size();) {
        if (const std::uint64_t hole = reader.hole_at(at); hole > 0) {
            at += hole;
            continue;
        }
        const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), reader.size() - at));
        if (!reader.read(at, std::span(piece).first(length))) return false;
        at += length;
    }
    return true;
}

bool read_random(Reader& reader, std::uint64_t reads, std::size_t readers) {
    std::atomic<bool> good{true};
    const auto read = [&](std::size_t first) {
        std::vector<std::byte> piece(64U << 10);
        std::mt19937_64 random(1);
        const std::uint64_t places = reader.size() / piece.size();
        for (std::uint64_t i = 0; i < reads; ++i) {
            const std::uint64_t at = random() % places * piece.size();
            if (i % readers == first && !reader.read(at, piece)) good = false;
        }
    };
    std::vector<std::jthread> threads;
    for (std::size_t first = 1; first < readers; ++first) threads.emplace_back(read, first);
    read(0);
    threads.clear();
    return good;
}

// Bytes. Not getrusage(): what the program that started this one had counts there too.
std::uint64_t peak_memory() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) * 1024;
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 4) return 2;
    const std::string mode = argv[3];
    const std::size_t threads = argc > 4 ? std::stoul(argv[4]) : 0;
    const std::uint64_t reads = argc > 5 ? std::stoul(argv[5]) : 2000;
    const std::size_t readers = argc > 6 ? std::max(1UL, std::stoul(argv[6])) : 1;
    const auto start = std::chrono::steady_clock::now();
    const auto reader = open_reader(argv[1], argv[2], threads);
    if (!reader || reader->size() == 0) return 1;
    const auto opened = std::chrono::steady_clock::now();
    const bool good = mode == "open" || (mode == "whole"  ? read_whole(*reader)
                                         : mode == "data" ? read_data(*reader)
                                                          : read_random(*reader, reads, readers));
    const auto end = std::chrono::steady_clock::now();
    nlohmann::ordered_json line;
    line["open"] = std::chrono::duration<double>(opened - start).count();
    line["seconds"] = std::chrono::duration<double>(end - (mode == "open" ? start : opened)).count();
    line["peak_rss"] = peak_memory();
    std::printf("%s\n", line.dump().c_str());
    return good ? 0 : 1;
}
