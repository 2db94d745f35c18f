// SPDX-License-Identifier: Apache-2.0
#include "format/ova/ovf.hpp"
#include "format/ova/tar.hpp"
#include "format_in_memory.hpp"
#include "io/joined_source.hpp"
#include "open/ova/ova.hpp"

using namespace vdisk;
using namespace vdisk::test;
using ova::kTarBlock;

BOOST_AUTO_TEST_SUITE(ova_format)

namespace {

const FormatInMemory kInMemory{kOvaFormat};

// An archive as ustar writes it.
class Tar {
public:
    Tar& add(std::string_view name, std::string_view data, char type = '0') {
        header(name, fmt::format("{:011o}", data.size()), type);
        for (const char each : data) bytes_.push_back(static_cast<std::byte>(each));
        bytes_.resize((bytes_.size() + kTarBlock - 1) / kTarBlock * kTarBlock);
        return *this;
    }

    Tar& header(std::string_view name, std::string_view size, char type = '0') {
        const std::size_t at = bytes_.size();
        bytes_.resize(at + kTarBlock);
        put(at, name);
        put(at + 124, size);
        put(at + 148, "        ");
        bytes_[at + 156] = static_cast<std::byte>(type);
        put(at + 257, std::string_view("ustar\0"
                                       "00",
                                       8));
        seal(at);
        return *this;
    }

    void seal(std::size_t at) {
        unsigned sum = 0;
        for (std::size_t i = 0; i < kTarBlock; ++i)
            sum += i >= 148 && i < 156 ? ' ' : std::to_integer<unsigned>(bytes_[at + i]);
        put(at + 148, fmt::format("{:06o}", sum));
    }

    Bytes end() const {
        Bytes whole = bytes_;
        whole.resize(whole.size() + 2 * kTarBlock);
        return whole;
    }
    const Bytes& bytes() const { return bytes_; }

private:
    void put(std::size_t at, std::string_view text) {
        for (std::size_t i = 0; i < text.size(); ++i) bytes_[at + i] = static_cast<std::byte>(text[i]);
    }

    Bytes bytes_;
};

ova::Members members(const Bytes& archive) {
    return required(ova::read_members(*memory(archive), Limits{}));
}

std::string ovf(std::string_view files, std::string_view disks) {
    return fmt::format(
        R"(<?xml version="1.0"?><Envelope xmlns:ovf="u"><References>{}</References><DiskSection>{}</DiskSection>)"
        R"(<VirtualSystem ovf:id="machine"/></Envelope>)",
        files, disks);
}

const std::string kOneDisk = ovf(R"(<File ovf:id="f" ovf:href="d.img" ovf:size="1024"/>)",
                                 R"(<Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="1024"/>)");

} // namespace

BOOST_AUTO_TEST_CASE(members_of_every_length_are_found_where_they_lie) {
    for (const std::size_t size : {0U, 1U, 511U, 512U, 513U, 1024U}) {
        const Bytes archive = Tar().add("first", std::string(size, 'x')).add("second", "y").end();
        const auto found = members(archive);
        BOOST_TEST(found.damage == "");
        BOOST_REQUIRE_EQUAL(found.list.size(), 2U);
        BOOST_TEST(found.list[0].offset == 512U);
        BOOST_TEST(found.list[0].size == size);
        BOOST_TEST(found.list[1].name == "second");
        BOOST_TEST(std::to_integer<char>(archive[found.list[1].offset]) == 'y');
    }
}

BOOST_AUTO_TEST_CASE(names_of_every_kind_are_read) {
    const std::string name(300, 'n');
    const auto gnu = members(Tar().add("././@LongLink", name + '\0', 'L').add("short", "").end());
    BOOST_TEST(gnu.list.at(0).name == name);
    const auto pax = members(Tar().add("x", "13 path=a/b\n\n", 'x').add("short", "").end());
    BOOST_TEST(pax.list.at(0).name == "a/b\n");
    const auto after = members(Tar().add("x", "12 path=a/b\n", 'x').add("short", "").add("own", "").end());
    BOOST_TEST(after.list.at(0).name == "a/b");
    BOOST_TEST(after.list.at(1).name == "own");
}

BOOST_AUTO_TEST_CASE(sizes_beyond_octal_digits_are_read) {
    std::string base256(12, '\0');
    base256[0] = '\x80';
    base256[7] = 4; // 2^34
    const auto found = members(Tar().header("big", base256).bytes());
    BOOST_TEST(found.list.at(0).size == std::uint64_t{1} << 34);
    const auto pax = members(Tar().add("x", "20 size=17179869184\n", 'x').header("big", "00000000000").bytes());
    BOOST_TEST(pax.list.at(0).size == std::uint64_t{1} << 34);
}

