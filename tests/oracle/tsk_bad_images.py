#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Images that can't be read: one clear line that names the file and what is wrong, a status, and never a byte made up."""
import os
import shutil
import struct
import unittest

import harness
import tsk
from harness import run
from tsk import MIB


def setUpModule():
    tsk.require_plugin()


class BadImages(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.image = self.folder / "disk.qcow2"
        raw = self.folder / "disk.raw"
        raw.write_bytes(self.random_bytes(MIB))
        run("qemu-img", "convert", "-O", "qcow2", raw, self.image)
        raw.unlink()

    def patch(self, offset, data):
        with open(self.image, "r+b") as file:
            file.seek(offset)
            file.write(data)

    def refused(self, *words, image=None, arguments=(), environment=None, **keywords):
        """Every way of opening says the same, in one line that has each of `words`."""
        image = image or self.image
        for command in (["img_stat"], ["fls"], ["tsk_gettimes"]):
            status, _, said = tsk.outcome_with_plugin(*command, *arguments, image, environment=environment, timeout=60, **keywords)
            self.assertEqual(status, 1, said)
            self.assertEqual(len(said.strip().splitlines()), 1, said)
            for word in (os.path.basename(image), *words):
                self.assertIn(word, said)

    def test_header_values(self):
        header = self.image.read_bytes()[:104]
        for offset, data, *words in ((36, struct.pack(">I", 0xFFFFFFFF), "l1_size", "4294967295"),
                                     (20, struct.pack(">I", 63), "cluster_bits", "63"),
                                     (24, struct.pack(">Q", 1 << 63), "size", str(1 << 63)),
                                     (40, struct.pack(">Q", 1 << 40), "l1_table_offset", str(1 << 40)),
                                     (4, struct.pack(">I", 9), "version", "9")):
            with self.subTest(words=words):
                self.patch(offset, data)
                self.refused(*words)
                self.patch(0, header)

    def test_a_cut_header(self):
        os.truncate(self.image, 30)
        self.refused()

    def test_a_cut_file(self):
        os.truncate(self.image, 70_000)
        self.refused()

    def test_a_missing_backing_file_is_named_with_where_it_was_looked_for(self):
        run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "gone/base.qcow2", "-F", "qcow2", self.image, MIB)
        self.refused("gone/base.qcow2", str(self.folder / "gone"))

    def test_a_backing_file_that_the_policy_forbids(self):
        (self.folder / "base.raw").write_bytes(bytes(MIB))
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", self.folder / "base.raw", "-F", "raw", self.image, MIB)
        self.refused("VDISK_REFERENCES=deny", environment={"VDISK_REFERENCES": "deny"})
        self.refused("VDISK_REFERENCES=same-dir", environment={"VDISK_REFERENCES": "same-dir"}, image=self.elsewhere())

    def elsewhere(self):
        """The image moved away from its backing file."""
        (self.folder / "other").mkdir()
        return self.image.rename(self.folder / "other" / self.image.name)

    def test_a_policy_that_does_not_exist(self):
        status, _, said = tsk.outcome_with_plugin("img_stat", self.image, environment={"VDISK_REFERENCES": "nonsense"})
        self.assertEqual(status, 1)
        self.assertRegex(said, r"\AError opening image file \(VDISK_REFERENCES is 'nonsense': [^\n]*\)\n\Z")

    def test_an_image_that_is_its_own_backing_file(self):
        run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", self.image.name, "-F", "qcow2", self.image, MIB)
        self.refused("own chain")

    def test_what_is_no_image(self):
        (self.folder / "text").write_text("no image\n" * 1000)
        for path in (self.folder / "text", self.folder, self.folder / "missing", "/dev/null"):
            with self.subTest(path=path):
                self.refused(image=path, arguments=("-i", "qcow2"))

    def test_a_file_that_may_not_be_read(self):
        self.image.chmod(0)
        self.folder.chmod(0o777)
        environment = tsk.plugin_environment()
        nobody = {}
        if os.geteuid() == 0:
            nobody = {"user": 65534, "group": 65534, "extra_groups": []}
            environment["LD_PRELOAD"] = environment["LD_PRELOAD"].replace(str(tsk.PLUGIN), str(harness.for_everyone(tsk.PLUGIN)))
        status, _, said = harness.outcome("img_stat", "-i", "qcow2", self.image, env=environment, **nobody)
        self.assertEqual(status, 1)
        self.assertRegex(said, r"disk\.qcow2: Permission denied\)?\n$")

    def test_several_files(self):
        copy, empty = self.folder / "copy", self.folder / "empty.vdisk"
        shutil.copy(self.image, copy)
        (self.folder / "longer").write_bytes(self.image.read_bytes()[1:] * 2)
        empty.write_text(f"vdisk-reference 1\nimage = {self.image}\n")
        for arguments, why in (((self.image, self.image), "given twice"), ((self.image, copy), "a file of its own"),
                               (("-i", "qcow2", self.image, self.folder / "longer"), "longer has"),
                               (("-i", "qcow2", self.image, self.folder / "missing"), "missing: No such file"), ((empty, copy), "no parts")):
            status, _, said = tsk.outcome_with_plugin("img_stat", *arguments)
            self.assertEqual(status, 1, arguments)
            self.assertIn(why, said)

    def test_a_selector_for_what_is_not_there(self):
        status, _, said = tsk.outcome_with_plugin("img_stat", f"{self.image}#snapshot=none")
        self.assertEqual(status, 1)
        self.assertIn("no snapshot 'none'", said)

    def test_a_sector_size_that_libtsk_refuses(self):
        status, _, said = tsk.outcome_with_plugin("img_stat", "-b", "100", self.image)
        self.assertEqual((status, said), tsk.without_plugin("img_stat", "-b", "100", self.image)[::2])

    def test_a_bad_l2_entry_costs_its_own_cluster_only(self):
        cluster = 65536
        expected = tsk.with_plugin("img_cat", self.image)
        l1, = struct.unpack(">Q", self.image.read_bytes()[40:48])
        l2, = struct.unpack(">Q", self.image.read_bytes()[l1:l1 + 8])
        l2 &= (1 << 56) - 512
        self.patch(l2 + 8 * 5, struct.pack(">Q", (1 << 63) | (1 << 50)))
        bad = range(5 * cluster // 512, 6 * cluster // 512)
        sectors = MIB // 512
        for first, last in ((1, bad.start - 1), (bad.stop, sectors - 1)):
            got = tsk.with_plugin("img_cat", "-s", first, "-e", last, self.image)
            self.assertEqual(got, expected[first * 512:(last + 1) * 512])
        for sector in (bad.start, bad.start + 77, bad.stop - 1):
            status, got, said = tsk.outcome_with_plugin("blkcat", "-f", "raw", self.image, sector)
            self.assertEqual((status, got), (1, b""), said)
            lines = said.splitlines()
            told = [line for line in lines if line.startswith("tsk-vdisk: ")]
            self.assertEqual((len(told), len(lines)), (1, 2), said)  # blkcat puts its own words in the place of ours
            self.assertIn("65536 bytes of the disk can't be read, in 1 range; the first from disk offset 327680", told[0])


if __name__ == "__main__":
    harness.main()
