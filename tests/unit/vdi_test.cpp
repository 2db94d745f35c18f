// SPDX-License-Identifier: Apache-2.0
#include "base/uuid.hpp"
#include "format/vdi/vdi.hpp"
#include "format_in_memory.hpp"
#include "open/open.hpp"
#include "open/report.hpp"
#include "temporary_folder.hpp"
#include "vdi_builder.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdisk;
using namespace vdisk::test;

namespace {

const FormatInMemory kInMemory(kVdiFormat);

VdiBuilder small_disk() {
    VdiBuilder disk{.disk_size = 10 * 4096};
    for (std::uint32_t i = 0; i < 5; ++i) disk.store(i * 2, Bytes(4096, static_cast<std::byte>(i + 1)));
    return disk;
}

std::string text_of(const VdiUuid& uuid) {
    return to_string(Uuid::from_mixed(uuid));
}

} // namespace

BOOST_AUTO_TEST_SUITE(vdi)

BOOST_AUTO_TEST_CASE(random_disks_of_every_geometry_read_as_their_model) {
    Random random(4);
    struct Geometry {
        std::uint32_t version, header_size, block_size, block_extra, map_offset, data_offset;
        std::uint64_t disk_size;
    };
    for (const Geometry& geometry : {Geometry{0x00010001, 400, 4096, 0, 512, 4096, 37 * 4096},
                                     Geometry{0x00010001, 400, 4096, 512, 512, 5120, 20 * 4096 + 512},
                                     Geometry{0x00010001, 384, 512, 0, 512, 2560, 100 * 512 + 1},
                                     Geometry{0x00010000, 320, 65536, 24, 1024, 99840, 5 * 65536 + 777},
                                     Geometry{0x00010000, 368, 1024, 1024, 4096, 20480, 3000 * 1024},
                                     Geometry{0x00000001, 0, 4096, 0, 0, 0, 33 * 4096 + 100},
                                     Geometry{0x00010001, 500, 1U << 20, 0, 1 << 20, 2 << 20, (4U << 20) + 512}})
        for (const std::uint32_t type : {1U, 2U}) {
            VdiBuilder disk{.version = geometry.version,
                            .header_size = geometry.header_size,
                            .type = type,
                            .disk_size = geometry.disk_size,
                            .block_size = geometry.block_size,
                            .block_extra = geometry.block_extra,
                            .map_offset = geometry.map_offset,
                            .data_offset = geometry.data_offset};
            Bytes model;
            fill_randomly(disk, model, random);
            BOOST_TEST_CONTEXT("block size " << geometry.block_size << ", header " << geometry.header_size)
            check_against_model(*kInMemory.image_of(disk.build()), model, std::max(geometry.block_size, 65536U),
                                random);
        }
}

BOOST_AUTO_TEST_CASE(zero_blocks_hide_the_parent_and_free_blocks_show_it) {
    Random random(5);
    VdiBuilder base{.disk_size = 60 * 4096};
    Bytes model;
    fill_randomly(base, model, random);
    ImagePtr image = kInMemory.image_of(base.build());
    // Layers of other block sizes; the last is larger than what lies below it.
    for (const std::uint32_t block_size : {4096U, 1024U, 16384U}) {
        VdiBuilder child{.type = block_size == 1024 ? 3U : 4U,
                         .disk_size = (block_size == 16384U ? 70U : 60U) * 4096,
                         .block_size = block_size,
                         .data_offset = 8192};
        fill_randomly(child, model, random);
        image = kInMemory.image_of(child.build(), image);
    }
    check_against_model(*image, model, 4096, random);
}

BOOST_AUTO_TEST_CASE(extents_tile_the_disk_and_runs_are_joined) {
    VdiBuilder disk{.disk_size = 6 * 4096 + 100};
    for (std::uint32_t i = 1; i < 4; ++i) disk.store(i, Bytes(4096, std::byte{1}));
    disk.set(4, VdiBuilder::kZero);
    disk.set(5, VdiBuilder::kZero);
    disk.store(6, Bytes(4096, std::byte{2}));
    const ImagePtr image = kInMemory.image_of(disk.build());
    std::vector<std::pair<Extent::Kind, std::uint64_t>> runs;
    for (std::uint64_t at = 0; at < image->size(); at += runs.back().second) {
        const Extent extent = image->resolve(GuestOffset{at}, image->size()).value().extent;
        runs.emplace_back(extent.kind, extent.length);
    }
    const std::vector<std::pair<Extent::Kind, std::uint64_t>> expected{{Extent::Kind::zero, 4096},
                                                                       {Extent::Kind::stored, 3 * 4096},
                                                                       {Extent::Kind::zero, 2 * 4096},
                                                                       {Extent::Kind::stored, 100}};
    BOOST_TEST((runs == expected));
}