BOOST_AUTO_TEST_CASE(sizes_that_no_archive_can_hold_end_the_walk) {
    for (const std::string& size : {std::string("\x80\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 12),
                                    std::string(12, '\xFF'), std::string("0000000000x"), std::string("99999999999")}) {
        const auto found = members(Tar().add("sound", "x").header("bad", size).add("behind", "").end());
        BOOST_TEST(found.list.size() == 1U);
        BOOST_TEST(found.damage.find("has no size") != std::string::npos);
    }
}

BOOST_AUTO_TEST_CASE(a_flipped_bit_in_a_header_is_never_another_member) {
    const Bytes sound = Tar().add("first", "x").add("second", "y").add("third", "z").end();
    const auto expected = members(sound);
    for (std::size_t at = 1024; at < 1536; ++at)
        for (int bit = 0; bit < 8; ++bit) {
            Bytes damaged = sound;
            damaged[at] ^= static_cast<std::byte>(1 << bit);
            const auto found = members(damaged);
            const bool padding = found.list.size() == 3; // a blank for a NUL behind digits means the same
            BOOST_REQUIRE_MESSAGE(padding || !found.damage.empty(), at);
            for (std::size_t i = 0; i < found.list.size(); ++i) {
                BOOST_REQUIRE_EQUAL(found.list[i].offset, expected.list[i].offset);
                BOOST_REQUIRE_EQUAL(found.list[i].size, expected.list[i].size);
            }
        }
}

BOOST_AUTO_TEST_CASE(a_header_that_was_zeroed_is_no_end) {
    Bytes archive = Tar().add("first", "x").add("second", "y").end();
    std::fill_n(archive.begin() + 1024, 512, std::byte{0});
    const auto found = members(archive);
    BOOST_TEST(found.list.size() == 1U);
    BOOST_TEST(found.damage.find("is zeros") != std::string::npos);
    Bytes one_block = Tar().add("first", "x").bytes();
    one_block.resize(one_block.size() + 512);
    BOOST_TEST(members(one_block).damage == "");
}

BOOST_AUTO_TEST_CASE(an_extended_header_without_records_is_told_by_its_place) {
    const auto found = members(Tar().add("sound", "x").add("x", "no record", 'x').add("behind", "").end());
    BOOST_TEST(found.list.size() == 1U);
    BOOST_TEST(found.damage.find("the extended header at offset 1024 holds no records") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(headers_without_end_are_followed_to_a_limit) {
    Limits few;
    few.search_files = 3;
    Tar three, extended;
    for (int i = 0; i < 3; ++i) three.add("m", "");
    BOOST_TEST(ova::read_members(*memory(three.end()), few).has_value());
    BOOST_TEST(!ova::read_members(*memory(three.add("m", "").end()), few).has_value());
    for (int i = 0; i < 100; ++i) extended.add("g", "", 'g');
    BOOST_TEST(required(ova::read_members(*memory(extended.end()), few)).damage.find("more headers") !=
               std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_disk_is_read_in_place_and_by_name_or_number) {
    const std::string data = std::string(512, 'a') + std::string(512, 'b');
    const Bytes archive = Tar().add("vm.ovf", kOneDisk).add("./d.img", data).end();
    const auto file = required(kInMemory.parse(archive));
    BOOST_REQUIRE_EQUAL(file->disks().size(), 1U);
    BOOST_TEST(file->disks()[0].name == "d.img");
    BOOST_TEST(file->disks()[0].id == "disk1");
    Bytes read(1024);
    BOOST_TEST(required(FormatInMemory::image_of(*file)->read_at(0, read)) == 1024U);
    BOOST_TEST(std::to_integer<char>(read[511]) == 'a');
    BOOST_TEST(std::to_integer<char>(read[512]) == 'b');
    BOOST_TEST(!kInMemory.doubts(archive));
}

BOOST_AUTO_TEST_CASE(a_disk_that_the_archive_ends_in_is_whole_but_for_its_end) {
    Bytes archive = Tar().add("vm.ovf", kOneDisk).add("d.img", std::string(1024, 'a')).bytes();
    archive.resize(archive.size() - 512);
    const auto image = kInMemory.image_of(archive);
    BOOST_TEST(image->size() == 1024U);
    BOOST_TEST(read_some(*image, 0, 512).has_value());
    BOOST_TEST(read_some(*image, 512, 512).has_error());
    BOOST_TEST(kInMemory.doubts(archive));
}

BOOST_AUTO_TEST_CASE(what_the_descriptor_names_is_in_the_archive_or_nowhere) {
    const std::string elsewhere =
        ovf(R"(<File id="f" href="/etc/passwd"/>)", R"(<Disk diskId="d" fileRef="f" capacity="9"/>)");
    const auto file = required(kInMemory.parse(Tar().add("vm.ovf", elsewhere).end()));
    BOOST_TEST(file->disks()[0].facts.contains("unreadable"));
    BOOST_TEST(file->layer(0).has_error());
}

BOOST_AUTO_TEST_CASE(chunks_are_joined_and_a_missing_one_costs_its_range) {
    const std::string chunked = ovf(R"(<File id="f" href="d.img" size="1300" chunkSize="512"/>)",
                                    R"(<Disk diskId="d" fileRef="f" capacity="1300"/>)");
    const auto whole = Tar()
                           .add("vm.ovf", chunked)
                           .add("d.img.000000000", std::string(512, 'a'))
                           .add("d.img.000000001", std::string(512, 'b'))
                           .add("d.img.000000002", std::string(276, 'c'))
                           .end();
    Bytes read(1300);
    BOOST_TEST(required(kInMemory.image_of(whole)->read_at(0, read)) == 1300U);
    BOOST_TEST(std::to_integer<char>(read[1023]) == 'b');
    BOOST_TEST(std::to_integer<char>(read[1024]) == 'c');
    for (const std::string& second : {std::string(), std::string(511, 'b'), std::string(513, 'b')}) {
        Tar tar;
        tar.add("vm.ovf", chunked).add("d.img.000000000", std::string(512, 'a'));
        if (!second.empty()) tar.add("d.img.000000001", second);
        const auto image = kInMemory.image_of(tar.add("d.img.000000002", std::string(276, 'c')).end());
        BOOST_TEST(read_some(*image, 0, 512).has_value());
        BOOST_TEST(read_some(*image, 512, 1).has_error());
        BOOST_TEST(read_some(*image, 1023, 1).has_error());
        BOOST_TEST(read_some(*image, 1024, 276).has_value());
    }
}

BOOST_AUTO_TEST_CASE(what_the_descriptor_and_the_disk_say_of_lengths_is_compared) {
    const std::string wrong =
        ovf(R"(<File id="f" href="d.img" size="1023"/>)", R"(<Disk diskId="d" fileRef="f" capacity="1"/>)");
    BOOST_TEST(
        doubts_of(kInMemory.remarks(Tar().add("vm.ovf", wrong).add("d.img", std::string(1024, 'a')).end())).size() ==
        2U);
    const std::string units =
        ovf(R"(<File id="f" href="d.img"/>)",
            R"(<Disk diskId="d" fileRef="f" capacity="1" capacityAllocationUnits="byte * 2^10"/>)");
    BOOST_TEST(!kInMemory.doubts(Tar().add("vm.ovf", units).add("d.img", std::string(1024, 'a')).end()));
}

BOOST_AUTO_TEST_CASE(an_archive_in_an_archive_is_no_disk) {
    const Bytes inner = Tar().add("vm.ovf", kOneDisk).add("d.img", std::string(1024, 'a')).end();
    const std::string text(reinterpret_cast<const char*>(inner.data()), inner.size());
    const auto file = required(kInMemory.parse(Tar().add("vm.ovf", kOneDisk).add("d.img", text).end()));
    BOOST_TEST(file->layer(0).has_error());
}

BOOST_AUTO_TEST_CASE(a_manifest_is_compared_with_every_file) {
    const std::string right =
        "ef537f25c895bfa782526529a9b63d97aa631564d5d789c2b765448c8635fb6c"; // of "The quick brown fox..."
    const std::string fox = "The quick brown fox jumps over the lazy dog.";
    const auto verified = [&](const std::string& digest, std::string_view data) {
        const auto manifest = fmt::format("SHA256(fox)= {}\nsome other text\n", digest);
        const auto archive = Tar()
                                 .add("vm.ovf", kOneDisk)
                                 .add("d.img", std::string(1024, 'a'))
                                 .add("fox", data)
                                 .add("vm.mf", manifest)
                                 .end();
        return required(required(kInMemory.parse(archive))->verify({}));
    };
    BOOST_TEST(count(verified(right, fox), "manifest-mismatch") == 0U);
    BOOST_TEST(count(verified(right, "The quick brown fox"), "manifest-mismatch") == 1U);
    const auto report = verified(right, fox);
    BOOST_TEST(count(report, "not-in-manifest") == 2U);
    BOOST_TEST(count(report, "manifest-line") == 1U);
    BOOST_TEST(count(verified(std::string(63, '0'), fox), "manifest-line") == 2U);
}

BOOST_AUTO_TEST_CASE(lines_of_manifests_are_read_as_writers_write_them) {
    const std::string digest(40, 'a');
    for (const std::string& line : {"SHA1(a (1).vmdk)= " + digest, "SHA1 (a (1).vmdk) = " + digest + "\r"}) {
        const auto manifest = ova::parse_manifest(line + "\n");
        BOOST_REQUIRE_EQUAL(manifest.lines.size(), 1U);
        BOOST_TEST(manifest.lines[0].name == "a (1).vmdk");
        BOOST_TEST(manifest.lines[0].digest.size() == 20U);
    }
}

BOOST_AUTO_TEST_SUITE_END()
