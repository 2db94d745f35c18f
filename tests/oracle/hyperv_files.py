#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""hvconfig against files of independent writers: what it prints, says and ends with."""
import hashlib
import json

import harness
import hyperv_machine
from harness import outcome, run

FOLDER = harness.FIXTURES / "hyperv"
HVCONFIG = str(harness.BUILD / "hvconfig")
MANIFEST = json.loads((FOLDER / "MANIFEST.json").read_text())["files"]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def condense(key):
    """A key of hvconfig's JSON, which gives every value whole, in the form of the expected files, which give long ones as
    hashes. Members that the expected files do not have are checked to be those of an undefined type."""
    key = dict(key)
    if key["type"] == "unknown":
        for extra in ("type_number", "length", "hex"):
            del key[extra]
    if key["type"] == "array" and key.get("length", 0) > 256:
        key["sha256"] = sha256(bytes.fromhex(key.pop("hex")))
    if key["type"] == "string" and "value" in key and "utf16le_hex" not in key:
        text = key["value"].encode("utf-16le")
        if len(text) > 8192:
            del key["value"]
            key.update(length_bytes=len(text), sha256_utf16le=sha256(text), sha256_utf8=sha256(text.decode("utf-16le").encode()))
    if "damaged" in key:  # the expected files have one word for both bad sizes
        key["damaged"] = ["entry-size" if name.startswith("entry-size") else name for name in key["damaged"]]
    if "children" in key:
        key["children"] = [condense(child) for child in key["children"]]
    return key


def bare(key):
    """An expected key without what only a hash can stand for: an empty array has no need of one."""
    key = dict(key)
    if key["type"] == "array" and key.get("length") == 0:
        key["hex"] = ""
        key.pop("sha256", None)
    if "children" in key:
        key["children"] = [bare(child) for child in key["children"]]
    return key


