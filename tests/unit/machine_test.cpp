// SPDX-License-Identifier: Apache-2.0
// What machines' files say: the texts, the names of their hosts, the tree of checkpoints. Whole machines are read in
// tests/oracle/machines.py.
#include "disk/machine.hpp"
#include "format/ova/ovf.hpp"
#include "format/proxmox/proxmox.hpp"
#include "format/proxmox/sqlite.hpp"
#include "format/proxmox/storage.hpp"
#include "format/vmx/dictionary.hpp"
#include "format/vmx/vmx.hpp"
#include "io/memory_source.hpp"
#include "open/machine/hyperv_relations.hpp"
#include "open/registry.hpp"
#include "temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>

using namespace vdisk;
using namespace vdisk::test;

BOOST_AUTO_TEST_SUITE(machine)

namespace {

std::string detected(std::string_view text) {
    const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
    const MemorySource source(std::vector<std::byte>(bytes, bytes + text.size()), "m");
    const auto format = detect_format(source, Match::sure);
    if (format.has_error()) return "error";
    return format.value() == nullptr ? "" : std::string(format.value()->name);
}

std::string first_path(std::string_view volume, std::string_view snapshot = "", std::string_view config = "") {
    const proxmox::Place place = proxmox::place_of(proxmox::parse_storages(config), volume, snapshot);
    return place.problem.empty() ? place.where.paths.front() : place.problem;
}

std::string names(const Machine& machine) {
    std::string text;
    for (const MachineState& state : machine.checkpoints) text += state.name;
    return text;
}

// An item of an OVF's hardware: its type, number, the controller that it hangs at, and whatever more.
std::string item(int type, int id, int parent, std::string_view more = "") {
    return fmt::format(
        "<Item><rasd:InstanceID>{}</rasd:InstanceID>{}<rasd:ResourceType>{}</rasd:ResourceType>{}</Item>", id,
        parent != 0 ? fmt::format("<rasd:Parent>{}</rasd:Parent>", parent) : "", type, more);
}

std::string on_port(std::string_view port, std::string_view resource) {
    return fmt::format("<rasd:AddressOnParent>{}</rasd:AddressOnParent><rasd:HostResource>{}</rasd:HostResource>", port,
                       resource);
}

ova::Ovf ovf_of(std::string_view hardware, std::string_view disks = "", std::string_view more = "") {
    const std::string xml = fmt::format(
        R"(<Envelope xmlns:ovf="u"><References><File ovf:id="f" ovf:href="d.vmdk"/></References>)"
        R"(<DiskSection>{}</DiskSection><VirtualSystem ovf:id="m"><VirtualHardwareSection>{}</VirtualHardwareSection>)"
        R"(</VirtualSystem>{}</Envelope>)",
        disks, hardware, more);
    auto parsed = ova::Ovf::parse(xml, "m.ovf", Limits{});
    BOOST_REQUIRE(parsed.has_value());
    return std::move(parsed).value();
}

std::string drives_told(const std::vector<Drive>& drives) {
    std::string text;
    for (const Drive& drive : drives) text += fmt::format("{}={} ", drive.name, drive.file);
    return text;
}

} // namespace

