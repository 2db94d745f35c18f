// SPDX-License-Identifier: Apache-2.0
// Images on a file system that fails: at each read of the file in turn, at opening and at reading, the system says EIO,
// gives fewer bytes or none, or the file has another size by then. Each read gives an error or the right bytes, and all
// of them give the right bytes once the trouble is over.
#include "hyperv/storage.hpp"
#include "model.hpp"
#include "open/open.hpp"
#include "qcow2_builder.hpp"
#include "settled.hpp"
#include "system_reads.hpp"
#include "temporary_folder.hpp"
#include "vdi_builder.hpp"
#include "vma_builder.hpp"

#include <libdeflate.h>
#include <zstd.h>

#include <cerrno>
#include <condition_variable>
#include <fstream>
#include <iterator>
#include <mutex>
#include <thread>

#include "config.h"

using namespace vdisk;
using namespace vdisk::test;

namespace {

enum class Fault {
    once,        // EIO for one read, as NFS gives it
    lasting,     // EIO from there on
    interrupted, // EINTR for one read
    short_read,  // half of what is asked for
    truncated,   // the file is cut in half before the read
    emptied,     // the file is empty before the read
    grown,       // the file is longer before the read
};

constexpr std::array kFaults{Fault::once,      Fault::lasting, Fault::interrupted, Fault::short_read,
                             Fault::truncated, Fault::emptied, Fault::grown};

// Whether reads go on as if nothing had been.
bool is_harmless(Fault fault) {
    return fault == Fault::interrupted || fault == Fault::short_read || fault == Fault::grown;
}

Bytes file_bytes(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    BOOST_REQUIRE(!text.empty());
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

// Lets something happen at read number `index` (from 0) of all that are made.
class FaultyReads final : public SystemReads {
public:
    FaultyReads(Fault fault, std::uint64_t index, std::filesystem::path file)
        : fault_(fault), index_(index), file_(std::move(file)) {}

    ssize_t read(int descriptor, void* out, std::size_t count, off_t offset) override {
        const std::uint64_t number = next_++;
        if (over_ || number < index_ || (number > index_ && fault_ != Fault::lasting))
            return through(descriptor, out, count, offset);
        switch (fault_) {
        case Fault::once:
        case Fault::lasting: errno = EIO; return -1;
        case Fault::interrupted: errno = EINTR; return -1;
        case Fault::short_read: count = (count + 1) / 2; break;
        case Fault::truncated: std::filesystem::resize_file(file_, std::filesystem::file_size(file_) / 2); break;
        case Fault::emptied: std::filesystem::resize_file(file_, 0); break;
        case Fault::grown: std::filesystem::resize_file(file_, std::filesystem::file_size(file_) + 4096); break;
        }
        return through(descriptor, out, count, offset);
    }

    bool happened() const { return next_ > index_; }
    void end() { over_ = true; }

private:
    Fault fault_;
    std::uint64_t index_;
    std::filesystem::path file_;
    std::atomic<std::uint64_t> next_{0};
    std::atomic<bool> over_{false};
};

// An image, and the file of it that changes.
struct Victim {
    std::string text;
    std::filesystem::path file;
};

constexpr std::size_t kPiece = 50'000;

// What is read of each piece; nothing where that is an error.
using Pieces = std::vector<std::optional<Bytes>>;

Pieces read_pieces(const Image& image) {
    Pieces pieces;
    for (std::uint64_t at = 0; at < image.size(); at += kPiece) {
        Bytes out(kPiece);
        const auto got = image.read_at(at, out);
        if (got.has_value()) out.resize(got.value());
        pieces.push_back(got.has_value() ? std::optional(std::move(out)) : std::nullopt);
    }
    return pieces;
}

// How many pieces are errors where the truth is none. A wrong byte fails the test.
std::size_t errors_in(const Pieces& pieces, const Pieces& truth) {
    BOOST_REQUIRE_EQUAL(pieces.size(), truth.size());
    std::size_t errors = 0;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        errors += !pieces[i] && truth[i] ? 1U : 0U;
        BOOST_REQUIRE_MESSAGE(!pieces[i] || pieces[i] == truth[i], "wrong bytes in piece " << i);
    }
    return errors;
}

class Restored {
public:
    explicit Restored(const std::filesystem::path& file) : file_(file), bytes_(file_bytes(file)) {}
    void restore() const {
        if (std::filesystem::file_size(file_) != bytes_.size())
            std::ofstream(file_, std::ios::binary | std::ios::in)
                .write(reinterpret_cast<const char*>(bytes_.data()), static_cast<std::streamsize>(bytes_.size()));
        std::filesystem::resize_file(file_, bytes_.size());
    }

private:
    std::filesystem::path file_;
    Bytes bytes_;
};

// Reads that follow each other are alike: of many, some.
std::uint64_t after(std::uint64_t index) {
    return index + 1 + index / 30;
}

void check_opening(const Victim& victim, Fault fault, const Pieces& truth, const OpenOptions& options) {
    const Restored original(victim.file);
    for (std::uint64_t index = 0;; index = after(index)) {
        FaultyReads reads(fault, index, victim.file);
        const auto opened = open_disk(victim.text, options);
        const bool happened = reads.happened();
        reads.end();
        original.restore();
        BOOST_REQUIRE(opened.has_value() || !opened.error().what.empty());
        BOOST_REQUIRE_MESSAGE(opened.has_value() || !is_harmless(fault),
                              "opening fails by fault " << static_cast<int>(fault) << " at read " << index);
        // What a pass could not read then stays unreadable until the next opening.
        if (opened.has_value() &&
            opened.value().image->size() == required(open_disk(victim.text, options)).image->size())
            BOOST_REQUIRE(errors_in(read_pieces(*opened.value().image), truth) == 0 || !is_harmless(fault));
        BOOST_REQUIRE(errors_in(read_pieces(*required(open_disk(victim.text, options)).image), truth) == 0);
        if (!happened) return;
    }
}

void check_reading(const Victim& victim, Fault fault, const Pieces& truth, const OpenOptions& options) {
    const Restored original(victim.file);
    for (std::uint64_t index = 0;; index = after(index)) {
        const OpenedDisk disk = required(open_disk(victim.text, options));
        FaultyReads reads(fault, index, victim.file);
        const std::size_t errors = errors_in(read_pieces(*disk.image), truth);
        const bool happened = reads.happened();
        reads.end();
        original.restore();
        if (is_harmless(fault)) BOOST_REQUIRE(errors == 0);
        if (fault == Fault::once) BOOST_REQUIRE(errors <= 1);
        BOOST_REQUIRE_MESSAGE(errors_in(read_pieces(*disk.image), truth) == 0,
                              "fault " << static_cast<int>(fault) << " at read " << index << " is remembered");
        if (!happened) return;
    }
}

void check(const Victim& victim) {
    Limits small;
    small.cluster_cache_bytes = 1;
    small.stream_cache_bytes = 1;
    for (const Limits& limits : {Limits{}, small}) {
        const OpenOptions options{.limits = limits};
        const Pieces truth = read_pieces(*required(open_disk(victim.text, options)).image);
        BOOST_REQUIRE(truth.size() > 1);
        for (const Fault fault : kFaults) {
            check_opening(victim, fault, truth, options);
            check_reading(victim, fault, truth, options);
        }
    }
}

// A fixture, copied so that it can be changed.
Victim copied(const TemporaryFolder& folder, const std::string& fixture, const std::string& selector = "") {
    const std::filesystem::path from = std::filesystem::path(FIXTURES) / fixture;
    const auto file = folder.write(from.filename().string(), file_bytes(from));
    return {.text = file.string() + selector, .file = file};
}

Bytes deflated(const Bytes& plain) {
    const std::unique_ptr<libdeflate_compressor, decltype(&libdeflate_free_compressor)> compressor(
        libdeflate_alloc_compressor(6), libdeflate_free_compressor);
    Bytes out(libdeflate_deflate_compress_bound(compressor.get(), plain.size()));
    out.resize(libdeflate_deflate_compress(compressor.get(), plain.data(), plain.size(), out.data(), out.size()));
    return out;
}

constexpr std::uint64_t kCluster = 65536;

// What guest cluster `number` of the images here holds.
Bytes content(std::uint64_t number) {
    Random random(number + 1);
    Bytes bytes = random_bytes(random, kCluster / 2);
    bytes.resize(kCluster);
    return bytes;
}

// Clusters by turns compressed, stored, zero, and the parent's.
Bytes chain_top(std::uint64_t clusters) {
    Qcow2Builder image({.size = clusters * kCluster});
    for (std::uint64_t i = 0; i < clusters; ++i) {
        const Bytes bytes = content(i);
        const Bytes packed = deflated(bytes);
        if (i % 4 == 0) image.set(i, image.packed(image.append_tight(packed), packed.size()));
        if (i % 4 == 1) image.set(i, image.append(bytes) | kQcow2Copied);
        if (i % 4 == 2) image.set(i, kQcow2Zero);
    }
    image.extension(0xE2792ACA, "qcow2");
    image.backing("base.qcow2");
    return image.bytes();
}

Bytes chain_base(std::uint64_t clusters) {
    Qcow2Builder image({.size = clusters * kCluster});
    for (std::uint64_t i = 3; i < clusters; i += 4) image.set(i, image.append(content(i)) | kQcow2Copied);
    return image.bytes();
}

constexpr std::uint64_t kClusters = 24;

} // namespace

