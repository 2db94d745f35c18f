#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disks of which a part can't be read, and what The Sleuth Kit's programs make of that: an error, never an empty file, and a word
about what libtsk itself passes over."""
import re
import shutil
import struct

import harness
import tsk
from harness import run
from tsk import MIB

CLUSTER = 4096


def setUpModule():
    tsk.require_plugin()


def lose(image, out, offsets):
    """A copy of a qcow2 in which the clusters at these disk offsets lead past the end of the file."""
    shutil.copy(image, out)
    with open(out, "r+b") as file:
        l1_table, = struct.unpack_from(">Q", file.read(104), 40)
        for offset in offsets:
            number = offset // CLUSTER
            file.seek(l1_table + 8 * (number // (CLUSTER // 8)))
            l2_table = struct.unpack(">Q", file.read(8))[0] & ((1 << 56) - 512)
            file.seek(l2_table + 8 * (number % (CLUSTER // 8)))
            file.write(struct.pack(">Q", (1 << 63) | (1 << 45)))
    return out


class Unreadable(tsk.TreeTest):
    FILES = 40

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.raw = cls.folder / "disk.raw"
        tsk.make_ext4(cls.raw, 8 * MIB, cls.tree, "-b", 1024, "-I", 256)
        cls.image = cls.folder / "disk.qcow2"
        run("qemu-img", "convert", "-O", "qcow2", "-o", f"cluster_size={CLUSTER}", cls.raw, cls.image)
        cls.inodes = tsk.files_of(tsk.without_plugin("fls", "-r", "-p", cls.raw)[1])

    def inode_offset(self, inode):
        """Where on the disk an inode lies, as mke2fs itself says."""
        said = run("debugfs", "-R", f"imap <{inode}>", self.raw)
        block, within = re.search(rb"located at block (\d+), offset (0x[0-9a-f]+)", said).groups()
        return int(block) * 1024 + int(within, 16)

    def first_block(self, inode):
        said = run("istat", self.raw, inode).decode()
        return int(re.search(r"Direct Blocks:\n(\d+)", said).group(1))

    def check_error(self, *command):
        """The program ends with an error, and prints nothing that it can't know."""
        status, out, said = tsk.outcome_with_plugin(*command)
        self.assertEqual(status, 1, (out, said))
        self.assertIn("can't be read", said)
        return out

    def test_a_lost_inode_is_an_error(self):
        path, inode = next((path, inode) for path, inode in self.inodes.items() if len(self.files.get(path, b"")) > 4096)
        lost = lose(self.image, self.folder / "inode.qcow2", [self.inode_offset(inode)])
        self.assertNotIn(b"size:", self.check_error("istat", lost, inode))
        self.assertEqual(self.check_error("icat", lost, inode), b"")

    def test_the_inodes_beside_a_lost_cluster_are_read(self):
        inodes = sorted(self.inodes.items(), key=lambda item: int(item[1]))
        path, inode = inodes[-1]
        victim = next(other for _, other in inodes if self.inode_offset(other) // CLUSTER != self.inode_offset(inode) // CLUSTER)
        lost = lose(self.image, self.folder / "beside.qcow2", [self.inode_offset(victim)])
        self.assertEqual(tsk.with_plugin("icat", lost, inode), self.files[path])

    def test_a_lost_folder_is_told_of(self):
        folder = tsk.without_plugin("ifind", "-n", "folder1", self.raw)[1].decode().strip()
        lost = lose(self.image, self.folder / "folder.qcow2", [self.first_block(folder) * 1024])
        status, out, said = tsk.outcome_with_plugin("fls", "-r", "-p", lost)
        self.assertIn("folder.qcow2: 4096 bytes of the disk can't be read, in 1 range", said)
        self.assertLess(out.count(b"\n"), run("fls", "-r", "-p", self.raw).count(b"\n"))
        stat = tsk.with_plugin("img_stat", lost).decode()
        self.assertRegex(stat, r"unreadable: 4096 bytes of the disk can't be read, in 1 range; the first from disk offset \d+ on")

    def test_lost_data_of_a_file_is_an_error_for_these_alone(self):
        path, inode = next((path, inode) for path, inode in self.inodes.items() if len(self.files.get(path, b"")) == 70000)
        at = self.raw.read_bytes().find(self.files[path][:1024])
        self.assertGreater(at, 0)
        lost = lose(self.image, self.folder / "data.qcow2", [at])
        self.assertNotEqual(self.check_error("icat", lost, inode), self.files[path])
        for other, number in list(self.inodes.items())[:20]:
            start = self.raw.read_bytes().find(self.files[other]) if len(self.files[other]) > 2000 else -1
            if start > 0 and not start // CLUSTER * CLUSTER <= at // CLUSTER * CLUSTER < start + len(self.files[other]):
                self.assertEqual(tsk.with_plugin("icat", lost, number), self.files[other])

    def test_a_sound_image_says_nothing(self):
        for command in (["fls", "-r"], ["img_stat"]):
            status, out, said = tsk.outcome_with_plugin(*command, self.image)
            self.assertEqual((status, said), (0, ""))
            self.assertNotIn(b"unreadable", out)

    def test_a_file_that_is_cut_off_is_told_of(self):
        cut = self.folder / "cut.qcow2"
        cut.write_bytes(self.image.read_bytes()[:self.image.stat().st_size * 2 // 3])
        status, _, said = tsk.outcome_with_plugin("img_stat", cut)
        self.assertEqual(status, 0)
        self.assertIn("bytes of the disk can't be read", said)

    def test_reads_of_any_length_are_those_of_the_raw_disk(self):
        """blkcat and icat read lengths of their own choosing; of a disk that is no whole number of chunks."""
        for unit in (512, 1024, 4096):
            for first, count in ((0, 3), (127, 130), (8 * MIB // unit - 3, 3)):
                self.assertEqual(tsk.with_plugin("blkcat", "-f", "raw", "-u", unit, self.image, first, count),
                                 tsk.without_plugin("blkcat", "-f", "raw", "-u", unit, self.raw, first, count)[1])


if __name__ == "__main__":
    harness.main()
