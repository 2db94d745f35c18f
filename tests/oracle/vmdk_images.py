#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""VMDK files of many writers, and such files of qemu-img. VDISK_DISK_FIXTURES names a folder of further cases."""
import hashlib
import itertools
import re
import unittest

import disk_cases
import harness
import tsk
from disk_cases import MIB
from harness import VDISK, outcome, run

SUBFORMATS = ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized")


def cases():
    return disk_cases.cases([harness.FIXTURES / "vmdk"], ("vmdk",))


class Manifest(disk_cases.Cases):
    def check(self, image, case):
        if case.get("refused"):
            self.check_refused(image, case["name"])
        elif case["name"] == "real-sesparse":
            self.check_lone_extent(image, case)
        else:
            self.check_disk(image, case)
        if "given" in case:
            self.check_disk(f"{image}#parent={image.parent / case['given']}", case)

    def check_lone_extent(self, image, case):
        """What it has is right; what it lacks is an error, as its parent is not known."""
        status, out, said = self.export(image)
        self.assertEqual(status, 1, said)
        with open(out, "rb") as disk:
            for spot in case["spots"]:
                disk.seek(spot["offset"])
                self.assertEqual(hashlib.sha256(disk.read(spot["length"])).hexdigest(), spot["sha256"])

    def test_every_case(self):
        for folder, case in cases():
            with self.subTest(case["name"]):
                image = self.unpack(folder, case)
                hostile = case["kind"] == "hostile" and "read" not in case.get("expect", "read")
                self.check(image, {**case, "refused": True} if hostile else case)
                for command in ("info", "audit", "ls"):
                    status, _, said = outcome(VDISK, command, image, timeout=300)
                    self.assertIn(status, (0, 1, 2), said)
                    if command == "audit" and case["kind"] == "good":
                        self.assertEqual(status, 0, said)

    def test_a_disk_whose_tables_are_damaged_says_so(self):
        for folder, case in cases():
            if case["name"] not in ("vmdk-rgd-only", "vmdk-gt-damaged", "vmdk-stream-no-footer-data", "vmdk-stream-cut"):
                continue
            with self.subTest(case["name"]):
                _, _, said = self.export(self.unpack(folder, case))
                self.assertRegex(said, "redundant|markers")

    def test_a_missing_extent_is_named(self):
        folder, case = next(each for each in cases() if each[1]["name"] == "vmdk-extent-missing")
        _, _, said = self.export(self.unpack(folder, case))
        self.assertIn("d-s002.vmdk", said)

    def test_files_by_the_sleuth_kit(self):
        tsk.require_plugin()
        kinds = itertools.cycle(([], ["-i", "vmdk"]))
        for folder, case in cases():
            if "file_systems" in case and case["kind"] == "good":
                self.check_file_systems(self.unpack(folder, case), case, next(kinds))

    def test_a_file_of_a_disk_opened_alone_leads_to_its_descriptor(self):
        folder, case = next(each for each in cases() if each[1]["name"] == "vmdk-cowd-chain")
        image = self.unpack(folder, case)
        for name, descriptor in (("vm-000003-delta.vmdk", "vm-000003.vmdk"), ("vm-flat.vmdk", "vm.vmdk")):
            status, _, said = self.export(image.parent / name)
            self.assertEqual(status, 2, said)
            self.assertRegex(said, rf"\S*/{re.escape(descriptor)} describes")