BOOST_AUTO_TEST_CASE(machines_are_known_by_their_texts_and_other_texts_are_not) {
    BOOST_TEST(detected(".encoding = \"UTF-8\"\nconfig.version = \"8\"\n") == "vmx");
    BOOST_TEST(detected("#!/usr/bin/vmware\nvirtualHW.version = \"7\"\n") == "vmx");
    BOOST_TEST(detected("<!-- no\nedit --><domain type='kvm'><name>a</name></domain>") == "libvirt");
    BOOST_TEST(detected("<domain>") == "libvirt");
    BOOST_TEST(detected("<?xml version='1.0'?><!-- by hand --><ovf:Envelope>") == "ovf");
    BOOST_TEST(detected("<?xml version='1.0'?>\n<ParallelsVirtualMachine>") == "pvs");
    BOOST_TEST(detected("<plist version='1.0'><dict><key>ConfigurationVersion</key><integer>4</integer>"
                        "<key>Drive</key><array/></dict></plist>") == "utm");
    BOOST_TEST(detected("<plist version='1.0'><dict><key>ConfigurationVersion</key></dict></plist>") == "");
    BOOST_TEST(detected("cores: 2\nmemory: 512\n") == "proxmox");
    BOOST_TEST(detected("#a note\nscsi0: local:1/a.raw\nmemory: 512\n[one]\n") == "proxmox");
    for (const char* text : {"", "config.version is 8\n", "x config.version = 8", "<domains/>", "<a><domainname/></a>",
                             "cores: 2\n", "Subject: a\nmemory: 512\ncores: 1\n", "a = b\ncores: 2\nmemory: 512\n"})
        BOOST_TEST(detected(text) == "", text);
}

BOOST_AUTO_TEST_CASE(a_dictionary_has_keys_of_any_case_and_escapes) {
    const auto read = vmx::Dictionary::parse(
        "\xEF\xBB\xBF.encoding = \"windows-1252\"\r\nDisplayName = \"a |22b|22 \xE9|\"\r\n"
        "# no = \"1\"\nn=5\nTwice = \"1\"\ntwice = \"2\"\nflag = \"True\"\n= \"x\"\nq = \"open\n");
    BOOST_TEST(read.text("displayname") == "a \"b\" \xC3\xA9|");
    BOOST_TEST(read.number("n").value() == 5U);
    BOOST_TEST(read.text("twice") == "2");
    BOOST_TEST(read.truth("flag").value());
    BOOST_TEST(!read.truth("none").has_value());
    BOOST_TEST(read.text("q") == "open");
    BOOST_TEST((read.find("# no") == nullptr));
}

BOOST_AUTO_TEST_CASE(names_of_hosts_are_paths) {
    BOOST_TEST(vmx::datastore_path("[ds 1] vm/a.vmdk").paths.front() == "/vmfs/volumes/ds 1/vm/a.vmdk");
    BOOST_TEST(vmx::datastore_path("[ds 1] vm/a.vmdk").windows);
    BOOST_TEST(vmx::datastore_path("a.vmdk").paths.front() == "a.vmdk");
    BOOST_TEST(host_path("C:\\a\\b.vhd").paths.front() == "/a/b.vhd");
    BOOST_TEST(host_path("Snapshots\\b.vdi").paths.front() == "Snapshots/b.vdi");
    BOOST_TEST(host_path("nbd:a").paths.front() == "nbd:a");
    BOOST_TEST(host_path("/a\\b").paths.front() == "/a\\b");
    BOOST_TEST(mac_address("525400ABCDEF") == "52:54:00:ab:cd:ef");
    BOOST_TEST(mac_address("00-15-5D-00-00-01") == "00:15:5d:00:00:01");
    BOOST_TEST(mac_address("none") == "none");
}

