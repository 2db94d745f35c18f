// SPDX-License-Identifier: Apache-2.0
// Opens and reads images through the C interface while one allocation after the other fails, ours and those of the
// libraries below: an error each time, never a crash, a leak (under the address sanitizer) or a wrong byte, and what
// failed works when there is memory again.
#include "capi/vdisk.h"
#include "failing_new.hpp"
#include "qcow2_builder.hpp"
#include "temporary_folder.hpp"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "config.h"

namespace {

constexpr std::size_t kPiece = 100'000;
using vdisk::test::Failing;
using Bytes = std::vector<unsigned char>;

struct Close {
    void operator()(vdisk_disk* disk) const noexcept { vdisk_close(disk); }
};
using Disk = std::unique_ptr<vdisk_disk, Close>;

void require(bool condition, const std::string& image, std::size_t count, const char* what) {
    if (condition) return;
    std::printf("FAILED (failures=1): %s, allocation %zu: %s: %s\n", image.c_str(), count, what, vdisk_last_error());
    std::exit(1);
}

// Every allocation of the first ones, later ones with growing steps: what a pass over an archive allocates is alike.
std::size_t after(std::size_t count) {
    return count + 1 + count / 200;
}

// Returns how many allocations failed.
std::size_t open_without_memory(const std::string& image) {
    std::size_t failed = 0;
    for (std::size_t count = 1;; count = after(count), ++failed) {
        Disk disk;
        bool unused = false;
        {
            const Failing failing(count);
            disk.reset(vdisk_open(image.c_str(), nullptr));
            unused = Failing::unused();
        }
        require(disk || *vdisk_last_error() != '\0', image, count, "no error");
        if (unused) {
            require(disk != nullptr, image, count, "can't be opened");
            return failed;
        }
    }
}

std::size_t read_without_memory(const std::string& image) {
    std::size_t failed = 0;
    for (std::size_t count = 1;; count = after(count), ++failed) {
        const Disk reference(vdisk_open(image.c_str(), nullptr)); // its caches are its own
        const Disk disk(vdisk_open(image.c_str(), nullptr));
        require(reference && disk, image, count, "can't be opened");
        bool unused = true;
        for (std::uint64_t part = 0; part < 3; ++part) {
            const std::uint64_t offset = vdisk_size(disk.get()) / 3 * part;
            Bytes expected(kPiece);
            Bytes found(kPiece);
            const auto size = vdisk_read(reference.get(), expected.data(), kPiece, offset);
            std::int64_t got = 0;
            {
                const Failing failing(count);
                got = vdisk_read(disk.get(), found.data(), kPiece, offset);
                unused = Failing::unused() && unused;
            }
            require(got == -1 || (got == size && found == expected), image, count, "wrong bytes");
            require(vdisk_read(disk.get(), found.data(), kPiece, offset) == size && (size < 0 || found == expected),
                    image, count, "wrong bytes later");
        }
        if (unused) return failed;
    }
}

// What libcrypto and others allocate once for the whole process, and never again if that fails.
void warm_up(const std::string& image) {
    const Disk disk(vdisk_open(image.c_str(), nullptr));
    Bytes bytes(kPiece);
    require(disk && vdisk_read(disk.get(), bytes.data(), kPiece, 0) > 0, image, 0, "can't be read");
}

std::size_t run(const std::string& image, const std::string& name) {
    warm_up(image);
    const std::size_t opening = open_without_memory(image);
    const std::size_t reading = read_without_memory(image);
    std::printf("%s: %zu allocations failed while opening, %zu while reading\n", name.c_str(), opening, reading);
    return 2;
}

// Encrypted by the old method, which takes any passphrase: what comes out is noise, but the same each time.
std::size_t run_encrypted() {
    const vdisk::test::TemporaryFolder folder;
    vdisk::test::Qcow2Builder image({});
    image.put32(vdisk::test::qcow2_field::crypt_method, 1);
    for (std::uint64_t i = 0; i < 16; ++i)
        image.set(i,
                  image.append(std::vector<std::byte>(65536, static_cast<std::byte>(i))) | vdisk::test::kQcow2Copied);
    const auto key = folder.write("key", std::vector<std::byte>(8, std::byte{'k'}));
    const auto path = folder.write("encrypted.qcow2", image.bytes());
    return run(path.string() + "#key-file=" + key.string(), "encrypted.qcow2");
}

} // namespace

int main() {
    ::setenv("VDISK_CACHE_DIR", "none", 1);
    std::printf("malloc() %s fail too\n", Failing::reaches_c() ? "and the like" : "does not");
    std::size_t ran = run_encrypted();
    for (const char* name : {
             "fixtures/qcow2/demo.qcow2",
             "fuzz/corpus/fuzz_qcow2/extended-l2",
             "fuzz/corpus/fuzz_qcow2/packed-zlib",
             "fuzz/corpus/fuzz_qcow2/packed-zstd",
             "fuzz/corpus/fuzz_qcow2/snapshots",
             "fixtures/vma/08-masks.vma#drive-scsi0",
             "fixtures/vma/06-shuffled.vma.zst#drive-scsi0",
             "fixtures/vma/06-shuffled.vma.gz#drive-scsi0",
#ifdef HAVE_LZO
             "fixtures/vma/06-shuffled.vma.lzo#drive-scsi0",
#endif
         }) {
        ran += run(std::string(TESTS) + "/" + name, name);
    }
    std::printf("Ran %zu tests\n", ran);
    return 0;
}
