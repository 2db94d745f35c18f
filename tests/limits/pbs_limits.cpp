// SPDX-License-Identifier: Apache-2.0
#include "base/digest.hpp"
#include "base/text.hpp"
#include "disk/audit.hpp"
#include "image/image.hpp"
#include "limits.hpp"
#include "open/open.hpp"
#include "open/report.hpp"
#include "system_reads.hpp"

#include <zstd.h>

#include <array>
#include <fstream>

namespace vdisk::test {
namespace {

using Digest = std::array<std::byte, 32>;

constexpr std::uint64_t kChunk = 4U << 20;

void put_little(Bytes& bytes, std::size_t at, std::uint64_t value) {
    for (std::size_t i = 0; i < 8; ++i) bytes[at + i] = static_cast<std::byte>(value >> (8 * i));
}

Bytes index_header(std::uint64_t size, std::uint64_t chunk_size) {
    Bytes bytes(4096);
    put_little(bytes, 0, 0xCD0FFD91ED417F2F);
    put_little(bytes, 64, size);
    put_little(bytes, 72, chunk_size);
    return bytes;
}

std::filesystem::path index_in(const Folder& folder) {
    return folder / "disk.fidx";
}

Digest digest_of(const Bytes& bytes) {
    Hasher hasher("SHA256");
    hasher.add(bytes);
    return *hasher.finish<32>();
}

// A store whose one chunk has the digest and the file `file`.
void write_store(const Folder& folder, const Digest& digest, const Bytes& file, std::uint64_t file_size = 0) {
    Bytes index = index_header(kChunk, kChunk);
    index.insert(index.end(), digest.begin(), digest.end());
    write_file(index_in(folder), index);
    const std::string name = hex(digest);
    std::filesystem::create_directories(folder / ".chunks" / name.substr(0, 4));
    write_file(folder / ".chunks" / name.substr(0, 4) / name, file, file_size);
}

void require_lost(const Folder& folder, std::uint64_t most_read) {
    const CountedReads reads;
    const OpenedDisk disk = required(open_disk(index_in(folder).string(), {}), "opening");
    Bytes piece(4096);
    require(disk.image->read_at(0, piece).has_error(), "reads");
    require(disk.image->read_at(kChunk - 4096, piece).has_error(), "reads at the end");
    require_at_most(reads.bytes(), most_read, "bytes read");
}

LimitCase index_of_a_terabyte() {
    return {.name = "pbs: an index of a terabyte in a sparse file",
            .make =
                [](const Folder& folder) {
                    write_file(index_in(folder), index_header(std::uint64_t{1} << 62, kChunk), std::uint64_t{1} << 40);
                    std::filesystem::create_directory(folder / ".chunks");
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    require_error(open_file(index_in(folder).string(), {}), ErrorKind::limit_exceeded, "opening");
                    require_at_most(reads.bytes(), 1U << 20, "bytes read");
                }};
}

// Frames of zeros, one behind the other, that expand to 16 GiB.
LimitCase chunk_that_expands_without_end() {
    return {.name = "pbs: a chunk that expands to 16 GiB",
            .make =
                [](const Folder& folder) {
                    const Bytes zeros(16U << 20);
                    Bytes frame(ZSTD_compressBound(zeros.size()));
                    frame.resize(ZSTD_compress(frame.data(), frame.size(), zeros.data(), zeros.size(), 1));
                    Bytes file(12);
                    put_little(file, 0, 0x7FA3B66F4258B931);
                    for (int i = 0; i < 1024; ++i) file.insert(file.end(), frame.begin(), frame.end());
                    write_store(folder, digest_of(Bytes(100, std::byte{1})), file);
                },
            .check = [](const Folder& folder) { require_lost(folder, 8U << 20); }};
}

LimitCase chunk_file_of_a_terabyte() {
    return {.name = "pbs: a chunk's file of a terabyte",
            .make =
                [](const Folder& folder) {
                    Bytes file(12);
                    put_little(file, 0, 0xA17083BE0738AB42);
                    write_store(folder, digest_of(Bytes(100, std::byte{2})), file, std::uint64_t{1} << 40);
                },
            .check = [](const Folder& folder) { require_lost(folder, 1U << 20); }};
}

LimitCase disk_without_digests() {
    return {.name = "pbs: a disk of 4 EiB with one digest",
            .make =
                [](const Folder& folder) {
                    write_store(folder, digest_of(Bytes(100, std::byte{3})), Bytes(12));
                    std::fstream index(index_in(folder), std::ios::binary | std::ios::in | std::ios::out);
                    Bytes size(8);
                    put_little(size, 0, std::uint64_t{1} << 62);
                    index.seekp(64);
                    index.write(reinterpret_cast<const char*>(size.data()), 8);
                },
            .check =
                [](const Folder& folder) {
                    const CountedReads reads;
                    const OpenedDisk disk = required(open_disk(index_in(folder).string(), {}), "opening");
                    const AuditReport report = required(audit_file(disk.file, {}), "audit");
                    require(report.number_of(Severity::error) > 0, "the audit finds nothing");
                    require_at_most(reads.bytes(), 1U << 20, "bytes read");
                }};
}

LimitCase key_that_takes_all_memory() {
    return {.name = "pbs: a key file whose scrypt asks for an exabyte",
            .make =
                [](const Folder& folder) {
                    Bytes file(44);
                    put_little(file, 0, 0xF04C2D22BE85677B);
                    write_store(folder, digest_of(Bytes(100, std::byte{4})), file);
                    std::ofstream(folder / "key.json")
                        << R"({"kdf":{"Scrypt":{"n":1125899906842624,"r":8,"p":1,"salt":"AAAA"}},"data":"AAAA"})";
                    std::ofstream(folder / "pass") << "passphrase";
                },
            .check =
                [](const Folder& folder) {
                    const std::string text = index_in(folder).string() + "#key-file=" + (folder / "key.json").string() +
                                             ",passphrase-file=" + (folder / "pass").string();
                    require(open_disk(text, {}).has_error(), "opens");
                }};
}

} // namespace

std::vector<LimitCase> pbs_limits() {
    return {index_of_a_terabyte(), chunk_that_expands_without_end(), chunk_file_of_a_terabyte(), disk_without_digests(),
            key_that_takes_all_memory()};
}

} // namespace vdisk::test