BOOST_AUTO_TEST_CASE(volumes_are_where_their_storages_keep_them) {
    const std::string config = "dir: d\n\tpath /srv/d\n\nnfs: n\n\texport /x\n\nlvm: v\n\tvgname vg0\n\nzfspool: "
                               "z\n\tpool tank/vm\n\niscsi: i\n";
    BOOST_TEST(first_path("local:100/vm-100-disk-0.qcow2") == "/var/lib/vz/images/100/vm-100-disk-0.qcow2");
    BOOST_TEST(first_path("local:iso/a.iso") == "/var/lib/vz/template/iso/a.iso");
    BOOST_TEST(first_path("d:9/base-9-disk-0.raw/100/vm-100-disk-0.qcow2", "", config) ==
               "/srv/d/images/100/vm-100-disk-0.qcow2");
    BOOST_TEST(first_path("n:100/a.raw", "", config) == "/mnt/pve/n/images/100/a.raw");
    BOOST_TEST(first_path("local-lvm:base-9-disk-0/vm-100-disk-0") == "/dev/pve/vm-100-disk-0");
    BOOST_TEST(first_path("local-lvm:vm-100-disk-0", "one") == "/dev/pve/snap_vm-100-disk-0_one");
    BOOST_TEST(first_path("z:vm-100-disk-0", "one", config) == "/dev/zvol/tank/vm/vm-100-disk-0@one");
    BOOST_TEST(first_path("/dev/disk/by-id/x") == "/dev/disk/by-id/x");
    BOOST_TEST(first_path("d:100/a.raw", "one", config).find("has no snapshots") != std::string::npos);
    BOOST_TEST(first_path("v:vm-100-disk-0", "one", config).find("has no snapshots") != std::string::npos);
    const auto inside = proxmox::place_of(proxmox::parse_storages(config), "d:100/a.qcow2", "one");
    BOOST_TEST(inside.snapshot == "one");
    BOOST_TEST(inside.format == "qcow2");
    BOOST_TEST(proxmox::place_of({}, "gone:100/a.qcow2", "").where.windows);
}

BOOST_AUTO_TEST_CASE(rows_of_a_database_are_read_and_damage_is_told) {
    const char* const source = std::getenv("abs_top_srcdir");
    BOOST_REQUIRE(source != nullptr);
    std::ifstream in(std::string(source) + "/tests/fuzz/corpus/fuzz_pmxcfs/deep", std::ios::binary);
    const std::string stored{std::istreambuf_iterator<char>(in), {}};
    BOOST_REQUIRE(stored.size() > 4096);
    const auto read = [&](std::string bytes, std::vector<std::string>& problems) {
        const auto* start = reinterpret_cast<const std::byte*>(bytes.data());
        auto database = sqlite::Database::open(
            std::make_shared<MemorySource>(std::vector<std::byte>(start, start + bytes.size()), "m"), nullptr,
            Limits{});
        BOOST_REQUIRE(database.has_value());
        std::map<std::int64_t, std::string> names;
        const auto got = database.value().read(
            "tree", Limits{}, [&](const sqlite::Row& row) { names.emplace(row.id, row.text(6)); }, problems);
        return got.has_value() ? names.size() : 0;
    };
    std::vector<std::string> problems;
    BOOST_TEST(read(stored, problems) == 66U);
    BOOST_TEST(problems.empty());
    // A page of rows that is none any more costs its rows, and is told.
    for (std::size_t page = 512; page < stored.size(); page += 512) {
        if (stored[page] != 0x0D) continue;
        std::string damaged = stored;
        damaged[page] = 0;
        const std::size_t left = read(damaged, problems);
        BOOST_TEST(left > 0U);
        BOOST_TEST(left < 66U);
        BOOST_TEST(problems.size() == 1U);
        problems.clear();
    }
}

BOOST_AUTO_TEST_CASE(a_row_of_more_columns_than_sqlite_has_is_damage) {
    const auto problems_with = [](std::size_t columns) {
        std::string page(65536, '\0');
        const auto put = [&](std::size_t at, std::string_view bytes) { page.replace(at, bytes.size(), bytes); };
        const auto put_varint = [&](std::size_t at, std::size_t number) { // in three bytes
            put(at, std::string{static_cast<char>(0x80 | number >> 14), static_cast<char>(0x80 | (number >> 7 & 0x7F)),
                                static_cast<char>(number & 0x7F)});
        };
        put(0, sqlite::kMagic);
        page[17] = 1;                  // pages of 65536 bytes
        page[59] = 1;                  // UTF-8
        page[100] = 0x0D;              // rows
        page[104] = 1;                 // of them one,
        page[108] = 0x10;              // at 4096
        put_varint(4096, columns + 3); // NULLs: a byte each, behind the length of that
        page[4099] = 1;
        put_varint(4100, columns + 3);
        const auto* start = reinterpret_cast<const std::byte*>(page.data());
        auto database = sqlite::Database::open(
            std::make_shared<MemorySource>(std::vector<std::byte>(start, start + page.size()), "m"), nullptr, Limits{});
        std::vector<std::string> problems;
        BOOST_TEST(database.value()
                       .read(
                           "tree", Limits{}, [](const sqlite::Row&) {}, problems)
                       .has_error());
        return problems.size();
    };
    BOOST_TEST(problems_with(32767) == 0U);
    BOOST_TEST(problems_with(32768) == 1U);
}

