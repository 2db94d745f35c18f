// SPDX-License-Identifier: Apache-2.0
#include "io/file_source.hpp"
#include "model.hpp"
#include "special_files.hpp"
#include "temporary_folder.hpp"

#include <boost/endian/buffers.hpp>
#include <boost/test/unit_test.hpp>

using namespace vdisk;
using namespace vdisk::test;

BOOST_AUTO_TEST_SUITE(io)

namespace {

ErrorKind kind_of_opening(const std::filesystem::path& path, FileKinds kinds = FileKinds::regular_or_block_device) {
    const auto file = FileSource::open(path, kinds);
    BOOST_REQUIRE(file.has_error());
    BOOST_TEST(file.error().what.find(path.filename().string()) != std::string::npos);
    return file.error().kind;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_file_reads_like_its_bytes) {
    Random random(1);
    const TemporaryFolder folder;
    const Bytes bytes = random_bytes(random, 100'003);
    const auto file = FileSource::open(folder.write("f", bytes), FileKinds::regular_only);
    BOOST_REQUIRE(file.has_value());
    check_against_model(*file.value(), bytes, 4096, random);
}

BOOST_AUTO_TEST_CASE(what_is_no_file_is_refused_without_waiting, *on_posix()) {
    const TemporaryFolder folder;
    const auto fifo = folder.path() / "fifo";
    make_fifo(fifo);
    BOOST_TEST((kind_of_opening(fifo) == ErrorKind::io));
    BOOST_TEST((kind_of_opening(folder.path()) == ErrorKind::io));
    BOOST_TEST((kind_of_opening(folder.path() / "missing") == ErrorKind::io));
    BOOST_TEST((kind_of_opening("/dev/zero") == ErrorKind::io));
    const auto link = folder.path() / "link";
    std::filesystem::create_symlink("/dev/zero", link);
    BOOST_TEST((kind_of_opening(link, FileKinds::regular_only) == ErrorKind::io));
}

BOOST_AUTO_TEST_CASE(a_file_that_shrinks_while_open_is_truncated_not_zero) {
    Random random(1);
    const TemporaryFolder folder;
    const Bytes bytes = random_bytes(random, 10'000);
    const auto path = folder.write("f", bytes);
    const auto file = FileSource::open(path, FileKinds::regular_only);
    std::filesystem::resize_file(path, 5000);
    Bytes out(1000);
    BOOST_TEST((file.value()->read_at(4500, out).error().kind == ErrorKind::truncated));
    BOOST_TEST(reads_as(*file.value(), bytes, 4000, 1000));
}

BOOST_AUTO_TEST_CASE(a_slice_ends_with_its_source) {
    Random random(1);
    const Bytes bytes = random_bytes(random, 1000);
    const SliceSource inside(memory(bytes), 100, 200);
    check_against_model(inside, Bytes(bytes.begin() + 100, bytes.begin() + 300), 50, random);
    BOOST_TEST(SliceSource(memory(bytes), 900, 200).size() == 100U);
    BOOST_TEST(SliceSource(memory(bytes), 2000, 200).size() == 0U);
}

BOOST_AUTO_TEST_CASE(a_structure_past_the_end_is_truncated) {
    const SourcePtr source = memory(Bytes(7));
    BOOST_TEST((read_struct<boost::endian::big_uint64_buf_t>(*source, 0, "x").error().kind == ErrorKind::truncated));
    BOOST_TEST((read_bytes(*source, 1, std::uint64_t{1} << 60, "x").error().kind == ErrorKind::truncated));
    BOOST_TEST(read_bytes(*source, 1, 6, "x").value().size() == 6U);
}

BOOST_AUTO_TEST_SUITE_END()
