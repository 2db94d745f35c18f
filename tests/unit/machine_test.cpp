// SPDX-License-Identifier: Apache-2.0
// What machines' files say: the texts, the names of their hosts, the tree of checkpoints. Whole machines are read in
// tests/oracle/machines.py.
#include "disk/machine.hpp"
#include "format/proxmox/proxmox.hpp"
#include "format/proxmox/storage.hpp"
#include "format/vmx/dictionary.hpp"
#include "format/vmx/vmx.hpp"
#include "io/memory_source.hpp"
#include "open/registry.hpp"
#include "temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

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

} // namespace

BOOST_AUTO_TEST_CASE(machines_are_known_by_their_texts_and_other_texts_are_not) {
    BOOST_TEST(detected(".encoding = \"UTF-8\"\nconfig.version = \"8\"\n") == "vmx");
    BOOST_TEST(detected("#!/usr/bin/vmware\nvirtualHW.version = \"7\"\n") == "vmx");
    BOOST_TEST(detected("<!-- no\nedit --><domain type='kvm'><name>a</name></domain>") == "libvirt");
    BOOST_TEST(detected("<domain>") == "libvirt");
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

BOOST_AUTO_TEST_SUITE_END()
