#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Good images of qemu-img, spoilt: what the tool says, how it ends, what memory it takes, and that no byte it gives is wrong."""
import os
import re
import struct
import subprocess
import unittest

import harness
from harness import run

KIB, MIB = 1 << 10, 1 << 20


def ended(*command, **keywords):
    """Runs a program; returns (status, standard error, most bytes of memory it had)."""
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **keywords) as process:
        error = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, error, usage.ru_maxrss * KIB


class Qcow2Damaged(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.content = self.random_bytes(MIB)
        (self.folder / "content.raw").write_bytes(self.content)
        self.image = self.folder / "disk.qcow2"
        run("qemu-img", "convert", "-O", "qcow2", "-o", "cluster_size=4096", self.folder / "content.raw", self.image)
        self.good = self.image.read_bytes()

    def spoil(self, *changes):
        """The good image with (offset, form, value) packed into it."""
        data = bytearray(self.good)
        for offset, form, value in changes:
            struct.pack_into(">" + form, data, offset, value)
        self.image.write_bytes(data)

    def check_refused(self, *said):
        """Every command ends with 2 and one line that names the file and what is wrong; info may show what there is first."""
        for command in (["info"], ["export", "--force"]):
            words = [harness.VDISK, *command, self.image] + ([self.folder / "out"] if "export" in command else [])
            status, error, memory = ended(*words)
            self.assertIn(status, (1, 2) if command == ["info"] else (2,), error)
            self.assertEqual(error.count("\n"), 1, error)
            for text in ("disk.qcow2", *said):
                self.assertIn(text, error)
            self.assertLess(memory, 400 * MIB)

    def test_absurd_fields(self):
        l1_table = struct.unpack_from(">Q", self.good, 40)[0]
        for field, offset, form, value in [("cluster_bits", 20, "I", 63), ("size", 24, "Q", 1 << 63), ("l1_size", 36, "I", 0xFFFFFFFF),
                                           ("l1_table_offset", 40, "Q", l1_table << 30), ("header_length", 100, "I", 0xFFFFFFF8),
                                           ("version", 4, "I", 4), ("incompatible feature", 72, "Q", 1 << 60)]:
            with self.subTest(field=field):
                self.spoil((offset, form, value))
                self.check_refused(field)

    def test_absurd_counts_that_cost_nothing_until_used(self):
        self.spoil((60, "I", 0xFFFFFFFF), (64, "Q", 1 << 20))  # snapshots
        status, error, memory = ended(harness.VDISK, "info", self.image)
        self.assertEqual((status, error), (1, ""))  # the damage is what info tells
        self.assertLess(memory, 400 * MIB)
        _, told, _ = harness.outcome(harness.VDISK, "info", self.image)
        self.assertRegex(told.decode(), r"damage:\n  - .*: snapshot \d+ of 4294967295: ")

    def test_a_missing_backing_file_and_one_that_is_the_image(self):
        for name in ("missing.raw", "disk.qcow2"):
            with self.subTest(name=name):
                run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", name, "-F", name.split(".")[1], self.image, MIB)
                self.check_refused("backing file", name)

    def test_what_is_no_file_or_may_not_be_read(self):
        self.image.unlink()
        self.check_refused("No such file")
        self.image.mkdir()
        self.check_refused("directory")
        self.image.rmdir()
        os.mkfifo(self.image)
        self.check_refused("FIFO")

    @unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")
    def test_a_file_that_the_user_may_not_read(self):
        vdisk = harness.for_everyone(harness.VDISK)
        if ended(vdisk, "--version", user="nobody")[0] != 0:
            self.skipTest("nobody can't run programs here")
        os.chmod(self.folder, 0o755)
        os.chmod(self.image, 0o600)
        status, error, _ = ended(vdisk, "info", self.image, user="nobody")
        self.assertEqual(status, 2)
        self.assertIn("Permission denied", error)

    def test_a_truncated_image_gives_no_wrong_byte(self):
        run("qemu-img", "convert", "-c", "-O", "qcow2", "-o", "cluster_size=4096", self.folder / "content.raw", self.folder / "packed.qcow2")
        for original in (self.good, (self.folder / "packed.qcow2").read_bytes()):
            for length in sorted(self.random.sample(range(len(original)), 12)) + [len(original) - 1]:
                with self.subTest(length=length):
                    self.image.write_bytes(original[:length])
                    self.check_nothing_wrong()

    def check_nothing_wrong(self):
        out = self.folder / "out"
        status, _, error = harness.outcome(harness.VDISK, "export", "--force", self.image, out)
        if status == 2:
            self.assertEqual(error.count("\n"), 1, error)
            return
        ours = out.read_bytes()
        self.assertEqual(len(ours), len(self.content))
        at = 0
        for start, length in re.findall(r"disk offset (\d+), (\d+) bytes can't be read", error):
            self.assertEqual(ours[at:int(start)], self.content[at:int(start)])
            at = int(start) + int(length)
        self.assertEqual(ours[at:], self.content[at:])
        self.assertEqual(status, 1 if at else 0)


if __name__ == "__main__":
    harness.main()
