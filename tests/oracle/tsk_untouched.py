#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is not ours opens with the plugin as it does without: same status, same output, same messages."""
import gzip
import unittest

import harness
import tsk
from harness import run
from tsk import MIB


def setUpModule():
    tsk.require_plugin()


class Untouched(tsk.TreeTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        part = cls.folder / "part"
        tsk.make_ext4(part, 8 * MIB, cls.tree)
        cls.raw = cls.folder / "disk.raw"
        tsk.make_disk(cls.raw, [part])

    def check(self, *command):
        """The command gives the same with and without the plugin; returns its status."""
        expected = tsk.without_plugin(*command)
        self.assertEqual(tsk.outcome_with_plugin(*command), expected, command)
        return expected[0]

    def check_disk(self, *image):
        """Programs that open an image in each of the ways that libtsk has."""
        for command in (["mmls"], ["img_stat"], ["img_stat", "-t"], ["fls", "-r", "-o", tsk.PART], ["img_cat"], ["tsk_gettimes"]):
            self.assertEqual(self.check(*command, *image), 0, command)
        self.check("sigfind", "-b", 512, "55AA", *image[-1:])

    def test_raw(self):
        self.check_disk(self.raw)
        self.check_disk("-i", "raw", self.raw)

    def test_raw_in_several_files(self):
        data = self.raw.read_bytes()
        parts = []
        for number in range(3):
            parts.append(self.folder / f"split.{number + 1:03}")
            parts[-1].write_bytes(data[number * 4 * MIB:(number + 1) * 4 * MIB] if number < 2 else data[8 * MIB:])
        self.check_disk(*parts)
        self.check_disk(parts[0])  # libtsk finds the others by their names

    @unittest.skipUnless(harness.have("ewfacquirestream"), "ewf-tools are missing")
    def test_e01(self):
        run("ewfacquirestream", "-q", "-t", self.folder / "disk", stdin=self.raw.read_bytes())
        if tsk.without_plugin("img_stat", self.folder / "disk.E01")[0] < 0:
            self.skipTest("this system's Sleuth Kit crashes with any E01, as Debian 13's does")
        self.check_disk(self.folder / "disk.E01")
        self.check_disk("-i", "ewf", self.folder / "disk.E01")

    def test_our_image_asked_for_as_something_else(self):
        image = self.folder / "disk.qcow2"
        run("qemu-img", "convert", "-O", "qcow2", self.raw, image)
        for kind in ("raw", "ewf", "vmdk", "vhd"):
            self.check("img_stat", "-i", kind, image)
        self.check("img_cat", "-i", "raw", image)

    def test_files_that_are_no_image(self):
        (self.folder / "empty").touch()
        (self.folder / "short").write_bytes(b"QFI")
        (self.folder / "text").write_text("some text\n" * 100)
        (self.folder / "text.gz").write_bytes(gzip.compress(b"some text\n" * 100))
        for name, magic in (("not.gz", b"\x1f\x8b\x08\0"), ("not.zst", b"\x28\xb5\x2f\xfd"), ("not.lzo", b"\x89LZO\0\r\n\x1a\n")):
            (self.folder / name).write_bytes(magic + b"\xaa" * 5000)
        for name in ("text.gz", "not.gz", "not.zst", "not.lzo", "empty", "short", "text", "missing", ".", "text#device=1", "missing#1"):
            for program in ("img_stat", "fls", "tsk_gettimes"):
                self.check(program, self.folder / name)

    def test_arguments_that_libtsk_refuses(self):
        self.check("img_stat", "-i", "nonsense", self.raw)
        self.check("img_stat", "-b", "100", self.raw)
        self.check("img_stat")


if __name__ == "__main__":
    harness.main()
