// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/qcow2.hpp"
#include "model.hpp"
#include "open/open.hpp"
#include "qcow2_builder.hpp"
#include "special_files.hpp"
#include "temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdisk;
using namespace vdisk::test;

namespace {

namespace field = qcow2_field;

Result<std::shared_ptr<const DiskFile>> open_bytes(const Bytes& bytes) {
    const OpenContext context{.caches = std::make_shared<Caches>(Limits{}),
                              .references =
                                  std::make_shared<const References>("image", ReferencePolicy::deny, Limits{})};
    return kQcow2Format.open(memory(bytes, "image"), context);
}

// One line that names the file.
void check_message(const Error& error, std::string_view file) {
    BOOST_TEST(error.what.find('\n') == std::string::npos, error.what);
    BOOST_TEST(error.what.find(file) != std::string::npos, error.what);
}

void check_refused(const Qcow2Builder& builder, ErrorKind kind, std::string_view said) {
    const auto opened = open_bytes(builder.bytes());
    BOOST_REQUIRE_MESSAGE(opened.has_error(), said);
    BOOST_TEST((opened.error().kind == kind), opened.error().what);
    check_message(opened.error(), "image");
    BOOST_TEST(opened.error().what.find(said) != std::string::npos, opened.error().what);
}

void check_disk_refused(const std::string& path, ErrorKind kind) {
    const auto disk = open_disk(path, {});
    BOOST_REQUIRE_MESSAGE(disk.has_error(), path);
    BOOST_TEST((disk.error().kind == kind), disk.error().what);
    check_message(disk.error(), path.substr(0, path.find('#')));
}

const Qcow2Options kOptions{.cluster_bits = 12, .size = 1 << 20};

std::string word_of(const Facts& facts, const char* key) {
    return facts.contains(key) ? facts[key].dump() : "absent";
}

} // namespace

BOOST_AUTO_TEST_SUITE(qcow2_header)

BOOST_AUTO_TEST_CASE(absurd_fields_are_refused_by_name) {
    struct Row {
        std::uint64_t offset;
        unsigned bytes;
        std::uint64_t value;
        ErrorKind kind;
        std::string_view said;
    };
    for (const Row& row :
         {Row{0, 4, 0x51464900, ErrorKind::not_this_format, "magic"},
          Row{field::version, 4, 4, ErrorKind::unsupported, "version is 4"},
          Row{field::cluster_bits, 4, 8, ErrorKind::corrupt, "cluster_bits is 8"},
          Row{field::cluster_bits, 4, 22, ErrorKind::corrupt, "cluster_bits is 22"},
          Row{field::cluster_bits, 4, 63, ErrorKind::corrupt, "cluster_bits is 63"},
          Row{field::cluster_bits, 4, 0xFFFFFFFF, ErrorKind::corrupt, "cluster_bits is 4294967295"},
          Row{field::size, 8, std::uint64_t{1} << 63, ErrorKind::corrupt, "size is 9223372036854775808"},
          Row{field::backing_file_offset, 8, 4097, ErrorKind::corrupt, "backing_file_offset is 4097"},
          Row{field::refcount_order, 4, 7, ErrorKind::corrupt, "refcount_order is 7"},
          Row{field::header_length, 4, 103, ErrorKind::corrupt, "header_length is 103"},
          Row{field::header_length, 4, 4097, ErrorKind::corrupt, "header_length is 4097"},
          Row{field::incompatible_features, 8, std::uint64_t{1} << 40, ErrorKind::unsupported, "bit 40"},
          Row{field::incompatible_features, 8, kQcow2ExtendedL2, ErrorKind::corrupt, "cluster_bits is 12"}}) {
        Qcow2Builder builder(kOptions);
        if (row.bytes == 4) builder.put32(row.offset, static_cast<std::uint32_t>(row.value));
        else builder.put64(row.offset, row.value);
        check_refused(builder, row.kind, row.said);
    }
}