BOOST_AUTO_TEST_CASE(drives_of_one_name_get_others) {
    DriveNames names;
    BOOST_TEST(names.unique("hdd1", "hdd", 0) == "hdd1");
    BOOST_TEST(names.unique("", "hdd", 1) == "hdd2");
    BOOST_TEST(names.unique("hdd1", "hdd", 2) == "hdd3");
    BOOST_TEST(names.unique("hdd4", "hdd", 3) == "hdd4");
    BOOST_TEST(names.unique("hdd4", "hdd", 4) == "hdd5");
    BOOST_TEST(names.unique("", "cdrom", 5) == "cdrom5");
    BOOST_TEST(names.size() == 6U);
}

BOOST_AUTO_TEST_CASE(checkpoints_are_sorted_into_a_tree_whatever_their_parents_are) {
    Machine machine;
    for (const auto& [name, parent] : std::initializer_list<std::pair<const char*, const char*>>{
             {"c", "b"}, {"a", ""}, {"b", "a"}, {"d", "a"}, {"e", "gone"}})
        machine.checkpoints.push_back({.name = name, .parent = parent});
    machine.sort_checkpoints();
    BOOST_TEST(names(machine) == "abcde");
    BOOST_TEST(machine.problems.empty());

    Machine circle;
    for (const auto& [name, parent] :
         std::initializer_list<std::pair<const char*, const char*>>{{"a", "b"}, {"b", "a"}, {"c", "c"}, {"d", ""}})
        circle.checkpoints.push_back({.name = name, .parent = parent});
    circle.sort_checkpoints();
    BOOST_TEST(names(circle) == "dabc");
    BOOST_TEST(circle.problems.size() == 2U);
    BOOST_TEST(describe(circle)["checkpoints"].size() == 4U);
}

BOOST_AUTO_TEST_CASE(a_chain_of_many_checkpoints_is_told_without_recursion) {
    Machine machine;
    for (int i = 100000; i > 0; --i)
        machine.checkpoints.push_back({.name = std::to_string(i), .parent = i > 1 ? std::to_string(i - 1) : ""});
    machine.sort_checkpoints();
    BOOST_TEST(machine.checkpoints.front().name == "1");
    BOOST_TEST(*describe(machine)["checkpoints"].elements().back()["depth"].number() == 99999U);
}

