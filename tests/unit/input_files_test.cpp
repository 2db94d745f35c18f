// SPDX-License-Identifier: Apache-2.0
// Which files an opening reads or names, and what is seen of other programs that are at them.
#include "io/input_files.hpp"
#include "open/open.hpp"
#include "qcow2_builder.hpp"
#include "temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

using namespace vdisk;
using namespace vdisk::test;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(input_files)

namespace {

bool has(const InputFiles& inputs, const fs::path& path) {
    const InputFile wanted = look_at(path);
    return std::ranges::any_of(inputs.all(), [&](const InputFile& input) {
        return input.identity == wanted.identity && input.folder == wanted.folder && input.last == wanted.last;
    });
}

// An image in the folder whose backing file is called `name`.
fs::path image_over(const TemporaryFolder& folder, const std::string& name) {
    Qcow2Builder image({.size = 65536});
    image.backing(name);
    return folder.write("image.qcow2", image.bytes());
}

// A lock as QEMU holds it on a file that it has open, for its permission `number`.
class QemuLock {
public:
    QemuLock(const fs::path& path, off_t number) : descriptor_(::open(path.c_str(), O_RDONLY)) {
        struct flock lock {};
        lock.l_type = F_RDLCK;
        lock.l_whence = SEEK_SET;
        lock.l_start = 100 + number;
        lock.l_len = 1;
        BOOST_REQUIRE_EQUAL(::fcntl(descriptor_, F_OFD_SETLK, &lock), 0);
    }
    ~QemuLock() { ::close(descriptor_); }
    QemuLock(const QemuLock&) = delete;
    QemuLock& operator=(const QemuLock&) = delete;

private:
    int descriptor_;
};

} // namespace

BOOST_AUTO_TEST_CASE(what_an_opening_reads_is_told) {
    const TemporaryFolder folder;
    folder.write("base.raw", std::vector<std::byte>(65536));
    const fs::path path = image_over(folder, "base.raw");
    const auto inputs = std::make_shared<InputFiles>();
    const auto disk = open_disk(path.native(), {.inputs = inputs});
    BOOST_REQUIRE(disk.has_value());
    BOOST_TEST(has(*inputs, path));
    BOOST_TEST(has(*inputs, folder.path() / "base.raw"));
    BOOST_TEST(inputs->open().size() == 2U);
}

BOOST_AUTO_TEST_CASE(closed_files_are_not_open_and_are_inputs_all_the_same) {
    const TemporaryFolder folder;
    folder.write("base.raw", std::vector<std::byte>(65536));
    const fs::path path = image_over(folder, "base.raw");
    const auto inputs = std::make_shared<InputFiles>();
    (void)open_disk(path.native(), {.inputs = inputs});
    BOOST_TEST(inputs->open().empty());
    BOOST_TEST(has(*inputs, folder.path() / "base.raw"));
}

BOOST_AUTO_TEST_CASE(what_is_named_and_missing_or_refused_is_told) {
    for (const ReferencePolicy policy : {ReferencePolicy::any, ReferencePolicy::deny}) {
        const TemporaryFolder folder;
        const fs::path path = image_over(folder, "gone.raw");
        const auto inputs = std::make_shared<InputFiles>();
        const auto file = open_file(path.native(), {.references = policy, .inputs = inputs});
        BOOST_REQUIRE(file.has_value());
        BOOST_TEST(!has(*inputs, folder.path() / "gone.raw"));
        find_inputs(file.value(), {.references = policy, .inputs = inputs});
        BOOST_TEST(has(*inputs, folder.path() / "gone.raw"));
        BOOST_TEST(!has(*inputs, folder.path() / "other.raw"));
    }
}

BOOST_AUTO_TEST_CASE(a_file_that_names_itself_is_followed_no_further) {
    const TemporaryFolder folder;
    const fs::path path = image_over(folder, "image.qcow2");
    const auto inputs = std::make_shared<InputFiles>();
    const auto file = open_file(path.native(), {.inputs = inputs});
    BOOST_REQUIRE(file.has_value());
    find_inputs(file.value(), {.inputs = inputs});
    BOOST_TEST(has(*inputs, path));
}

BOOST_AUTO_TEST_CASE(a_writers_lock_is_seen_and_a_readers_is_none) {
    const TemporaryFolder folder;
    const fs::path path = folder.write("disk", std::vector<std::byte>(512));
    const auto file = FileSource::open(path, FileKinds::regular_only);
    BOOST_REQUIRE(file.has_value());
    BOOST_TEST(!file.value()->has_writer());
    for (const auto& [permission, writes] : {std::pair(0, false), {1, true}, {2, false}, {3, true}}) {
        const QemuLock lock(path, permission);
        BOOST_TEST(file.value()->has_writer() == writes);
    }
    BOOST_TEST(!file.value()->has_writer());
}

BOOST_AUTO_TEST_CASE(changes_are_seen) {
    const TemporaryFolder folder;
    const fs::path path = folder.write("disk", std::vector<std::byte>(512));
    const auto file = FileSource::open(path, FileKinds::regular_only);
    BOOST_REQUIRE(file.has_value());
    BOOST_TEST(!file.value()->change().has_value());
    fs::last_write_time(path, fs::last_write_time(path) - std::chrono::hours(1));
    BOOST_TEST(file.value()->change().has_value());
    fs::resize_file(path, 1024);
    BOOST_TEST(file.value()->change()->find("512") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