BOOST_AUTO_TEST_CASE(an_l1_table_that_can_not_be_where_it_is_said_to_be_is_refused) {
    struct Row {
        std::uint64_t offset;
        unsigned bytes;
        std::uint64_t value;
        std::string_view said;
    };
    for (const Row& row : {Row{field::l1_size, 4, 0xFFFFFFFF, "cut off at 16384 bytes"},
                           Row{field::l1_table_offset, 8, 1 << 30, "l1_table_offset is wrong: it is 1073741824"},
                           Row{field::l1_table_offset, 8, ~std::uint64_t{7}, "cut off"},
                           Row{field::l1_table_offset, 8, 4096 + 512, "no multiple of the cluster size 4096"},
                           Row{field::l1_table_offset, 8, 0, "where the header lies"},
                           Row{field::l1_table_offset, 8, 12288, "3 of 3 entries are impossible"}}) {
        Qcow2Builder builder({.cluster_bits = 12, .size = 3 << 21});
        builder.set(0, builder.append(Bytes(4096, std::byte{0x5A})));
        const std::uint64_t data = builder.bytes().size() - 2 * 4096;
        BOOST_TEST(data == 8192U);
        if (row.bytes == 4) builder.put32(row.offset, static_cast<std::uint32_t>(row.value));
        else builder.put64(row.offset, row.value == 12288 ? 8192 : row.value);
        const auto file = open_bytes(builder.bytes()).value();
        const auto layer = file->layer(0);
        BOOST_REQUIRE_MESSAGE(layer.has_error(), row.said);
        BOOST_TEST((layer.error().kind == ErrorKind::corrupt), layer.error().what);
        check_message(layer.error(), "image");
        BOOST_TEST(layer.error().what.find(row.said) != std::string::npos, layer.error().what);
        BOOST_TEST(file->facts().contains("damage"));
        const AuditReport report = file->audit({}).value();
        BOOST_TEST((report.counts().contains("l1-table")));
    }
}

BOOST_AUTO_TEST_CASE(fields_that_contradict_each_other_make_the_disk_an_error) {
    const auto refused = [](std::string_view said, auto&& change) {
        Qcow2Builder builder(kOptions);
        change(builder);
        const auto file = open_bytes(builder.bytes()).value();
        const auto layer = file->layer(0);
        BOOST_REQUIRE_MESSAGE(layer.has_error(), said);
        BOOST_TEST(layer.error().what.find(said) != std::string::npos, layer.error().what);
        BOOST_TEST((file->audit({}).value().counts().contains("header")));
    };
    refused("version is 2, but a header of version 3", [](Qcow2Builder& b) { b.put32(field::version, 2); });
    refused("backing_file_offset is 0, but backing_file_size is 4", [](Qcow2Builder& b) {
        b.backing("base");
        b.put64(field::backing_file_offset, 0);
    });
    refused("but backing_file_size is 0", [](Qcow2Builder& b) {
        b.backing("base");
        b.put32(field::backing_file_size, 0);
    });
    refused("goes on behind it", [](Qcow2Builder& b) {
        b.backing("base");
        b.put32(field::backing_file_size, 2);
    });
    refused("has a zero in it", [](Qcow2Builder& b) {
        b.backing("base");
        b.put32(field::backing_file_size, 6);
    });
    refused("starts before it", [](Qcow2Builder& b) {
        b.backing("base");
        b.put64(field::backing_file_offset, 104 + 8 + 1);
        b.put32(field::backing_file_size, 3);
    });
    refused("crypt_method is 0", [](Qcow2Builder& b) { b.extension(0x0537BE77, std::string(16, '\1')); });
    refused("a data file is named", [](Qcow2Builder& b) { b.extension(0x44415441, "data"); });
    refused("announces a compression type", [](Qcow2Builder& b) { b.put64(field::incompatible_features, 8); });
    refused("no multiple of 8", [](Qcow2Builder& b) { b.put32(field::header_length, 108); });
    refused("refcount_table_offset is 4608", [](Qcow2Builder& b) { b.put64(48, 4608); });
}

BOOST_AUTO_TEST_CASE(a_file_cut_off_in_its_header_is_refused) {
    const Qcow2Builder builder(kOptions);
    for (const std::size_t length : {0U, 3U, 71U}) {
        const auto opened =
            open_bytes(Bytes(builder.bytes().begin(), builder.bytes().begin() + static_cast<std::ptrdiff_t>(length)));
        BOOST_REQUIRE(opened.has_error());
        BOOST_TEST((opened.error().kind == ErrorKind::truncated));
    }
}

BOOST_AUTO_TEST_CASE(a_header_may_be_longer_than_any_field_that_is_known) {
    Qcow2Builder builder(kOptions);
    builder.put32(field::header_length, 112 + 64);
    builder.put64(112, ~std::uint64_t{0});
    BOOST_TEST(open_bytes(builder.bytes()).has_value());
    builder.bytes()[field::compression_type] = std::byte{2};
    check_refused(builder, ErrorKind::unsupported, "compression_type is 2");
}

