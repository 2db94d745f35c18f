// SPDX-License-Identifier: Apache-2.0
// Guest states whose headers, tables and variables are changed one by one. Whole files are read in
// tests/oracle/guest_states.py.
#include "hyperv/guest_state.hpp"
#include "hyperv_builder.hpp"
#include "io/memory_source.hpp"
#include "utf16.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdisk;
using namespace vdisk::hyperv;
using vdisk::test::bitwise_crc32;
using vdisk::test::little;
using vdisk::test::utf16;

BOOST_AUTO_TEST_SUITE(guest_state)

namespace {

constexpr std::size_t kStateBlock = 4096;

// A state of six blocks: two of headers, the table, and a file of two blocks that has 5000 bytes.
class StateImage {
public:
    StateImage() : bytes_(6 * kStateBlock) {
        header(0, 5);
        header(512, 6);
        file(0, 2, 1, kStateBlock);
        file(1, 3, 2, 5000);
    }

    template<class Number> StateImage& put(std::size_t at, Number number) { return put_bytes(at, little(number)); }

    StateImage& put_bytes(std::size_t at, std::span<const std::byte> bytes) {
        std::ranges::copy(bytes, bytes_.begin() + static_cast<std::ptrdiff_t>(at));
        return *this;
    }

    StateImage& header(std::size_t at, std::uint32_t sequence) {
        put_bytes(at, test::bytes_of("GUESTRTS"));
        put<std::uint32_t>(at + 8, 0x30000).put(at + 16, sequence).put<std::uint32_t>(at + 20, 168);
        put<std::uint32_t>(at + 24, 2).put<std::uint32_t>(at + 28, 1);
        return seal(at);
    }

    StateImage& seal(std::size_t at) {
        put<std::uint32_t>(at + 12, 0);
        return put(at + 12, bitwise_crc32(std::span(bytes_).subspan(at, 168)));
    }

    StateImage& blank(std::size_t at) { return put_bytes(at, std::vector<std::byte>(168)); }

    StateImage& file(std::size_t id, std::uint32_t block, std::uint32_t blocks, std::uint64_t size) {
        const std::size_t at = 2 * kStateBlock + id * 64;
        return put(at, block).put(at + 4, blocks).put(at + 8, size);
    }

    StateImage& cut(std::size_t size) {
        bytes_.resize(size);
        return *this;
    }

    Result<GuestState> open() const { return GuestState::open(std::make_shared<MemorySource>(bytes_, "s.vmgs")); }

    GuestState opened() const {
        auto state = open();
        BOOST_REQUIRE_MESSAGE(state.has_value(), (state.has_error() ? state.error().what : ""));
        return std::move(state).value();
    }

    ErrorKind error() const {
        const auto state = open();
        BOOST_REQUIRE(state.has_error());
        return state.error().kind;
    }

private:
    std::vector<std::byte> bytes_;
};

// The active copy and how many findings there are.
std::pair<std::size_t, std::size_t> chosen(const StateImage& image) {
    const GuestState state = image.opened();
    return {state.active(), state.findings().size()};
}

std::string fault_of(const StateImage& image, unsigned id) {
    const GuestState state = image.opened();
    const GuestStateFile* file = state.find(id);
    BOOST_REQUIRE(file != nullptr);
    BOOST_TEST(state.content(*file).has_error() == !file->fault.empty());
    BOOST_TEST(state.findings().empty() == file->fault.empty());
    return file->fault;
}

std::vector<std::byte> variable(std::string_view name, std::size_t value, std::uint32_t length = 0) {
    std::vector<std::byte> record(48);
    const std::vector<std::byte> named = utf16(std::string(name));
    const auto set = [&](std::size_t at, const std::vector<std::byte>& bytes) {
        std::ranges::copy(bytes, record.begin() + static_cast<std::ptrdiff_t>(at));
    };
    const std::size_t whole = record.size() + named.size() + 2 + value;
    set(4, little(length == 0 ? static_cast<std::uint32_t>(whole) : length));
    set(8, little<std::uint32_t>(7));
    set(44, little(static_cast<std::uint16_t>(named.size() + 2)));
    set(46, little(static_cast<std::uint16_t>(value)));
    record.insert(record.end(), named.begin(), named.end());
    record.resize(whole);
    return record;
}

} // namespace

BOOST_AUTO_TEST_CASE(the_header_that_follows_the_other_counts) {
    using Choice = std::pair<std::size_t, std::size_t>;
    BOOST_TEST((chosen(StateImage()) == Choice(1, 0)));
    BOOST_TEST((chosen(StateImage().header(0, 7)) == Choice(0, 0)));
    BOOST_TEST((chosen(StateImage().header(0, 0xFFFFFFFF).header(512, 0)) == Choice(1, 0)));
    BOOST_TEST((chosen(StateImage().header(0, 0).header(512, 0xFFFFFFFF)) == Choice(0, 0)));
    BOOST_TEST((chosen(StateImage().header(0, 9)) == Choice(0, 1)));
    BOOST_TEST((chosen(StateImage().header(0, 6)) == Choice(0, 1)));
    BOOST_TEST((chosen(StateImage().blank(512)) == Choice(0, 0)));
    BOOST_TEST((chosen(StateImage().put<std::uint32_t>(512 + 16, 7)) == Choice(0, 1)));
    BOOST_TEST((chosen(StateImage().put<std::uint32_t>(512 + 24, 1).seal(512)) == Choice(0, 1)));
    BOOST_TEST((chosen(StateImage().blank(512).header(4096, 6)) == Choice(1, 0)));
}