class Qemu(disk_cases.Qemu):
    def remove_disks(self):
        for file in self.folder.glob("*.vmdk"):
            file.unlink()

    def test_every_subformat(self):
        for size in (3 * MIB + 5 * 512, 40 * MIB):
            raw = self.disk(size)
            for subformat in SUBFORMATS:
                sparse = "Sparse" in subformat
                for more in ("", *([",zeroed_grain=on", ",compat6=on"] if sparse else [",adapter_type=lsilogic"])):
                    with self.subTest(size=size, subformat=subformat, more=more):
                        self.remove_disks()
                        self.check(raw, f"subformat={subformat}{more}", "vmdk")

    def test_chains_layer_by_layer(self):
        for subformat in ("monolithicSparse", "twoGbMaxExtentSparse"):
            for zeroed in ("on", "off"):
                self.remove_disks()
                layers = [self.folder / f"{number}.vmdk" for number in range(4)]
                options = f"subformat={subformat},zeroed_grain={zeroed}"
                for number, layer in enumerate(layers):
                    below = ["-b", layers[number - 1].name, "-F", "vmdk"] if number else []
                    run("qemu-img", "create", "-q", "-f", "vmdk", "-o", options, *below, layer, *([] if number else ["20M"]))
                    for _ in range(6):
                        start, length = self.random.randrange(300) * 65536 + self.random.randrange(128) * 512, self.random.randrange(1, 400) * 512
                        what = "write -z" if zeroed == "on" and self.random.random() < 0.3 else f"write -P {self.random.randrange(1, 256)}"
                        run("qemu-io", "-f", "vmdk", "-c", f"{what} {start} {min(length, 20 * MIB - start)}", layer)
                for number, layer in enumerate(layers):
                    with self.subTest(subformat=subformat, zeroed=zeroed, layer=number):
                        ours, theirs = self.folder / "ours.raw", self.folder / "theirs.raw"
                        status, _, said = outcome(VDISK, "export", "--force", layer, ours)
                        self.assertEqual(status, 0, said)
                        run("qemu-img", "convert", "-f", "vmdk", "-O", "raw", layer, theirs)
                        self.assert_same_file(ours, theirs)
                layers[1].unlink()
                self.assertEqual(outcome(VDISK, "export", "--force", layers[3], self.folder / "ours.raw")[0], 2)

    def test_an_overlay_on_each(self):
        for subformat in ("monolithicSparse", "monolithicFlat", "streamOptimized"):
            self.remove_disks()
            self.check_overlays("vmdk", f"subformat={subformat}")

    def test_a_compressed_disk_is_read(self):
        raw = self.disk(2 * MIB)
        image, out = self.folder / "disk.vmdk", self.folder / "out.raw"
        run("qemu-img", "convert", "-f", "raw", "-O", "vmdk", raw, image)
        run("gzip", "-q", image)
        run(VDISK, "export", "--force", f"{image}.gz", out)
        self.assert_same_file(out, raw)


class Damage(disk_cases.Qemu):
    """Whatever is changed: the right bytes, or none, or a word. Data without a checksum aside."""

    def check_changed(self, image, raw, place, change):
        good = image.read_bytes()
        changed = bytearray(good)
        changed[place] = change(changed[place])
        image.write_bytes(changed)
        out = self.folder / "out.raw"
        status, _, said = outcome(VDISK, "export", "--force", image, out, timeout=60)
        image.write_bytes(good)
        self.assertIn(status, (0, 1, 2), said)
        if status == 0 and out.read_bytes() != raw.read_bytes():
            self.fail(f"{image.name}: another disk with byte {place} changed, and no word of it")

    def changes(self, image, places, count):
        for _ in range(count):
            place = self.random.choice(places)
            if self.random.random() < 0.5:
                bit = 1 << self.random.randrange(8)
                yield place, lambda byte, bit=bit: byte ^ bit
            else:
                value = self.random.randrange(256)
                yield place, lambda byte, value=value: value

    def test_the_metadata_of_a_sparse_disk(self):
        raw = self.disk(6 * MIB)
        image = self.folder / "disk.vmdk"
        run("qemu-img", "convert", "-f", "raw", "-O", "vmdk", raw, image)
        # All up to the tables' end, the descriptor's identifiers and comments with it.
        for place, change in self.changes(image, range(27 * 512 + 4 * 512), 120):
            self.check_changed(image, raw, place, change)

    def test_anything_in_a_stream(self):
        raw = self.disk(2 * MIB)
        image = self.folder / "disk.vmdk"
        run("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, image)
        for place, change in self.changes(image, range(image.stat().st_size), 150):
            self.check_changed(image, raw, place, change)


if __name__ == "__main__":
    harness.main()