BOOST_AUTO_TEST_SUITE(read_faults)

BOOST_AUTO_TEST_CASE(a_qcow2_survives_its_own_file) {
    const TemporaryFolder folder;
    folder.write("base.qcow2", chain_base(kClusters));
    const auto top = folder.write("top.qcow2", chain_top(kClusters));
    check({.text = top.string(), .file = top});
}

BOOST_AUTO_TEST_CASE(a_qcow2_survives_its_backing_file) {
    const TemporaryFolder folder;
    const auto base = folder.write("base.qcow2", chain_base(kClusters));
    const auto top = folder.write("top.qcow2", chain_top(kClusters));
    check({.text = top.string(), .file = base});
}

BOOST_AUTO_TEST_CASE(a_vdi_survives) {
    const TemporaryFolder folder;
    Random random(3);
    VdiBuilder image{.disk_size = 500'000};
    Bytes model;
    fill_randomly(image, model, random);
    const auto file = folder.write("disk.vdi", image.build());
    check({.text = file.string(), .file = file});
}

BOOST_AUTO_TEST_CASE(an_archive_survives) {
    const TemporaryFolder folder;
    check(copied(folder, "vma/08-masks.vma", "#drive-scsi0"));
}

BOOST_AUTO_TEST_CASE(compressed_archives_survive) {
    for (const char* suffix : {
             ".zst",
             ".gz",
#ifdef HAVE_LZO
             ".lzo",
#endif
         }) {
        BOOST_TEST_CONTEXT(suffix) {
            const TemporaryFolder folder;
            check(copied(folder, std::string("vma/15-small.vma") + suffix, "#drive-scsi0"));
        }
    }
}

// An index of what could not be read would be wrong for as long as it is kept.
BOOST_AUTO_TEST_CASE(what_could_not_be_read_gets_into_no_kept_index) {
    VmaBuilder builder;
    Bytes model(300 * kCluster);
    Random random(8);
    for (std::size_t i = 0; i < model.size(); i += 4096) model[i] = static_cast<std::byte>(random());
    builder.add_device(1, "drive-scsi0", model.size());
    for (std::uint32_t i = 0; i < 300; ++i) builder.add_extent({VmaBuilder::slot_of(1, model, i)});
    const TemporaryFolder folder;
    const auto file = folder.write("archive.vma", builder.build());
    settle(file);
    for (const Fault fault : {Fault::once, Fault::lasting}) {
        for (std::uint64_t index = 0;; index = after(index)) {
            const TemporaryFolder kept;
            const OpenOptions options{.index_cache = IndexCache(kept.path())};
            FaultyReads reads(fault, index, file);
            const auto opened = open_disk(file.string(), options);
            const bool happened = reads.happened();
            reads.end();
            const OpenedDisk later = required(open_disk(file.string(), options));
            BOOST_REQUIRE_MESSAGE(reads_as(*later.image, model, 0, model.size()),
                                  "an error at read " << index << " is kept");
            if (!happened) break;
        }
    }
}

// Shows other bytes between two offsets of every file, as a file would that was exchanged and given its old times.
class OtherBytes final : public SystemReads {
public:
    OtherBytes(std::uint64_t start, std::uint64_t end) : start_(start), end_(end) {}

    ssize_t read(int descriptor, void* out, std::size_t count, off_t offset) override {
        const ssize_t got = through(descriptor, out, count, offset);
        for (ssize_t i = 0; i < got; ++i) {
            const auto at = static_cast<std::uint64_t>(offset + i);
            if (at >= start_ && at < end_) static_cast<unsigned char*>(out)[i] ^= 1;
        }
        return got;
    }

private:
    std::uint64_t start_;
    std::uint64_t end_;
};

BOOST_AUTO_TEST_CASE(another_content_means_another_index_where_times_prove_nothing) {
    const TemporaryFolder folder;
    constexpr std::uint64_t size = 40'000'000;
    const auto path = folder.write("file", Bytes(10));
    std::filesystem::resize_file(path, size);
    const auto file = FileSource::open(path, FileKinds::regular_only).value();
    const auto digest = [&](ChangeTimes times) { return IndexKey::of(*file, "k", times).value().digest(); };
    const auto sure = digest(ChangeTimes::sure), doubtful = digest(ChangeTimes::doubtful);
    for (const std::uint64_t start : {std::uint64_t{100'000}, size / 3, size / 2, size - 1'000'000}) {
        const OtherBytes other(start, start + 900'000);
        BOOST_TEST((digest(ChangeTimes::doubtful) != doubtful), start);
        BOOST_TEST((digest(ChangeTimes::sure) == sure), start); // a change there shows in the times
    }
    BOOST_TEST((digest(ChangeTimes::doubtful) == doubtful));
}

BOOST_AUTO_TEST_CASE(a_hyperv_file_survives) {
    for (const char* fixture : {"hyperv/large-values.vmcx", "hyperv/dirty.vmcx", "hyperv/object-table-chain.vmcx"}) {
        const TemporaryFolder folder;
        const Victim victim = copied(folder, fixture);
        const Restored original(victim.file);
        const auto values = [](const hyperv::Storage& storage) {
            std::vector<std::pair<std::string, std::optional<Bytes>>> list;
            for (hyperv::KeyId key = 0; key < storage.keys().size(); ++key) {
                auto value = storage.value(key);
                list.emplace_back(storage.key(key).entry.name,
                                  value.has_value() ? std::optional(std::move(value).value()) : std::nullopt);
            }
            return list;
        };
        const auto open = [&] {
            return hyperv::Storage::open(required(FileSource::open(victim.file, FileKinds::regular_only)));
        };
        const auto truth = values(*required(open()));
        for (const Fault fault : kFaults) {
            for (std::uint64_t index = 0;; index = after(index)) {
                const auto good = required(open());
                const auto file = required(FileSource::open(victim.file, FileKinds::regular_only));
                FaultyReads reads(fault, index, victim.file);
                const auto opened = hyperv::Storage::open(file);
                if (opened.has_value() && is_harmless(fault)) BOOST_REQUIRE(values(*opened.value()) == truth);
                BOOST_REQUIRE(opened.has_value() || !is_harmless(fault));
                const auto read = values(*good);
                BOOST_REQUIRE_EQUAL(read.size(), truth.size());
                for (std::size_t i = 0; i < read.size(); ++i) BOOST_REQUIRE(!read[i].second || read[i] == truth[i]);
                const bool happened = reads.happened();
                reads.end();
                original.restore();
                BOOST_REQUIRE(values(*good) == truth);
                BOOST_REQUIRE(values(*required(open())) == truth);
                if (!happened) break;
            }
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()

namespace {

// Reads that touch [from, to) wait until they are let go.
class StalledReads final : public SystemReads {
public:
    StalledReads(std::uint64_t from, std::uint64_t to) : from_(from), to_(to) {}

    ssize_t read(int descriptor, void* out, std::size_t count, off_t offset) override {
        const auto at = static_cast<std::uint64_t>(offset);
        if (at < to_ && at + count > from_) {
            std::unique_lock lock(mutex_);
            ++waiting_;
            changed_.notify_all();
            changed_.wait(lock, [this] { return let_go_; });
        }
        return through(descriptor, out, count, offset);
    }

    void wait_for_one() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return waiting_ > 0; });
    }
    void let_go() {
        const std::lock_guard lock(mutex_);
        let_go_ = true;
        changed_.notify_all();
    }

private:
    std::uint64_t from_;
    std::uint64_t to_;
    std::mutex mutex_;
    std::condition_variable changed_;
    int waiting_ = 0;
    bool let_go_ = false;
};

// One thread reads at `stalled` and waits; meanwhile all of `others` can be read; then it gets the right bytes too.
void check_stall(const ByteSource& disk, const Bytes& model, std::uint64_t stalled,
                 const std::vector<std::uint64_t>& others, StalledReads& reads) {
    bool right = false;
    std::thread reader([&] { right = reads_as(disk, model, stalled, 1000); });
    reads.wait_for_one();
    for (const std::uint64_t other : others) BOOST_TEST(reads_as(disk, model, other, 1000));
    reads.let_go();
    reader.join();
    BOOST_TEST(right);
}

} // namespace

BOOST_AUTO_TEST_SUITE(read_stalls)

BOOST_AUTO_TEST_CASE(a_compressed_cluster_that_does_not_come_holds_up_no_other) {
    Qcow2Builder image({.size = kClusters * kCluster});
    std::vector<std::uint64_t> places;
    Bytes model;
    for (std::uint64_t i = 0; i < kClusters; ++i) {
        const Bytes bytes = content(i);
        const Bytes packed = deflated(bytes);
        places.push_back(image.append(packed));
        image.set(i, image.packed(places.back(), packed.size()));
        model.insert(model.end(), bytes.begin(), bytes.end());
    }
    const TemporaryFolder folder;
    const auto file = folder.write("disk.qcow2", image.bytes());
    for (const std::uint64_t stalled : {0U, 7U, 23U}) {
        const OpenedDisk disk = required(open_disk(file.string(), {}));
        std::vector<std::uint64_t> others;
        for (std::uint64_t i = 0; i < kClusters; ++i)
            if (i != stalled) others.push_back(i * kCluster);
        StalledReads reads(places[stalled], places[stalled] + 1);
        check_stall(*disk.image, model, stalled * kCluster, others, reads);
    }
}

BOOST_AUTO_TEST_CASE(an_l2_table_that_does_not_come_holds_up_no_other) {
    constexpr std::uint64_t kCovered = 64 * 512; // by a table of 512 bytes
    Qcow2Builder image({.cluster_bits = 9, .size = 8 * kCovered});
    Bytes model(8 * kCovered);
    for (std::uint64_t i = 0; i < 8; ++i) {
        image.set(i * 64, image.append(Bytes(512, static_cast<std::byte>(i + 1))) | kQcow2Copied);
        std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(i * kCovered), 512, static_cast<std::byte>(i + 1));
        image.append(Bytes(8192)); // the next table is in another block
    }
    const TemporaryFolder folder;
    const auto file = folder.write("disk.qcow2", image.bytes());
    const OpenedDisk disk = required(open_disk(file.string(), {}));
    const std::uint64_t table = image.get64(image.l1_entry_offset(5)) & ~kQcow2Copied;
    StalledReads reads(table, table + 1);
    check_stall(*disk.image, model, 5 * kCovered, {0, kCovered, 7 * kCovered}, reads);
}

BOOST_AUTO_TEST_CASE(a_piece_of_a_stream_that_does_not_come_holds_up_no_other) {
    Random random(4);
    const Bytes part = random_bytes(random, 9U << 20);
    Bytes packed;
    Bytes model;
    std::vector<std::uint64_t> places;
    for (int i = 0; i < 3; ++i) {
        Bytes frame(ZSTD_compressBound(part.size()));
        frame.resize(ZSTD_compress(frame.data(), frame.size(), part.data(), part.size(), 1));
        places.push_back(packed.size());
        packed.insert(packed.end(), frame.begin(), frame.end());
        model.insert(model.end(), part.begin(), part.end());
    }
    const TemporaryFolder folder;
    const auto file = folder.write("disk.zst", packed);
    const OpenedDisk disk = required(open_disk(file.string(), {}));
    StalledReads reads(places[1], places[2]);
    check_stall(*disk.image, model, part.size() + 100, {0, 2 * part.size() + 100}, reads);
}

BOOST_AUTO_TEST_SUITE_END()