BOOST_AUTO_TEST_CASE(disks_beyond_two_tebibytes_are_read_at_their_ends) {
    VdiBuilder disk{.disk_size = (std::uint64_t{5} << 40) + 512, .block_size = 1U << 28, .data_offset = 1 << 20};
    const std::uint32_t last = disk.map_entries() - 1;
    disk.set(last, 0);
    Bytes file = disk.build();
    file.resize((1 << 20) + 512, std::byte{0x5A});
    const ImagePtr image = kInMemory.image_of(file);
    Bytes out(1024);
    BOOST_TEST(image->read_at(disk.disk_size - 512, out).value() == 512U);
    BOOST_TEST((out[0] == std::byte{0x5A} && out[511] == std::byte{0x5A}));
    BOOST_TEST(image->read_at(disk.disk_size - 1024, out).value() == 1024U);
    BOOST_TEST((out[511] == std::byte{0} && out[512] == std::byte{0x5A}));
}

BOOST_AUTO_TEST_CASE(what_no_header_may_say_is_refused_at_opening) {
    const auto kind_of = [](const Bytes& file) { return kInMemory.parse(file).error().kind; };
    const auto changed = [&](auto change) {
        VdiBuilder disk = small_disk();
        change(disk);
        return kind_of(disk.build());
    };
    BOOST_TEST((changed([](VdiBuilder& d) {
                    d.blocks = 10;
                    d.block_size = 0;
                }) == ErrorKind::corrupt));
    BOOST_TEST((changed([](VdiBuilder& d) { d.block_size = 4095; }) == ErrorKind::corrupt));
    BOOST_TEST((changed([](VdiBuilder& d) {
                    d.disk_size = ~std::uint64_t{0};
                    d.blocks = 10;
                }) == ErrorKind::corrupt));
    BOOST_TEST((changed([](VdiBuilder& d) { d.header_size = 319; }) == ErrorKind::corrupt));
    BOOST_TEST((changed([](VdiBuilder& d) { d.type = 0; }) == ErrorKind::unsupported));
    BOOST_TEST((changed([](VdiBuilder& d) { d.type = 5; }) == ErrorKind::unsupported));
    BOOST_TEST((changed([](VdiBuilder& d) { d.version = 0x00020000; }) == ErrorKind::unsupported));

    Bytes map_outside = small_disk().build();
    map_outside[343] = std::byte{0xF0};
    BOOST_TEST((kind_of(map_outside) == ErrorKind::corrupt));
    Bytes map_cut = small_disk().build();
    map_cut.resize(512 + 39);
    BOOST_TEST((kind_of(map_cut) == ErrorKind::corrupt));
    Bytes header_cut = small_disk().build();
    for (const std::size_t size : {0U, 71U, 75U, 100U, 471U}) {
        header_cut = small_disk().build();
        header_cut.resize(size);
        BOOST_TEST((kind_of(header_cut) == ErrorKind::truncated), size);
    }
    Bytes no_signature = small_disk().build();
    no_signature[64] = std::byte{0};
    BOOST_TEST((kind_of(no_signature) == ErrorKind::not_this_format));
}

BOOST_AUTO_TEST_CASE(a_bad_map_entry_costs_its_block_alone) {
    VdiBuilder disk = small_disk();
    disk.set(2, 0xFFFFFFFD); // the largest index there is
    disk.set(4, 1000);       // past the end
    const ImagePtr image = kInMemory.image_of(disk.build());
    BOOST_TEST((read_some(*image, 2 * 4096, 1).error().kind == ErrorKind::truncated));
    BOOST_TEST((read_some(*image, 4 * 4096 + 4095, 1).error().kind == ErrorKind::truncated));
    BOOST_TEST(read_some(*image, 4 * 4096, 8192).error().offset.value() == 4 * 4096U);
    BOOST_TEST(read_some(*image, 0, 2 * 4096).has_value());
    BOOST_TEST(read_some(*image, 3 * 4096, 4096).has_value());
    BOOST_TEST(read_some(*image, 5 * 4096, 5 * 4096).has_value());
}