class Fixtures(harness.FolderTest):
    maxDiff = 4000

    def path(self, entry):
        stored = FOLDER / entry.get("stored_as", entry["file"])
        if stored.suffix != ".zst":
            return stored
        plain = self.folder / entry["file"]
        run("zstd", "-q", "-d", "-f", stored, "-o", plain)
        return plain

    def dump(self, file, *options):
        status, out, err = outcome(HVCONFIG, "dump", "--output-format", "json", *options, file)
        return status, (json.loads(out) if out else None), err

    def assert_tree(self, got, expected):
        self.assertEqual([condense(key) for key in got], [bare(key) for key in expected])

    def each(self, *kinds):
        for entry in MANIFEST:
            if not kinds or entry["kind"] in kinds:
                with self.subTest(file=entry["file"]):
                    expected = json.loads((FOLDER / entry["expected"]).read_text()) if "expected" in entry else None
                    yield entry, self.path(entry), expected

    def test_every_file_is_what_the_manifest_describes(self):
        for entry, path, _ in self.each():
            self.assertEqual(sha256(path.read_bytes()), entry["sha256"])

    def test_dump_is_the_expected_tree(self):
        for entry, path, expected in self.each():
            if expected is None or "tree" not in expected:
                continue
            status, got, err = self.dump(path)
            self.assertEqual(got["header"], expected["header"])
            for count in ("key_tables", "object_tables", "file_objects"):
                self.assertEqual(got[count], expected[count], count)
            self.assert_tree(got["tree"], expected["tree"])
            for apart in ("orphans", "cycles"):
                self.assert_tree(got.get(apart, []), expected.get(apart, []))
            self.assertEqual({finding["kind"] for finding in got["findings"]}, set(entry["findings"]))
            damaged = set(entry["findings"]) - {"dirty"}
            self.assertEqual(status, 1 if damaged else 0, err)
            for name in entry["findings"]:
                self.assertIn(name, err)

    def host(self):
        """A host's folder: web01 and web02 with three checkpoints each, the list of both, and what is no configuration."""
        host = self.folder / "host"
        for number, name in enumerate(("web01", "web02")):
            hyperv_machine.machine(host, ("first", "second", "third"), ".vmcx", name=name, id=f"M{number}", more=hyperv_machine.logical_id(f"M{number}") if number else ())
        hyperv_machine.write_vmcx(host / "data.vmcx", [("/Configurations/VirtualMachines/M0", "string", "C:\\VMs\\web01\\Virtual Machines\\M0.vmcx")])
        (host / "notes.txt").write_text("nothing")
        (host / "again").symlink_to(host)
        return host

    def told(self, *words, status=0):
        """The objects that hvconfig prints, a line each, and what it says."""
        code, out, said = outcome(HVCONFIG, *words, cwd=self.folder)
        self.assertEqual(code, status, said)
        return [json.loads(line) for line in out.splitlines()], said

    def test_disks_of_a_folder_are_its_machines_with_their_checkpoints(self):
        self.host()
        expected = [("first", None, 0), ("second", "first", 1), ("third", "second", 2)]
        objects, said = self.told("disks", "--json", "host")
        self.assertEqual(said, "")
        self.assertEqual([each["file"] for each in objects], ["host/data.vmcx", "host/web01/Virtual Machines/M0.vmcx", "host/web02/Virtual Machines/M1.vmcx"])
        self.assertEqual([listed["id"] for listed in objects[0]["listed"]], ["M0"])
        for number, each in enumerate(objects[1:]):
            self.assertEqual(each["name"], f"web0{number + 1}")
            self.assertEqual([(point["name"], point.get("after"), point["depth"]) for point in each["checkpoints"]], expected)
            self.assertEqual([point["file"] for point in each["checkpoints"]], [f"host/web0{number + 1}/Snapshots/M{number}-S{at}.vmcx" for at in range(3)])
            self.assertNotIn(each["drives"][0]["file"], [point["drives"][0]["file"] for point in each["checkpoints"]])
        lines = run(HVCONFIG, "disks", "host", cwd=self.folder).decode().splitlines()
        self.assertEqual([line for line in lines if "machine: " in line][:5],
                         ["listed machine: M0 C:\\VMs\\web01\\Virtual Machines\\M0.vmcx", "machine: web01", "  machine: first", "    machine: second", "      machine: third"])

    def test_checkpoints_in_a_folder_without_their_machine_stand_alone(self):
        objects, _ = self.told("disks", "--json", str(self.host() / "web01" / "Snapshots"))
        self.assertEqual([(each["name"], each["checkpoints"]) for each in objects], [("first", []), ("second", []), ("third", [])])

    def test_files_that_are_given_together_are_told_together(self):
        place = self.host() / "web02"
        files = [place / "Snapshots/M1-S2.vmcx", place / "Virtual Machines/M1.vmcx", FOLDER / "vm-realistic.vmcx"]
        objects, _ = self.told("disks", "--json", *files)
        self.assertEqual([(each["name"], [point["name"] for point in each["checkpoints"]]) for each in objects], [("web02", ["third"]), ("Lagerverwaltung (Test)", [])])
        for command in ("info", "verify"):
            objects, _ = self.told(command, "--json", *files)
            self.assertEqual([each["file"] for each in objects], [str(file) for file in files])
            self.assertEqual({**objects[2]}, json.loads(run(HVCONFIG, command, "--json", files[2])))
            text = run(HVCONFIG, command, *files).decode()
            self.assertEqual(sorted(files, key=lambda file: text.index(f"{file}")), files)

    def test_a_damaged_file_in_a_folder_costs_only_itself(self):
        host = self.host()
        (host / "web01/Snapshots/M0-S1.vmcx").write_bytes(bytes(20000))
        for command in ("disks", "info", "verify"):
            objects, said = self.told(command, "--json", "host", status=1)
            self.assertEqual(said, "hvconfig: host/web01/Snapshots/M0-S1.vmcx: not a HyperVStorage file\n")
            self.assertEqual(sum(1 + len(each.get("checkpoints", [])) for each in objects), 8)
        self.assertEqual([(point["name"], point.get("after")) for point in self.told("disks", "--json", "host", status=1)[0][1]["checkpoints"]],
                         [("first", None), ("third", "first")])
        file = host / "web02/Virtual Machines/M1.vmcx"
        file.write_bytes(file.read_bytes().replace("web02".encode("utf-16le"), "web03".encode("utf-16le"), 1))
        objects, said = self.told("disks", "--json", "host", status=1)
        self.assertIn("host/web02/Virtual Machines/M1.vmcx: offset ", said)
        self.assertEqual(len(objects), 3)

    def test_a_folder_without_anything_to_read_is_an_error(self):
        for name in ("empty", "broken"):
            (self.folder / name).mkdir()
        (self.folder / "broken/a.vmcx").write_bytes(bytes(20000))
        for command in ("disks", "info", "verify"):
            self.assertRegex(self.told(command, "empty", status=2)[1], r"^hvconfig: empty: has no file that ends in .vmcx")
            self.assertEqual(self.told(command, "broken", status=2)[1], "hvconfig: broken/a.vmcx: not a HyperVStorage file\n")

    def test_verify_lists_each_finding_with_its_offset(self):
        for entry, path, expected in self.each():
            if expected is None or "tree" not in expected:
                continue
            status, out, _ = outcome(HVCONFIG, "verify", path)
            self.assertEqual(status, 1 if entry["findings"] else 0)
            for name in entry["findings"]:
                self.assertRegex(out.decode(), rf"(?m)^offset \d+: {name}: ")

    def test_best_effort_and_no_replay_give_the_other_trees(self):
        for entry, path, expected in self.each():
            for tree, option in (("best_effort_tree", "--best-effort"), ("tree_without_replay", "--no-replay")):
                if expected is None or tree not in expected:
                    continue
                _, got, err = self.dump(path, option)
                self.assertIsNotNone(got, err)
                self.assert_tree(got["tree"], expected[tree])

    def test_best_effort_takes_nothing_from_a_good_file(self):
        for entry, path, expected in self.each("good", "header", "sequence", "log", "memory"):
            _, got, _ = self.dump(path, "--best-effort")
            self.assert_tree(got["tree"], expected["tree"])

    def test_other_versions_and_other_files_are_refused_in_one_line(self):
        for entry, path, expected in self.each("version", "not-hyperv"):
            for command in (["dump"], ["verify"], ["get", "/configuration"], ["disks"], ["deleted"], ["memory", self.folder / "out"]):
                status, out, err = outcome(HVCONFIG, command[0], path, *command[1:])
                self.assertEqual((status, out, err.count("\n")), (2, b"", 1), err)
                self.assertIn(str(path.name), err)
            if entry["kind"] == "version":
                self.assertIn(expected["header"]["version"], err)
                self.assertEqual(outcome(HVCONFIG, "info", path)[0], 1)

    def test_each_version_before_and_after_the_known_one_is_read_with_best_effort_and_marked(self):
        versions = {}
        for entry, path, expected in self.each("version"):
            versions[expected["header"]["version"]] = path
            status, got, err = self.dump(path, "--best-effort")
            self.assertEqual((status, got["header"]), (1, expected["header"]), err)
            self.assert_tree(got["tree"], expected["best_effort_tree"])
            self.assertIn(f"format-version: format version {expected['header']['version']}", err)
            self.assertEqual([finding["kind"] for finding in got["findings"]], ["format-version"])
        self.assertLessEqual({"0x0100", "0x0101", "0x0200", "0x0300", "0x0301"}, set(versions))
        objects, said = self.told("disks", "--json", FOLDER / "vm-realistic.vmcx", *versions.values(), status=1)
        self.assertEqual((len(objects), said.count("; only 0x0400 (4.0) is known")), (1, len(versions)))
        objects, said = self.told("disks", "--best-effort", "--json", *versions.values(), status=1)
        self.assertEqual((len(objects), said.count(": format-version: ")), (len(versions), len(versions)))

    def test_memory_is_rebuilt_at_its_addresses(self):
        for entry, path, expected in self.each("memory"):
            raw = self.folder / "memory.raw"
            run(HVCONFIG, "memory", path, raw)
            end = 0
            with open(raw, "rb") as file:
                for region in expected["memory"]["regions"]:
                    file.seek(region["gpa_start"])
                    self.assertEqual(sha256(file.read(region["pages"] * 4096)), region["sha256"])
                    end = max(end, region["gpa_start"] + region["pages"] * 4096)
            self.assertEqual(raw.stat().st_size, end)
            self.assertLess(raw.stat().st_blocks * 512, 8 << 20)  # the gap takes no space
            raw.unlink()

    def lime_ranges(self, path):
        """{first address: bytes} of a LiME file, whose headers must follow each other exactly."""
        data, at, ranges = path.read_bytes(), 0, {}
        while at < len(data):
            self.assertEqual(data[at:at + 8], b"EMiL\1\0\0\0")
            first, last = (int.from_bytes(data[at + i:at + i + 8], "little") for i in (8, 16))
            at += 32
            ranges[first] = data[at:at + last - first + 1]
            self.assertEqual(len(ranges[first]), last - first + 1)
            at += last - first + 1
        return ranges

    def test_lime_has_a_range_for_each_region(self):
        for entry, path, expected in self.each("memory"):
            lime = self.folder / "memory.lime"
            run(HVCONFIG, "memory", "--force", "--output-format", "lime", path, lime)
            self.assertEqual({first: sha256(data) for first, data in self.lime_ranges(lime).items()},
                             {region["gpa_start"]: region["sha256"] for region in expected["memory"]["regions"]})

    def test_damaged_memory_is_listed_and_absent_never_zeros(self):
        for entry, path, expected in self.each("memory-damaged"):
            lime = self.folder / "memory.lime"
            status, _, err = outcome(HVCONFIG, "memory", "-O", "lime", path, lime)
            self.assertEqual(status, 1)
            for block in expected["ram_block_status"]:
                check = self.assertNotIn if block["status"] == "ok" else self.assertIn
                check(f"RamBlock{block['index']}:", err)
            for region in ("RamMemoryBlock1", "RamMemoryBlock2", "RamMemoryBlock3"):
                self.assertIn(region, err)
            ranges = self.lime_ranges(lime)
            self.assertEqual(sha256(ranges[0][:1 << 20]), expected["ram_block0_sha256"])
            self.assertEqual(len(ranges[0]), (1 << 20) + 10 * 4096)  # ten pages of block 1 come before its fault
            whole = sum(len(data) for data in ranges.values())
            lost = sum(int(line.split(" bytes are not rebuilt")[0].split()[-1]) for line in err.splitlines() if "not rebuilt" in line)
            self.assertEqual(whole + lost, 12 << 20)

    def test_a_stream_of_another_form_gives_nothing_and_no_file(self):
        for entry, path, _ in self.each("memory-ambiguous"):
            out = self.folder / "memory.raw"
            status, _, err = outcome(HVCONFIG, "memory", path, out)
            self.assertEqual(status, 2, err)
            self.assertFalse(out.exists())

    def test_deleted_finds_what_the_manifest_knows_to_be_left(self):
        for entry, path, expected in self.each():
            if expected is None or not ("stale" in expected or "superseded" in expected):
                continue
            got = json.loads(outcome(HVCONFIG, "deleted", "--json", path)[1])["deleted"]
            for stale in expected.get("stale", []):
                same = [found for found in got if found["source"] == stale["source"] and found.get("value") == stale["value"]]
                self.assertEqual(len(same), 1, stale)
                self.assertEqual(same[0]["header_intact"], stale.get("header_intact", True))
                self.assertEqual(same[0]["checksum_good"], same[0]["header_intact"])
                for field in ("name", "table", "offset", "parent_path", "path"):
                    if field in stale:
                        self.assertEqual(same[0][field], stale[field])
            for name, value in expected.get("superseded", {}).items():
                self.assertIn((name, value), [(found.get("path"), found.get("value")) for found in got])

    def test_deleted_says_nothing_of_files_where_nothing_was_deleted(self):
        for name in ("vm-openvmm.vmcx", "types.vmcx", "deep.vmcx", "large-values.vmcx", "wide.vmcx"):
            self.assertEqual(json.loads(run(HVCONFIG, "deleted", "--json", FOLDER / name))["deleted"], [], name)

    def test_flat_and_get_agree_on_every_value(self):
        lines = run(HVCONFIG, "dump", "--output-format", "flat", FOLDER / "runtime-duplicates.vmrs").decode().splitlines()
        paths = [line.split(" = ")[0] for line in lines]
        self.assertEqual(len(set(paths)), len(paths))
        for line in self.random.sample(lines, 20):
            path, value = line.split(" = ", 1)
            self.assertEqual(run(HVCONFIG, "get", FOLDER / "runtime-duplicates.vmrs", path).decode(), value + "\n")

    def test_get_raw_gives_the_stored_bytes(self):
        file = FOLDER / "large-values.vmcx"
        tree = self.dump(file)[1]["tree"]
        big = next(key for key in tree[0]["children"] if key["name"] == "big")["children"]
        for key in big:
            if key["type"] == "array":
                self.assertEqual(run(HVCONFIG, "get", "--raw", file, f"/configuration/big/{key['name']}"), bytes.fromhex(key["hex"]))

    def test_get_says_what_is_wrong_with_the_file(self):
        # A log that can't be applied, and a file without a sound header: the value may be an old one.
        for entry, path, expected in self.each("log", "header"):
            if not expected or "tree" not in expected or not set(entry["findings"]) - {"dirty"}:
                continue
            for key in ("/configuration", "/configuration/properties/name"):
                status, out, err = outcome(HVCONFIG, "get", path, key)
                self.assertEqual(status, 1, key)
                self.assertTrue(out)
                for finding in entry["findings"]:
                    self.assertIn(f" {finding}: ", err)
            status, _, err = outcome(HVCONFIG, "get", path, "/no/such/key")
            self.assertEqual(status, 2)
            self.assertIn(f" {entry['findings'][-1]}: ", err)  # which may be why

    def test_get_says_what_is_wrong_with_a_value_below_a_node(self):
        entry = next(entry for entry in MANIFEST if entry["file"] == "entry-checksum.vmcx")
        status, out, err = outcome(HVCONFIG, "get", self.path(entry), "/configuration")
        self.assertEqual((status, out.count(b"# damaged: entry-checksum") > 0), (1, True))
        self.assertIn("entry-checksum", err)

    def test_every_command_that_shows_a_damaged_file_ends_with_1(self):
        for entry, path, expected in self.each("log", "header", "damaged"):
            if not expected or "tree" not in expected or not set(entry["findings"]) - {"dirty"}:
                continue
            for command in (["dump"], ["dump", "-O", "json"], ["dump", "-O", "flat"], ["info"], ["verify"], ["disks"],
                            ["disks", "--json"], ["deleted"], ["deleted", "--json"], ["diff", path]):
                status, out, err = outcome(HVCONFIG, command[0], *command[1:], path)
                self.assertEqual(status, 1, command)
                self.assertTrue(out or err, command)
                self.assertTrue(err or command[0] == "verify", command)

    def test_get_of_what_is_not_there_is_an_error(self):
        for path in ("/nothing", "/configuration/properties/name[2]", "/a[x]"):
            self.assertEqual(outcome(HVCONFIG, "get", FOLDER / "vm-realistic.vmcx", path)[:2], (2, b""))
        status, _, err = outcome(HVCONFIG, "get", "--raw", FOLDER / "runtime-duplicates.vmrs", "/configuration/global_settings/metrics/devicetype")
        self.assertEqual(status, 2)
        self.assertIn("devicetype[1]", err)

    def test_diff_is_the_difference_of_the_flat_dumps(self):
        def flat(name):
            return set(outcome(HVCONFIG, "dump", "-O", "flat", FOLDER / name)[1].decode().split("\n")[:-1])

        for left, right in (("vm-realistic.vmcx", "vm-openvmm.vmcx"), ("dirty.vmcx", "dirty-bad-data-checksum.vmcx"),
                            ("unicode.vmcx", "types.vmcx"), ("header2-newer.vmcx", "header2-newer.vmcx")):
            with self.subTest(left=left, right=right):
                status, out, _ = outcome(HVCONFIG, "diff", FOLDER / left, FOLDER / right)
                *lines, summary, _ = out.decode().split("\n")
                self.assertEqual({line[2:] for line in lines if line[0] == "-"}, flat(left) - flat(right))
                self.assertEqual({line[2:] for line in lines if line[0] == "+"}, flat(right) - flat(left))
                self.assertEqual(status, 1 if lines else 0)
                self.assertRegex(summary, r"^\d+ added, \d+ removed, \d+ changed$")

    def test_disks_lists_what_the_machine_had(self):
        got = json.loads(run(HVCONFIG, "disks", "--json", FOLDER / "vm-realistic.vmcx"))
        self.assertEqual((got["name"], got["generation"], got["version"]), ("Lagerverwaltung (Test)", 1, "9.0"))
        self.assertEqual((got["memory"]["mib"], got["processors"]), (4096, 4))
        self.assertEqual([drive["file"] for drive in got["drives"] if drive["file"]],
                         ["D:\\VMs\\Lagerverwaltung\\System Disk (C).vhdx", "E:\\ISO\\de-de_windows_server_2022_x64.iso",
                          "F:\\Daten\\Lager-Daten.vhdx", "F:\\Daten\\Archiv 2019.avhdx"])
        self.assertEqual([adapter["mac_address"] for adapter in got["network_adapters"]], ["00155D27986C", "0A-1B-2C-3D-4E-5F"])

    def made(self, shape, count):
        path = self.folder / f"{shape}.vmcx"
        run(harness.BUILD / "tests" / "support" / "make_hyperv", shape, count, path)
        return path

    def test_disks_of_a_host_s_list_are_its_machines(self):
        path = self.made("list", 2)
        self.assertEqual(run(HVCONFIG, "disks", path).decode().splitlines(),
                         [f"listed {word}: {kind}-{i} C:\\VM\\{kind}-{i}.vmcx"
                          for word, kind in (("machine", "VirtualMachines"), ("checkpoint", "Snapshots")) for i in range(2)])
        listed = json.loads(run(HVCONFIG, "disks", "--json", path))["listed"]
        self.assertEqual([(each["id"], each["checkpoint"]) for each in listed],
                         [("VirtualMachines-0", False), ("VirtualMachines-1", False), ("Snapshots-0", True), ("Snapshots-1", True)])

    def test_disks_says_that_there_is_no_machine(self):
        self.assertEqual(run(HVCONFIG, "disks", self.made("deep", 3)), b"no machine is configured or listed here\n")

    def test_disks_says_what_is_a_checkpoint(self):
        lines = run(HVCONFIG, "disks", self.made("checkpoint", 0x900)).decode().splitlines()
        self.assertIn("type: Snapshots (a checkpoint)", lines)

    def test_verify_says_that_a_file_is_shorter_than_it_tells(self):
        short, whole = FOLDER / "log-past-eof-clean.vmcx", FOLDER / "vm-realistic.vmcx"
        self.assertIn(f"ends at offset {short.stat().st_size}, but ", run(HVCONFIG, "verify", short).decode())
        self.assertNotIn("ends at", run(HVCONFIG, "verify", whole).decode())
        told = json.loads(run(HVCONFIG, "verify", "--json", short))
        self.assertLess(told["size"], told["told_size"])

    def test_memory_of_a_cut_file_is_what_lies_before_the_cut(self):
        path, whole = self.made("memory", 6), self.folder / "whole.raw"
        run(HVCONFIG, "memory", path, whole)
        expected, data = whole.read_bytes(), path.read_bytes()
        before = 7 << 20
        for cut in range(len(data) - 65536, len(data) // 3, -(3 << 18) - 4321):
            path.write_bytes(data[:cut])
            lime = self.folder / "cut.lime"
            status, _, err = outcome(HVCONFIG, "memory", "--force", "-O", "lime", path, lime)
            self.assertEqual(status, 1)
            ranges = self.lime_ranges(lime)
            for first, bytes_ in ranges.items():
                self.assertEqual(bytes_, expected[first:first + len(bytes_)])
            good = sum(len(bytes_) for bytes_ in ranges.values())
            lost = sum(int(line.split(" bytes are not rebuilt")[0].split()[-1]) for line in err.splitlines() if "not rebuilt" in line)
            self.assertEqual(good + lost, len(expected))
            self.assertLess(good, before)
            self.assertGreater(good, cut - (2 << 18))  # three plain MiB and what is small between them
            before = good

    def test_disks_shows_drives_that_have_lost_their_parents(self):
        status, out, _ = outcome(HVCONFIG, "disks", "--json", FOLDER / "parent-missing.vmcx")
        self.assertEqual(status, 1)
        self.assertTrue(any(drive["path"].startswith("orphan:") and drive["file"].endswith(".vhdx") for drive in json.loads(out)["drives"]))

    def test_info_counts_what_the_expected_files_count(self):
        for entry, path, expected in self.each("good", "header", "log", "damaged"):
            got = json.loads(outcome(HVCONFIG, "info", "--json", path)[1])
            self.assertEqual(len(got["key_tables"]), expected["key_tables"])
            self.assertEqual(len(got["object_tables"]), expected["object_tables"])
            self.assertEqual(got["active_header_copy"], expected["header"]["active"])

    def test_a_deep_and_a_wide_tree_are_printed_whole(self):
        maker = harness.BUILD / "tests" / "support" / "make_hyperv"
        for shape, count in (("deep", 20000), ("wide", 20000)):
            file = self.folder / f"{shape}.vmcx"
            run(maker, shape, count, file)
            out = run(HVCONFIG, "dump", "--output-format", "json", file)
            self.assertGreaterEqual(out.count(b'"seq":'), count)
            self.assertTrue(run(HVCONFIG, "dump", "--output-format", "tree", file))
        self.assertEqual(run(HVCONFIG, "dump", "--output-format", "flat", self.folder / "deep.vmcx"), b"/n" * 20000 + b"/value = 5\n")


if __name__ == "__main__":
    harness.main()