BOOST_AUTO_TEST_CASE(a_state_without_a_header_is_none_and_one_of_another_version_is_refused) {
    BOOST_CHECK(StateImage().blank(0).blank(512).error() == ErrorKind::not_this_format);
    BOOST_CHECK(StateImage().put<std::uint32_t>(16, 1).put<std::uint32_t>(512 + 16, 1).error() == ErrorKind::corrupt);
    BOOST_CHECK(StateImage().cut(100).error() == ErrorKind::not_this_format);
    BOOST_CHECK(StateImage().cut(2 * kStateBlock + 100).error() == ErrorKind::truncated);
    BOOST_CHECK(StateImage().put<std::uint32_t>(512 + 24, 0xFFFFFFFF).seal(512).error() == ErrorKind::truncated);
    for (const std::uint32_t version : {0x10000U, 0x20000U, 0x30001U, 0x40000U})
        BOOST_CHECK(StateImage().put(512 + 8, version).seal(512).error() == ErrorKind::unsupported);
}

BOOST_AUTO_TEST_CASE(a_file_that_can_not_be_where_its_entry_says_is_not_given) {
    BOOST_TEST(fault_of(StateImage(), 1) == "");
    BOOST_TEST(fault_of(StateImage().file(1, 3, 3, 3 * kStateBlock), 1) == "");
    BOOST_TEST(fault_of(StateImage().file(1, 3, 3, 3 * kStateBlock + 1), 1) != "");
    BOOST_TEST(fault_of(StateImage().file(1, 4, 3, 2 * kStateBlock + 1), 1) != "");
    BOOST_TEST(fault_of(StateImage().file(1, 0xFFFFFFFF, 0xFFFFFFFF, 5), 1) != "");
    BOOST_TEST(fault_of(StateImage().file(1, 3, 0xFFFFFFFF, ~std::uint64_t{0}), 1) != "");
    BOOST_TEST(fault_of(StateImage().file(1, 1, 1, 5), 1) != "");
    BOOST_TEST(fault_of(StateImage().file(1, 2, 1, 5), 1) == "overlaps file 0");
    BOOST_TEST(fault_of(StateImage().file(7, 4, 1, 5), 7) == "overlaps file 1");
    BOOST_TEST(fault_of(StateImage().file(7, 5, 1, 5), 7) == "");
    BOOST_TEST(fault_of(StateImage().file(0, 5, 1, kStateBlock), 0) != "");
    BOOST_TEST((StateImage().opened().find(2) == nullptr));
}

BOOST_AUTO_TEST_CASE(a_file_is_encrypted_if_its_attributes_or_its_nonce_say_so) {
    constexpr std::size_t kEntry = 2 * kStateBlock + 64;
    for (const std::size_t at : {kEntry + 16, kEntry + 28, kEntry + 44}) {
        const GuestState state = StateImage().put<std::uint32_t>(at, 1).opened();
        BOOST_TEST(state.find(1)->encrypted, at);
        const auto content = state.content(*state.find(1));
        BOOST_REQUIRE(content.has_error());
        BOOST_CHECK(content.error().kind == ErrorKind::unsupported);
    }
}

BOOST_AUTO_TEST_CASE(variables_are_read_up_to_the_first_that_can_not_be_one) {
    std::vector<std::byte> bytes = variable("BootOrder", 4);
    const std::size_t first = bytes.size();
    const auto append = [&bytes](const std::vector<std::byte>& more) {
        bytes.insert(bytes.end(), more.begin(), more.end());
    };
    append(variable("db", 0));
    const auto both = parse_uefi_variables(bytes);
    BOOST_TEST(both.fault == "");
    BOOST_REQUIRE(both.list.size() == 2U);
    BOOST_TEST(both.list[0].name == "BootOrder");
    BOOST_TEST(both.list[0].size == 4U);
    BOOST_TEST(both.list[1].offset == first);
    BOOST_TEST(uefi_attributes(both.list[1].attributes) == "NV+BS+RT");

    for (std::size_t cut = first + 1; cut < bytes.size(); ++cut) {
        const auto read = parse_uefi_variables(std::span(bytes).first(cut));
        BOOST_TEST(read.list.size() == 1U);
        BOOST_TEST((read.fault != "" || cut <= first + 4), cut); // a piece of zeros is padding
    }
    append(std::vector<std::byte>(100));
    BOOST_TEST(parse_uefi_variables(bytes).fault == "");
    append(variable("late", 1, 47));
    BOOST_TEST(parse_uefi_variables(bytes).list.size() == 2U);
    BOOST_TEST(parse_uefi_variables(bytes).fault != "");
    BOOST_TEST(parse_uefi_variables({}).list.empty());
    std::vector<std::byte> endless = variable("x", 1);
    endless[48 + 2] = std::byte{'y'}; // in the place of the NUL
    BOOST_TEST(!parse_uefi_variables(endless).list.front().name_exact);
}

BOOST_AUTO_TEST_CASE(attributes_have_names_and_numbers) {
    BOOST_TEST(uefi_attributes(0) == "0x0");
    BOOST_TEST(uefi_attributes(0x27) == "NV+BS+RT+AT");
    BOOST_TEST(uefi_attributes(0x100 | 2) == "BS+0x100");
}

BOOST_AUTO_TEST_SUITE_END()