BOOST_AUTO_TEST_CASE(places_that_no_writer_chooses_are_believed_only_if_all_agrees_with_them) {
    const auto refused = [](std::string_view said, auto change) {
        VdiBuilder disk = small_disk();
        disk.data_offset = 5120; // not the first place behind the map at any alignment
        change(disk);
        const auto layer = kInMemory.parse(disk.build()).value()->layer(0);
        BOOST_REQUIRE_MESSAGE(layer.has_error(), said);
        BOOST_TEST((layer.error().kind == ErrorKind::corrupt));
        BOOST_TEST(layer.error().what.find(said) != std::string::npos, layer.error().what);
        BOOST_TEST(count(kInMemory.audit(disk.build()), "header") >= 1U);
    };
    VdiBuilder unusual = small_disk();
    unusual.data_offset = 5120;
    BOOST_TEST(kInMemory.parse(unusual.build()).value()->layer(0).has_value());
    refused("data offset is 5120", [](VdiBuilder& d) { d.allocated = 4; });
    refused("data offset is 5120", [](VdiBuilder& d) { d.set(1, 0); });
    refused("data offset is 5120", [](VdiBuilder& d) { d.set(1, 77); });
    refused("data offset is 5121", [](VdiBuilder& d) { d.data_offset = 5121; });
    refused("block map offset is 1026", [](VdiBuilder& d) { d.map_offset = 1026; });
    refused("the block map goes from 8192", [](VdiBuilder& d) { d.map_offset = 8192; });
    refused("block map offset is 0", [](VdiBuilder& d) { d.map_offset = 0; });
    refused("the parent", [](VdiBuilder& d) { d.linkage = vdi_uuid(7); });

    for (const std::uint32_t size : {2048U, 8192U, 1U << 31}) { // a bit of the blocks' size is enough
        Bytes changed = small_disk().build();
        for (std::size_t i = 0; i < 4; ++i) changed[376 + i] = static_cast<std::byte>(size >> (8 * i));
        const auto layer = kInMemory.parse(changed).value()->layer(0);
        BOOST_REQUIRE(layer.has_error());
        BOOST_TEST(layer.error().what.find("block size is") != std::string::npos);
    }

    VdiBuilder overflowing{.disk_size = std::uint64_t{1} << 32, .block_size = 1U << 31, .block_extra = 0};
    overflowing.map = {0xFFFFFFFD};
    Bytes file = overflowing.build();
    for (std::size_t i = 380; i < 384; ++i) file[i] = std::byte{0xFF}; // 4 GiB before each block
    BOOST_TEST((kInMemory.parse(file).value()->layer(0).error().kind == ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(two_entries_for_one_block_cost_both_of_what_they_describe) {
    VdiBuilder disk = small_disk();
    disk.set(1, 2); // as entry 4
    const ImagePtr image = kInMemory.image_of(disk.build());
    for (const std::uint64_t block : {1U, 4U})
        BOOST_TEST((read_some(*image, block * 4096, 1).error().kind == ErrorKind::corrupt));
    BOOST_TEST(read_some(*image, 0, 4096).has_value());
    BOOST_TEST(read_some(*image, 2 * 4096, 2 * 4096).has_value());
    BOOST_TEST(read_some(*image, 5 * 4096, 5 * 4096).has_value());
}

BOOST_AUTO_TEST_CASE(a_cut_file_reads_up_to_its_end) {
    VdiBuilder disk = small_disk();
    Bytes file = disk.build();
    file.resize(file.size() - 1000);
    const ImagePtr image = kInMemory.image_of(file);
    BOOST_TEST(read_some(*image, 8 * 4096, 3096).has_value());
    BOOST_TEST((read_some(*image, 8 * 4096 + 3096, 1).error().kind == ErrorKind::truncated));
    BOOST_TEST(read_some(*image, 9 * 4096, 4096).has_value());
}

BOOST_AUTO_TEST_CASE(a_map_that_is_too_short_costs_what_lies_behind_it) {
    VdiBuilder disk = small_disk();
    disk.blocks = 7;
    const ImagePtr image = kInMemory.image_of(disk.build());
    BOOST_TEST(read_some(*image, 0, 7 * 4096).has_value());
    BOOST_TEST((read_some(*image, 7 * 4096, 1).error().kind == ErrorKind::corrupt));
    BOOST_TEST((image->resolve(GuestOffset{7 * 4096}, 100000).value().extent.length == 3 * 4096U));
}

BOOST_AUTO_TEST_CASE(a_map_that_can_not_be_read_now_is_a_passing_error) {
    const auto faulty = std::make_shared<FaultySource>(memory(small_disk().build()), 512, 552);
    faulty->broken = false;
    const ImagePtr image = kInMemory.image_of(*kVdiFormat.open(faulty, kInMemory.context()).value());
    faulty->broken = true;
    BOOST_TEST((read_some(*image, 0, 1).error().kind == ErrorKind::io));
    faulty->broken = false;
    BOOST_TEST(read_some(*image, 0, 1).has_value());
}

BOOST_AUTO_TEST_CASE(a_sound_image_audits_clean) {
    const AuditReport report = kInMemory.audit(small_disk().build());
    BOOST_TEST(report.counts().empty());
    BOOST_TEST(report.leaked().empty());
    BOOST_TEST(report.facts["UUID"] == text_of(vdi_uuid(1)));
}

BOOST_AUTO_TEST_CASE(an_audit_finds_each_kind_of_damage) {
    VdiBuilder disk = small_disk();
    disk.set(1, 0);          // shares block 0 with entry 0
    disk.set(3, 0xFFFFFFFD); // past the end
    disk.set(6, VdiBuilder::kFree);
    disk.set(8, VdiBuilder::kFree); // blocks 3 and 4 are no one's
    disk.allocated = 9;
    const AuditReport report = kInMemory.audit(disk.build());
    BOOST_TEST(count(report, "shared-block") == 1U);
    BOOST_TEST(count(report, "past-end") == 1U);
    BOOST_TEST(count(report, "wrong-count") == 1U);
    BOOST_TEST(count(report, "leaked") == 1U);
    BOOST_TEST(report.counts().size() == 4U);
    BOOST_TEST(report.number_of(Severity::error) == 2U);
    BOOST_TEST(report.leaked().size() == 1U);
    BOOST_TEST(report.leaked()[0].offset.value == 4096U + 3 * 4096);
    BOOST_TEST(report.leaked()[0].length == 2 * 4096U);
}

BOOST_AUTO_TEST_CASE(a_leaked_block_takes_its_extra_bytes_along_and_ends_with_the_file) {
    VdiBuilder disk = small_disk();
    disk.block_extra = 512;
    disk.set(0, VdiBuilder::kFree);
    disk.set(8, VdiBuilder::kFree);
    Bytes file = disk.build();
    file.resize(file.size() - 96);
    const AuditReport report = kInMemory.audit(file);
    BOOST_TEST(report.leaked().size() == 2U);
    BOOST_TEST(report.leaked()[0].length == 4608U);
    BOOST_TEST(report.leaked()[1].offset.value == 4096U + 4 * 4608);
    BOOST_TEST(report.leaked()[1].length == 4608U - 96);
    BOOST_TEST(report.leaked_bytes() == 2 * 4608U - 96);
}

BOOST_AUTO_TEST_CASE(random_damage_leaves_each_block_named_or_leaked) {
    Random random(6);
    for (int round = 0; round < 50; ++round) {
        VdiBuilder disk{.disk_size = 50 * 4096, .block_extra = static_cast<std::uint32_t>(below(random, 2) * 512)};
        Bytes model;
        fill_randomly(disk, model, random);
        std::vector<bool> named(disk.data.size());
        for (int i = 0; i < 10 && !disk.map.empty(); ++i)
            disk.map[below(random, disk.map.size())] = static_cast<std::uint32_t>(below(random, disk.data.size() + 3));
        for (const std::uint32_t entry : disk.map)
            if (entry < named.size()) named[entry] = true;
        const AuditReport report = kInMemory.audit(disk.build());
        const std::uint64_t lost = static_cast<std::uint64_t>(std::ranges::count(named, false));
        BOOST_TEST(report.leaked_bytes() == lost * (4096 + disk.block_extra));
    }
}

BOOST_AUTO_TEST_CASE(an_audit_that_is_told_to_stop_stops) {
    const auto stopped =
        kInMemory.parse(small_disk().build()).value()->audit({.progress = [](std::uint64_t, std::uint64_t) {
            return false;
        }});
    BOOST_TEST((stopped.error().kind == ErrorKind::cancelled));
}

BOOST_AUTO_TEST_CASE(an_audit_counts_more_than_it_keeps) {
    OpenContext few = kInMemory.context();
    few.limits.audit_findings = 3;
    VdiBuilder disk{.disk_size = 20 * 4096};
    for (std::uint32_t i = 0; i < 20; ++i) disk.set(i, 1000);
    const AuditReport report = kVdiFormat.open(memory(disk.build()), few).value()->audit({}).value();
    BOOST_TEST(count(report, "past-end") == 20U);
    BOOST_TEST(report.findings().size() == 4U); // and the wrong count
    few.limits.audit_bytes = 8;
    disk.store(0, Bytes(4096));
    disk.store(1, Bytes(4096));
    disk.store(2, Bytes(4096));
    BOOST_TEST(
        (kVdiFormat.open(memory(disk.build()), few).value()->audit({}).error().kind == ErrorKind::limit_exceeded));
}

BOOST_AUTO_TEST_SUITE_END()

namespace {

// A machine as VirtualBox lays it out: base.vdi, and Snapshots/ with a chain above it.
struct MachineFolder {
    TemporaryFolder folder;
    Random random{7};
    Bytes model; // of the last layer
    std::vector<std::filesystem::path> files;

    static std::string name(unsigned n) { return "{" + text_of(vdi_uuid(n)) + "}"; }

    std::filesystem::path add(const std::string& file, unsigned number, unsigned parent) {
        VdiBuilder image{.type = parent == 0 ? 1U : 4U,
                         .disk_size = 40 * 4096,
                         .create = vdi_uuid(number),
                         .modify = vdi_uuid(number + 100)};
        if (parent != 0) {
            image.linkage = vdi_uuid(parent);
            image.parent_modify = vdi_uuid(parent + 100);
        }
        fill_randomly(image, model, random);
        files.push_back(folder.write(file, image.build()));
        return files.back();
    }

    void add_chain(const std::string& snapshots = "Snapshots") {
        std::filesystem::create_directories(folder.path() / snapshots);
        add("base.vdi", 1, 0);
        for (unsigned n = 2; n <= 4; ++n) add(snapshots + "/" + name(n) + ".vdi", n, n - 1);
    }

    void write_text(const std::string& file, const std::string& text) {
        folder.write(file, std::as_bytes(std::span(text)));
    }
};

std::string hard_disk(unsigned n, const std::string& location, const std::string& inside = "",
                      const std::string& format = "VDI") {
    return fmt::format("<HardDisk uuid=\"{{{}}}\" location=\"{}\" format=\"{}\">{}</HardDisk>", text_of(vdi_uuid(n)),
                       location, format, inside);
}

std::string attached(unsigned n, unsigned port = 0) {
    return fmt::format("<StorageControllers><StorageController name=\"SATA\"><AttachedDevice type=\"HardDisk\" "
                       "port=\"{}\" device=\"0\">"
                       "<Image uuid=\"{{{}}}\"/></AttachedDevice></StorageController></StorageControllers>",
                       port, text_of(vdi_uuid(n)));
}

std::string settings(const std::string& disks, const std::string& rest = "") {
    return "<?xml version=\"1.0\"?>\n<!-- a comment -->\n<VirtualBox xmlns=\"http://www.virtualbox.org/\" "
           "version=\"1.16-linux\">"
           "<Machine uuid=\"{00000099-0000-0000-0000-000000000000}\" name=\"m\" "
           "snapshotFolder=\"Snapshots\"><MediaRegistry><HardDisks>" +
           disks + "</HardDisks></MediaRegistry>" + rest + "</Machine></VirtualBox>";
}

bool chain_reads(const std::filesystem::path& text, MachineFolder& machine, OpenOptions options = {}) {
    const auto disk = open_disk(text.string(), options);
    if (disk.has_error()) {
        BOOST_TEST_MESSAGE(disk.error().what);
        return false;
    }
    return reads_as(*disk.value().image, machine.model, 0, machine.model.size());
}

Error failure(const std::filesystem::path& text, OpenOptions options = {}) {
    auto disk = open_disk(text.string(), options);
    BOOST_REQUIRE(disk.has_error());
    return disk.error();
}

} // namespace

BOOST_AUTO_TEST_SUITE(vdi_chain)

BOOST_AUTO_TEST_CASE(parents_are_found_by_the_headers_nearby) {
    MachineFolder machine;
    machine.add_chain();
    BOOST_TEST(chain_reads(machine.files.back(), machine));
    // All in one folder as well.
    for (const auto& file : machine.files) std::filesystem::rename(file, machine.folder.path() / file.filename());
    BOOST_TEST(chain_reads(machine.folder.path() / machine.files.back().filename(), machine));
}

BOOST_AUTO_TEST_CASE(parents_are_found_by_the_registry_where_the_headers_are_far) {
    MachineFolder machine;
    machine.add_chain("elsewhere/deep");
    std::filesystem::create_directory(machine.folder.path() / "far");
    std::filesystem::rename(machine.files[0], machine.folder.path() / "far/base.vdi");
    const std::string path = machine.files.back().string();
    BOOST_TEST((failure(path).kind == ErrorKind::io));
    // Upper case, and a location relative to the settings file.
    std::string disks = hard_disk(1, "../far/base.vdi");
    disks.replace(disks.find("aa}"), 3, "AA}");
    machine.write_text("elsewhere/m.vbox", settings(disks));
    BOOST_TEST(chain_reads(path, machine));
    machine.write_text("elsewhere/m.vbox", settings(hard_disk(1, (machine.folder.path() / "far/base.vdi").string())));
    BOOST_TEST(chain_reads(path, machine));
}

BOOST_AUTO_TEST_CASE(damaged_missing_and_lying_registries_are_no_obstacle) {
    MachineFolder machine;
    machine.add_chain();
    const std::string whole =
        settings(hard_disk(1, "base.vdi", hard_disk(2, "C:\\VMs\\m\\Snapshots\\" + MachineFolder::name(2) + ".vdi")));
    std::string deep = "<VirtualBox><Machine><MediaRegistry><HardDisks>";
    for (int i = 0; i < 100000; ++i) deep += "<HardDisk>";
    for (const std::string& text :
         {whole, whole.substr(0, whole.size() - 60), std::string("not XML at all"), std::string("<VirtualBox"),
          std::string(), settings(hard_disk(1, "/dev/zero") + hard_disk(3, "base.vdi") + hard_disk(2, "")), deep,
          std::string("<!DOCTYPE a [<!ENTITY x SYSTEM \"/etc/passwd\">]><VirtualBox>&x;</VirtualBox>")}) {
        machine.write_text("m.vbox", text);
        BOOST_TEST(chain_reads(machine.files.back(), machine), text.substr(0, 200));
    }
}

BOOST_AUTO_TEST_CASE(a_registry_of_another_disk_is_not_believed) {
    MachineFolder machine;
    machine.add_chain();
    Bytes model = machine.model;
    machine.add("other.vdi", 77, 0);
    machine.model = model;
    machine.write_text("m.vbox", settings(hard_disk(1, "other.vdi")));
    BOOST_TEST(chain_reads(machine.files[3], machine));
}

BOOST_AUTO_TEST_CASE(a_missing_parent_is_named_with_where_it_was_looked_for) {
    MachineFolder machine;
    machine.add_chain();
    std::filesystem::remove(machine.files[1]);
    machine.write_text("m.vbox", settings(hard_disk(1, "base.vdi")));
    const Error error = failure(machine.files.back());
    BOOST_TEST((error.kind == ErrorKind::io));
    BOOST_TEST(error.what.find(text_of(vdi_uuid(2))) != std::string::npos, error.what);
    BOOST_TEST(error.what.find("m.vbox") != std::string::npos, error.what);
    BOOST_TEST(error.what.find("Snapshots") != std::string::npos, error.what);
    BOOST_TEST(error.what.find("#parent=") != std::string::npos, error.what);
}

BOOST_AUTO_TEST_CASE(the_parent_key_overrides_at_each_level) {
    MachineFolder machine;
    machine.add_chain("Snapshots");
    std::filesystem::create_directories(machine.folder.path() / "a/b/c");
    std::vector<std::string> moved;
    for (const auto& file : machine.files) {
        moved.push_back((machine.folder.path() / "a/b/c" / fmt::format("moved{}", moved.size())).string());
        std::filesystem::rename(file, moved.back());
    }
    BOOST_TEST((failure(moved[3]).kind == ErrorKind::io));
    BOOST_TEST(
        chain_reads(fmt::format("{}#parent={}#parent={}#parent={}", moved[3], moved[2], moved[1], moved[0]), machine));
}

BOOST_AUTO_TEST_CASE(cycles_and_own_parents_are_corrupt) {
    MachineFolder machine;
    machine.add("a.vdi", 1, 2);
    machine.add("b.vdi", 2, 1);
    machine.add("own.vdi", 3, 3);
    BOOST_TEST((failure(machine.files[0]).kind == ErrorKind::corrupt));
    BOOST_TEST((failure(machine.files[1]).kind == ErrorKind::corrupt));
    BOOST_TEST((failure(machine.files[2]).kind == ErrorKind::corrupt));
    BOOST_TEST((failure(fmt::format("{}#parent={}", machine.files[2].string(), machine.files[2].string())).kind ==
                ErrorKind::corrupt));
}

BOOST_AUTO_TEST_CASE(a_chain_deeper_than_the_limit_is_refused) {
    MachineFolder machine;
    machine.add_chain();
    OpenOptions options;
    options.limits.chain_depth = 3;
    BOOST_TEST((failure(machine.files.back(), options).kind == ErrorKind::limit_exceeded));
    options.limits.chain_depth = 4;
    BOOST_TEST(chain_reads(machine.files.back(), machine, options));
}

BOOST_AUTO_TEST_CASE(the_policy_holds_for_the_search) {
    MachineFolder machine;
    machine.add_chain();
    const std::string path = machine.files.back().string();
    BOOST_TEST((failure(path, {.references = ReferencePolicy::deny}).kind == ErrorKind::usage));
    BOOST_TEST(
        (failure(path, {.references = ReferencePolicy::same_dir}).kind == ErrorKind::usage)); // the base lies above
    machine.write_text("m.vbox", settings(hard_disk(1, "base.vdi")));
    BOOST_TEST((failure(path, {.references = ReferencePolicy::same_dir}).kind == ErrorKind::usage));
    std::filesystem::rename(machine.files[0], machine.folder.path() / "Snapshots/base.vdi");
    BOOST_TEST(chain_reads(path, machine, {.references = ReferencePolicy::same_dir}));
}

BOOST_AUTO_TEST_CASE(a_search_opens_no_more_files_than_the_limit) {
    MachineFolder machine;
    machine.add_chain();
    OpenOptions options;
    options.limits.search_files = 2;
    BOOST_TEST(failure(machine.files.back(), options).what.find("stopped after 2 files") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(of_two_parents_with_one_uuid_the_unmodified_one_is_taken_and_a_modified_one_is_told) {
    MachineFolder machine;
    machine.add_chain();
    VdiBuilder copy{.disk_size = 40 * 4096, .create = vdi_uuid(1), .modify = vdi_uuid(999)};
    machine.folder.write("a-copy.vdi", copy.build());
    BOOST_TEST(chain_reads(machine.files.back(), machine));
    BOOST_TEST(open_disk(machine.files.back().string(), {}).value().chain[3].remarks.empty());

    std::filesystem::remove(machine.files[0]);
    BOOST_TEST(open_disk(machine.files.back().string(), {}).value().chain[3].remarks.size() == 1U);
    const AuditReport report = audit_file(open_file(machine.files[1].string(), {}).value(), {}).value();
    BOOST_TEST(count(report, "parent-mismatch") == 1U);
    std::filesystem::remove(machine.folder.path() / "a-copy.vdi");
    BOOST_TEST(count(audit_file(open_file(machine.files[1].string(), {}).value(), {}).value(), "parent-missing") == 1U);
}

BOOST_AUTO_TEST_CASE(a_child_that_is_larger_than_its_parent_is_noted) {
    MachineFolder machine;
    machine.add("base.vdi", 1, 0);
    VdiBuilder child{.type = 4, .disk_size = 41 * 4096, .create = vdi_uuid(2), .linkage = vdi_uuid(1)};
    child.parent_modify = vdi_uuid(101);
    const std::string path = machine.folder.write("child.vdi", child.build()).string();
    const std::vector<Remark> remarks = open_disk(path, {}).value().chain[1].remarks;
    BOOST_REQUIRE(remarks.size() == 1U);
    BOOST_TEST((remarks[0].weight == Remark::Weight::note));
    BOOST_TEST(remarks[0].text.find("163840 bytes, its child's 167936") != std::string::npos, remarks[0].text);
    BOOST_TEST(count(audit_file(open_file(path, {}).value(), {}).value(), "chain-note") == 1U);
}

BOOST_AUTO_TEST_CASE(a_vdi_stands_over_a_raw_parent_that_is_given) {
    MachineFolder machine;
    machine.model = random_bytes(machine.random, 40 * 4096);
    const auto raw = machine.folder.write("base.raw", machine.model);
    const auto child = machine.add("child.vdi", 2, 1);
    BOOST_TEST(chain_reads(fmt::format("{}#parent={}", child.string(), raw.string()), machine));
    BOOST_TEST(
        open_disk(fmt::format("{}#parent={}", child.string(), raw.string()), {}).value().chain[1].remarks.size() == 2U);
}

BOOST_AUTO_TEST_CASE(a_parent_that_is_given_to_an_image_without_one_is_a_usage_error) {
    MachineFolder machine;
    const auto base = machine.add("base.vdi", 1, 0);
    BOOST_TEST((failure(base.string() + "#parent=" + base.string()).kind == ErrorKind::usage));
}

BOOST_AUTO_TEST_CASE(a_machine_opens_as_the_disks_that_it_names) {
    MachineFolder machine;
    machine.add_chain();
    const std::string disks =
        hard_disk(1, "base.vdi",
                  hard_disk(2, "Snapshots/" + MachineFolder::name(2) + ".vdi",
                            hard_disk(3, "Snapshots/" + MachineFolder::name(3) + ".vdi",
                                      hard_disk(4, "Snapshots/" + MachineFolder::name(4) + ".vdi")))) +
        hard_disk(50, "gone.vdi") + hard_disk(51, "base.other", "", "Other");
    const std::string snapshots =
        "<Snapshot uuid=\"{00000011-0000-0000-0000-000000000000}\" name=\"first\" timeStamp=\"2024-01-02T03:04:05Z\">" +
        attached(1) +
        "<Snapshots><Snapshot uuid=\"{00000012-0000-0000-0000-000000000000}\" name=\"second\"><Hardware>" +
        attached(2) + "</Hardware></Snapshot></Snapshots></Snapshot>";
    machine.write_text("m.vbox", settings(disks, snapshots + attached(4)));
    const std::string path = (machine.folder.path() / "m.vbox").string();

    const OpenedFile file = open_file(path, {}).value();
    std::vector<std::string> names;
    for (const Disk& disk : file.disks->disks()) names.push_back(disk.name);
    const std::vector<std::string> expected{
        "SATA-0-0", "first", "second", text_of(vdi_uuid(3)), text_of(vdi_uuid(50)), text_of(vdi_uuid(51))};
    BOOST_TEST(names == expected, boost::test_tools::per_element());
    BOOST_TEST(file.disks->disks()[2].facts["after"] == "first");
    BOOST_TEST(file.disks->disks()[0].size == 40 * 4096U);

    BOOST_TEST(chain_reads(path, machine));
    BOOST_TEST(chain_reads(path + "#SATA-0-0", machine));
    BOOST_TEST(open_disk(path + "#second", {}).value().chain.size() == 3U);
    BOOST_TEST(open_disk(path + "#snapshot=00000011-0000-0000-0000-000000000000", {}).value().chain.size() == 2U);
    BOOST_TEST((failure(path + "#" + text_of(vdi_uuid(50))).kind == ErrorKind::io));
    BOOST_TEST((failure(path + "#" + text_of(vdi_uuid(51))).kind == ErrorKind::unsupported));
    BOOST_TEST((failure(path + "#third").kind == ErrorKind::usage));
}

BOOST_AUTO_TEST_CASE(a_machine_with_two_disks_asks_which) {
    MachineFolder machine;
    machine.add("a.vdi", 1, 0);
    machine.model.clear();
    machine.add("b.vdi", 2, 0);
    machine.write_text("m.vbox", settings(hard_disk(1, "a.vdi") + hard_disk(2, "b.vdi"),
                                          "<Snapshot uuid=\"{00000011-0000-0000-0000-000000000000}\" name=\"first\">" +
                                              attached(1) + "<Hardware>" + attached(2, 1) + "</Hardware></Snapshot>" +
                                              attached(1) + "<Hardware>" + attached(2, 1) + "</Hardware>"));
    const std::string path = (machine.folder.path() / "m.vbox").string();
    BOOST_TEST((failure(path).kind == ErrorKind::usage));
    BOOST_TEST(failure(path).what.find("#SATA-1-0") != std::string::npos);
    BOOST_TEST(failure(path).what.find("#SATA-0-0@first") != std::string::npos);
    BOOST_TEST(chain_reads(path + "#SATA-1-0", machine));
    BOOST_TEST(chain_reads(path + "#SATA-1-0@first", machine));
    BOOST_TEST(chain_reads(path + "#first/SATA-1-0", machine));
}

BOOST_AUTO_TEST_CASE(a_machine_hands_its_registry_down_the_chain) {
    MachineFolder machine;
    machine.add_chain("far/away/snaps");
    machine.write_text(
        "m.vbox", settings(hard_disk(1, "base.vdi", hard_disk(2, "far/away/snaps/" + MachineFolder::name(2) + ".vdi")),
                           attached(2)));
    BOOST_TEST((failure(machine.files[1]).kind == ErrorKind::io));
    BOOST_TEST(open_disk((machine.folder.path() / "m.vbox").string(), {}).value().chain.size() == 3U);
}

BOOST_AUTO_TEST_CASE(an_encrypted_medium_is_refused_and_not_read_as_ciphertext) {
    MachineFolder machine;
    machine.add_chain();
    machine.write_text("m.vbox", settings(hard_disk(1, "base.vdi",
                                                    "<Property name=\"CRYPT/KeyId\" value=\"k\"/>" +
                                                        hard_disk(2, "Snapshots/" + MachineFolder::name(2) + ".vdi")),
                                          attached(2)));
    BOOST_TEST((failure(machine.folder.path() / "m.vbox").kind == ErrorKind::unsupported));
    BOOST_TEST((failure(machine.files[1]).kind == ErrorKind::unsupported));
}

BOOST_AUTO_TEST_CASE(machines_that_name_no_disk_or_too_many_are_refused) {
    MachineFolder machine;
    const std::string path = (machine.folder.path() / "m.vbox").string();
    machine.write_text("m.vbox", settings(""));
    BOOST_TEST((failure(path).kind == ErrorKind::corrupt));
    machine.write_text("m.vbox", settings(hard_disk(1, "a") + hard_disk(2, "b")));
    OpenOptions options;
    options.limits.machine_media = 1;
    BOOST_TEST((failure(path, options).kind == ErrorKind::limit_exceeded));
    options.limits.registry_bytes = 10;
    BOOST_TEST((failure(path, options).kind == ErrorKind::limit_exceeded));
}

BOOST_AUTO_TEST_SUITE_END()