BOOST_AUTO_TEST_CASE(unknown_incompatible_features_are_named_from_the_images_own_table) {
    Qcow2Builder builder(kOptions);
    std::string table(2 * 48, '\0');
    table[1] = 41;
    table.replace(2, 9, "time\ntrav");
    table[48] = 1; // a compatible feature of the same number
    table[49] = 40;
    table.replace(50, 5, "other");
    builder.extension(0x6803F857, table);
    builder.put64(field::incompatible_features, std::uint64_t{3} << 40);
    check_refused(builder, ErrorKind::unsupported, "bit 40, time\\x0atrav (bit 41)");
}

BOOST_AUTO_TEST_CASE(an_extension_that_runs_out_of_its_cluster_is_refused) {
    Qcow2Builder builder(kOptions);
    builder.extension(0x12345678, "text");
    builder.put32(108, 4096 - 112 + 1);
    check_refused(builder, ErrorKind::corrupt, "0x12345678");
    builder.put32(108, 4096 - 112);
    BOOST_TEST(open_bytes(builder.bytes()).has_value());
}

BOOST_AUTO_TEST_CASE(what_may_be_ignored_is_told) {
    Qcow2Builder builder(kOptions);
    builder.put64(field::incompatible_features, 3);
    builder.put64(field::compatible_features, 1 | std::uint64_t{1} << 33);
    builder.put64(field::autoclear_features, 2 | std::uint64_t{1} << 63);
    builder.extension(0x12345678, "text");
    const Facts facts = open_bytes(builder.bytes()).value()->facts();
    BOOST_TEST(word_of(facts, "dirty") == "true");
    BOOST_TEST(word_of(facts, "marked corrupt") == "true");
    BOOST_TEST(word_of(facts, "compatible features") == R"(["lazy refcounts","bit 33"])");
    BOOST_TEST(word_of(facts, "autoclear features") == R"(["raw external data","bit 63"])");
    BOOST_TEST(word_of(facts, "unknown header extensions") == R"(["0x12345678, 4 bytes at offset 112"])");
    BOOST_TEST(facts.contains("damage")); // raw external data, but none
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(qcow2_snapshots)

namespace {

// The active state reads 1, snapshot `i` reads i + 1.
Qcow2Builder with_snapshots(std::vector<Qcow2Snapshot> list, Qcow2Options options = kOptions) {
    Qcow2Builder builder(options);
    builder.set(0, builder.append(Bytes(4096, std::byte{1})));
    std::uint8_t filling = 2;
    for (Qcow2Snapshot& snapshot : list) {
        snapshot.l1_size = 2;
        snapshot.l1_table_offset = builder.append_l1(2);
        builder.set_in(snapshot.l1_table_offset, 0, builder.append(Bytes(4096, std::byte{filling++})));
    }
    builder.snapshots(list);
    return builder;
}

int first_byte(const std::string& text) {
    const OpenedDisk disk = required(open_disk(text, {}));
    std::byte byte{};
    BOOST_TEST(disk.image->read_at(0, std::span(&byte, 1)).has_value());
    return static_cast<int>(byte);
}

} // namespace

BOOST_AUTO_TEST_CASE(an_entry_has_as_much_extra_data_as_it_says) {
    const Qcow2Builder builder = with_snapshots(
        {{.id = "1", .name = "old", .date_seconds = 1704067200, .vm_clock = 3'723'000'000'004, .vm_state_size = 7},
         {.id = "2", .name = "state size", .vm_state_size = 7, .extra = {std::uint64_t{1} << 33}},
         {.id = "3", .name = "both", .vm_state_size = 7, .extra = {0, 1 << 19}},
         {.id = "4", .name = "icount", .extra = {0, 1 << 19, 77}},
         {.id = "5", .name = "no icount, and what is to come", .extra = {0, 1 << 19, ~std::uint64_t{0}, 1, 2}}},
        {.version = 2, .cluster_bits = 12, .size = 1 << 20});
    const auto file = open_bytes(builder.bytes()).value();
    const std::vector<Disk>& disks = file->disks();
    BOOST_REQUIRE(disks.size() == 6U);
    BOOST_TEST(word_of(disks[1].facts, "date") == "\"2024-01-01T00:00:00Z\"");
    BOOST_TEST(word_of(disks[1].facts, "vm clock") == "\"01:02:03.000000004\"");
    BOOST_TEST(word_of(disks[1].facts, "vm state size") == "7");
    BOOST_TEST(word_of(disks[2].facts, "vm state size") == "8589934592");
    BOOST_TEST(word_of(disks[3].facts, "vm state size") == "0");
    BOOST_TEST(word_of(disks[4].facts, "icount") == "77");
    BOOST_TEST(word_of(disks[5].facts, "icount") == "absent");
    BOOST_TEST(disks[2].size == 1U << 20); // the active state's, where the entry has none
    BOOST_TEST(disks[3].size == 1U << 19);
    BOOST_TEST(disks[5].name == "no icount, and what is to come");
}

BOOST_AUTO_TEST_CASE(a_snapshot_is_named_by_id_or_name_and_an_id_wins) {
    const TemporaryFolder folder;
    const Qcow2Builder builder =
        with_snapshots({{.id = "1", .name = "2"}, {.id = "2", .name = "same"}, {.id = "3", .name = "same"}});
    const std::string path = folder.write("disk", builder.bytes()).string();
    BOOST_TEST(first_byte(path) == 1);
    BOOST_TEST(first_byte(path + "#1") == 2);
    BOOST_TEST(first_byte(path + "#2") == 3);
    BOOST_TEST(first_byte(path + "#snapshot=3") == 4);
    const auto several = open_disk(path + "#same", {});
    BOOST_REQUIRE(several.has_error());
    BOOST_TEST((several.error().kind == ErrorKind::usage));
    BOOST_TEST(several.error().what.find("#3") != std::string::npos, several.error().what);
}

BOOST_AUTO_TEST_CASE(a_broken_table_leaves_the_active_state_and_the_entries_before) {
    const TemporaryFolder folder;
    Qcow2Builder builder = with_snapshots({{.id = "1", .name = "first"}});
    for (const std::uint32_t count : {2U, 0xFFFFFFFFU}) {
        builder.put32(field::nb_snapshots, count);
        const std::string path = folder.write("disk", builder.bytes()).string();
        BOOST_TEST(first_byte(path) == 1);
        BOOST_TEST(first_byte(path + "#first") == 2);
    }
    builder.put32(field::nb_snapshots, 2);
    const auto size = builder.bytes().size();
    builder.put64(field::snapshots_offset, size - 8);
    const auto file = open_bytes(builder.bytes()).value();
    BOOST_TEST(file->disks().size() == 1U);
    BOOST_TEST(file->facts().contains("damage"));
    builder.put64(field::snapshots_offset, ~std::uint64_t{0} - 3);
    BOOST_TEST(open_bytes(builder.bytes()).value()->disks().size() == 1U);
}

BOOST_AUTO_TEST_CASE(more_snapshots_than_the_limit_are_not_listed) {
    std::vector<Qcow2Snapshot> list(Limits{}.snapshots + 1, {.l1_table_offset = 4096});
    Qcow2Builder builder(kOptions);
    builder.snapshots(list);
    const auto file = open_bytes(builder.bytes()).value();
    BOOST_TEST(file->disks().size() == 1 + std::size_t{Limits{}.snapshots});
    BOOST_TEST(file->facts().contains("damage"));
}

BOOST_AUTO_TEST_CASE(a_snapshot_with_an_absurd_state_is_refused_alone) {
    Qcow2Builder builder(kOptions);
    const std::uint64_t first = builder.append_l1(1);
    const std::uint64_t third = builder.append_l1(1);
    builder.snapshots({{.id = "1", .l1_table_offset = first, .l1_size = 0xFFFFFFFF},
                       {.id = "2", .l1_table_offset = ~std::uint64_t{0}, .l1_size = 1},
                       {.id = "3", .l1_table_offset = third, .l1_size = 1, .extra = {0, std::uint64_t{1} << 63}}});
    const auto file = open_bytes(builder.bytes()).value();
    BOOST_TEST(file->layer(0).has_value());
    for (const std::size_t index : {1U, 2U, 3U}) BOOST_TEST((file->layer(index).error().kind == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(a_machine_state_lies_behind_its_own_snapshots_disk) {
    const TemporaryFolder folder;
    Qcow2Builder builder({.cluster_bits = 9, .size = 1 << 20}); // an L1 entry covers 32 KiB
    const std::uint64_t l1 = builder.append_l1(4);
    for (std::uint64_t cluster = 0; cluster < 256; ++cluster)
        builder.set_in(l1, cluster, builder.append(Bytes(512, static_cast<std::byte>(cluster))));
    builder.snapshots(
        {{.id = "1", .l1_table_offset = l1, .l1_size = 4, .extra = {600, (32 << 10) + 512}},
         {.id = "2", .l1_table_offset = builder.append_l1(4), .l1_size = 4, .extra = {0, 1 << 16}},
         {.id = "3", .l1_table_offset = builder.append_l1(4), .l1_size = 4, .extra = {~std::uint64_t{0}, 1 << 16}}});
    const std::string path = folder.write("disk", builder.bytes()).string();
    const OpenedState state = required(open_saved_state(required(open_file(path + "#1", {}))));
    BOOST_TEST(state.start.value == 64U << 10);
    BOOST_TEST(state.size == 600U);
    BOOST_TEST(state.image->size() == (64U << 10) + 600);
    Bytes out(600);
    BOOST_TEST(state.image->read_at(64 << 10, out).has_value());
    BOOST_TEST((out.front() == std::byte{128} && out.back() == std::byte{129}));
    BOOST_TEST((open_saved_state(open_file(path, {}).value()).error().kind == ErrorKind::usage));
    BOOST_TEST((open_saved_state(open_file(path + "#2", {}).value()).error().kind == ErrorKind::usage));
    BOOST_TEST((open_saved_state(open_file(path + "#3", {}).value()).error().kind == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(snapshots_beside_a_data_file_are_refused) {
    Qcow2Options options = kOptions;
    options.incompatible = kQcow2DataFile;
    const auto file = open_bytes(with_snapshots({{.id = "1", .name = "first"}}, options).bytes()).value();
    BOOST_TEST((file->layer(1).error().kind == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(qcow2_references)

BOOST_AUTO_TEST_CASE(a_backing_file_that_is_not_there_or_not_a_file_is_refused, *on_posix()) {
    const TemporaryFolder folder;
    std::filesystem::create_directory(folder.path() / "folder");
    make_fifo(folder.path() / "fifo");
    for (const char* name : {"missing", "folder", "fifo", "/nowhere/missing"}) {
        Qcow2Builder builder(kOptions);
        builder.backing(name);
        const std::string path = folder.write("disk", builder.bytes()).string();
        check_disk_refused(path, ErrorKind::io);
        BOOST_TEST(open_disk(path, {}).error().what.find(name) != std::string::npos);
        BOOST_TEST(open_file(path, {}).has_value());
    }
}

BOOST_AUTO_TEST_CASE(an_image_that_backs_itself_is_refused) {
    const TemporaryFolder folder;
    Qcow2Builder builder(kOptions);
    builder.backing("disk");
    check_disk_refused(folder.write("disk", builder.bytes()).string(), ErrorKind::corrupt);

    Qcow2Builder upper(kOptions);
    upper.backing("lower");
    Qcow2Builder lower(kOptions);
    lower.backing("./upper");
    folder.write("lower", lower.bytes());
    folder.write("upper", upper.bytes());
    const auto disk = open_disk((folder.path() / "upper").string(), {});
    BOOST_REQUIRE(disk.has_error());
    BOOST_TEST((disk.error().kind == ErrorKind::corrupt));
    check_message(disk.error(), (folder.path() / "lower").string());
}

BOOST_AUTO_TEST_CASE(a_folder_or_a_fifo_is_no_image, *on_posix()) {
    const TemporaryFolder folder;
    make_fifo(folder.path() / "fifo");
    check_disk_refused(folder.path().string(), ErrorKind::io);
    check_disk_refused((folder.path() / "fifo").string(), ErrorKind::io);
    check_disk_refused((folder.path() / "missing").string(), ErrorKind::io);
}

BOOST_AUTO_TEST_CASE(a_data_file_must_be_named_and_be_there) {
    const TemporaryFolder folder;
    Qcow2Options options = kOptions;
    options.incompatible = kQcow2DataFile;
    Qcow2Builder builder(options);
    const std::string path = folder.write("disk", builder.bytes()).string();
    check_disk_refused(path, ErrorKind::usage);
    builder.extension(0x44415441, "disk.data");
    folder.write("disk", builder.bytes());
    check_disk_refused(path, ErrorKind::io);
    BOOST_TEST(open_disk(path, {}).error().what.find((folder.path() / "disk.data").string()) != std::string::npos);
    const std::string given = folder.write("elsewhere", Bytes(1 << 20)).string();
    const OpenedDisk opened = required(open_disk(path + "#data-file=" + given, {}));
    BOOST_TEST(word_of(opened.chain[0].files, "data file used") == Facts(given).dump());

    const std::string plain = folder.write("plain", Qcow2Builder(kOptions).bytes()).string();
    check_disk_refused(plain + "#data-file=" + given, ErrorKind::usage);
}

BOOST_AUTO_TEST_SUITE_END()