BOOST_AUTO_TEST_CASE(drives_of_an_ovf_hang_where_their_controllers_are) {
    // VMware writes the second IDE controller first; two that claim one number get different ones.
    const std::string hardware =
        item(5, 1, 0, "<rasd:Address>1</rasd:Address>") + item(5, 2, 0, "<rasd:Address>0</rasd:Address>") +
        item(6, 3, 0, "<rasd:Address>0</rasd:Address>") + item(6, 4, 0, "<rasd:Address>0</rasd:Address>") +
        item(20, 5, 0, "<rasd:ResourceSubType>vmware.nvme.controller</rasd:ResourceSubType>") + item(20, 6, 0) +
        item(17, 10, 3, on_port("1", "ovf:/disk/a")) + item(17, 11, 4, on_port("1", "/disk/b")) +
        item(17, 12, 5, on_port("0", "ovf:/disk/gone")) + item(15, 13, 1, on_port("0", "ovf:/file/f")) +
        item(14, 14, 0) + item(17, 15, 6, on_port("0", "f")) + item(17, 16, 6, on_port("0", "ovf:/disk/new"));
    const auto read = ovf_of(hardware, R"(<Disk ovf:diskId="a" ovf:fileRef="f"/><Disk ovf:diskId="b" ovf:fileRef="x"/>)"
                                       R"(<Disk ovf:diskId="new"/><Disk ovf:diskId="left" ovf:fileRef="f"/>)");
    BOOST_TEST(drives_told(read.machine.drives) == "scsi0:1=d.vmdk scsi1:1=x nvme0:0=disk/gone ide1:0=d.vmdk drive5= "
                                                   "sata0:0=d.vmdk drive7= ");
    BOOST_TEST(read.machine.drives[0].problem == "");
    BOOST_TEST(read.machine.drives[1].problem == "the descriptor has no file 'x'");
    BOOST_TEST(read.machine.drives[2].problem == "the descriptor has no 'disk/gone'");
    BOOST_TEST((read.machine.drives[3].kind == Drive::Kind::cdrom));
    BOOST_TEST((read.machine.drives[4].kind == Drive::Kind::floppy));
    BOOST_TEST(read.machine.drives[6].facts.dump() == R"({"disk id":"new","new disk without content":true})");
    BOOST_TEST(drives_told(read.machine.unattached) == "left=d.vmdk ");
}

BOOST_AUTO_TEST_CASE(an_ovf_tells_of_one_machine_and_of_items_that_hold_for_all) {
    const auto several = ovf_of(
        item(3, 1, 0, "<rasd:VirtualQuantity>4</rasd:VirtualQuantity>") +
            R"(<Item ovf:bound="max"><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>)"
            R"(<rasd:VirtualQuantity>9</rasd:VirtualQuantity></Item>)"
            R"(<Item ovf:configuration="big"><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>)"
            R"(<rasd:VirtualQuantity>8</rasd:VirtualQuantity></Item>)" +
            item(4, 3, 0,
                 "<rasd:AllocationUnits>byte * 2^30</rasd:AllocationUnits>"
                 "<rasd:VirtualQuantity>2</rasd:VirtualQuantity>"),
        "", R"(<VirtualSystemCollection ovf:id="c"><VirtualSystem ovf:id="n"/></VirtualSystemCollection>)");
    BOOST_TEST(several.machine.name == "m");
    BOOST_TEST(several.machine.processors.value() == 4U);
    BOOST_TEST(several.machine.memory.value() == std::uint64_t{2} << 30);
    BOOST_TEST(several.machine.problems.size() == 1U);
    BOOST_TEST(several.machine.firmware == ""); // the standard has no word for it
}

BOOST_AUTO_TEST_CASE(a_checkpoint_of_hyperv_is_of_the_machine_that_lists_it_or_whose_id_it_has) {
    using namespace vdisk::hyperv_machine;
    const auto configured = [](const std::string& id, const std::string& machine, std::vector<std::string> list = {}) {
        return hyperv_machine::Configuration{
            .machine = {.id = id, .logical_id = machine, .checkpoints = std::move(list)},
            .is_machine = id.starts_with("M")};
    };
    const std::vector<hyperv_machine::Configuration> all{configured("C1", "M2"),   configured("M1", "M1", {"c1", ""}),
                                                         configured("M2", ""),     configured("C2", "m2"),
                                                         configured("C3", ""),     configured("C4", "C4"),
                                                         configured("C5", "GONE"), configured("", "")};
    std::vector<std::optional<std::size_t>> machines;
    for (const Relation& relation : relate(all, {})) {
        machines.push_back(relation.machine);
        BOOST_TEST(!relation.after);
    }
    using Numbers = std::vector<std::optional<std::size_t>>;
    BOOST_TEST((machines == Numbers{1, 1, 2, 2, {}, {}, {}, {}}));
    BOOST_TEST(relate({}, {}).empty());
}

BOOST_AUTO_TEST_SUITE_END()
