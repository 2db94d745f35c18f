#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Sleuth Kit of each release of Debian with this build's plugin: 4.11.1, 4.12.1, 4.14 and what is newest. They come as packages,
which are unpacked into VDISK_LIBTSK_CACHE, or into the build folder."""
import gzip
import re
import shutil
import unittest

import debian_suite
import harness
import tsk
import vdi_builder
import vma_writer
from harness import run
from tsk import MIB
from tsk_unreadable import lose

TIME = 60
SUITES = ("bookworm", "trixie", "testing", "sid")


def setUpModule():
    tsk.require_plugin()
    if tsk.sanitized():
        raise unittest.SkipTest("another C library can't be run with this one's sanitizers")


class Versions(tsk.TreeTest):
    FILES = 30

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        part, cls.raw = cls.folder / "part", cls.folder / "disk.raw"
        tsk.make_ext4(part, 8 * MIB, cls.tree, "-b", 1024, "-I", 256)
        tsk.make_disk(cls.raw, [part])
        cls.images = cls.make_images()

    @classmethod
    def make_images(cls):
        """{type: path}"""
        images = {kind: cls.folder / name for kind, name in (("qcow2", "disk.qcow2"), ("vdi", "disk.vdi"), ("vhd", "disk.vhd"), ("vhdx", "disk.vhdx"), ("vmdk", "disk.vmdk"), ("qcow", "disk.qcow"), ("qed", "disk.qed"), ("parallels", "disk.hds"), ("vma", "disk.vma"),
                                                                 ("rawz", "disk.raw.gz"))}
        run("qemu-img", "convert", "-O", "qcow2", "-o", "cluster_size=4096", cls.raw, images["qcow2"])
        run("qemu-img", "convert", "-O", "vpc", "-o", "force_size=on", cls.raw, images["vhd"])
        run("qemu-img", "convert", "-O", "vhdx", "-o", "block_size=1M", cls.raw, images["vhdx"])
        for kind in ("qcow", "qed", "parallels"):
            run("qemu-img", "convert", "-O", kind, cls.raw, images[kind])
        run("qemu-img", "convert", "-O", "vmdk", cls.raw, images["vmdk"])
        data = cls.raw.read_bytes()
        image = vdi_builder.Vdi(len(data))
        image.write_disk(data)
        image.save(images["vdi"])
        vma_writer.write(images["vma"], [("drive-scsi0", cls.raw)])
        images["rawz"].write_bytes(gzip.compress(data, 1))
        return images

    def suite(self, name):
        try:
            return debian_suite.Suite(name, "sleuthkit")
        except debian_suite.Unavailable as reason:
            self.skipTest(f"The Sleuth Kit of Debian {name} can't be had: {reason}")

    def ended(self, suite, *command, plugin=True, preload=None):
        return harness.outcome(*suite.command(*command, preload=preload or ([tsk.PLUGIN] if plugin else [])), timeout=TIME)

    @classmethod
    def door(cls):
        """What stands in libvhdi's place, with the plugin beside it as it is installed."""
        door = cls.folder / "door" / tsk.DOOR.name
        if not door.exists():
            door.parent.mkdir()
            shutil.copy(tsk.DOOR, door)
            (door.parent / tsk.PLUGIN.name).symlink_to(tsk.PLUGIN)
        return door

    def check_door(self, suite):
        """Without the plugin in front of libtsk, as in programs that carry it inside: every image is one of type vhd."""
        for command in (["mmls"], ["fls", "-r", "-p", "-o", tsk.PART]):
            expected = self.ended(suite, *command, self.raw, plugin=False)
            for kind, image in self.images.items():
                for given in ([["-i", "vhd"]] if kind in ("rawz", "vmdk") else [["-i", "vhd"], []]):
                    path = f"{image}#format={kind}" if kind in ("rawz", "vmdk") else image
                    with self.subTest(suite=suite.name, image=image.name, given=given, way="in libvhdi's place"):
                        self.assertEqual(self.ended(suite, command[0], *given, *command[1:], path, preload=[self.door()]), expected)

    def same(self, suite, image, kind, *command, end=()):
        """The program says of the image what it says of the raw disk."""
        expected = self.ended(suite, *command, self.raw, *end, plugin=False)
        self.assertEqual(expected[0], 0, expected[2])
        self.assertEqual(self.ended(suite, command[0], *kind, *command[1:], image, *end), expected)

    def check_version(self, name):
        suite = self.suite(name)
        status, version, said = self.ended(suite, "fls", "-V", plugin=False)
        self.assertEqual(status, 0, said)
        print(f"{name}: {version.decode().strip()}")
        listed = self.ended(suite, "img_stat", "-i", "list")[2]
        if re.search(r"version `(GLIBC|GLIBCXX|CXXABI)_[0-9.]+' not found", listed):
            self.skipTest(f"the C or C++ library of Debian {name} is older than the one that the plugin was built for")
        inode = tsk.files_of(self.ended(suite, "fls", "-r", "-p", "-o", tsk.PART, self.raw, plugin=False)[1]).popitem()[1]
        for kind, image in self.images.items():
            self.assertIn(f"\t{kind} (", listed)
            for given in ([["-i", kind]] if kind == "rawz" else [["-i", kind], []]):
                with self.subTest(suite=name, image=image.name, given=given):
                    self.same(suite, image, given, "mmls")
                    self.same(suite, image, given, "fls", "-r", "-p", "-o", tsk.PART)
                    self.same(suite, image, given, "istat", "-o", tsk.PART, end=[inode])
                    self.same(suite, image, given, "icat", "-o", tsk.PART, end=[inode])
                    self.assertEqual(self.ended(suite, "img_stat", "-t", *given, image)[:2], (0, f"{kind}\n".encode()))
        self.check_unreadable(suite, inode)
        self.check_door(suite)

    def check_unreadable(self, suite, inode):
        said = run("debugfs", "-R", f"imap <{inode}>", self.folder / "part").decode()
        block, within = said.split("located at block ")[1].split(", offset ")
        lost = lose(self.images["qcow2"], self.folder / "lost.qcow2", [tsk.PART * 512 + int(block) * 1024 + int(within, 16)])
        status, out, said = self.ended(suite, "istat", "-o", tsk.PART, lost, inode)
        self.assertEqual(status, 1, (out, said))
        self.assertNotIn(b"size:", out)
        self.assertIn("can't be read", said)


def _test_of(name):
    return lambda self: self.check_version(name)


for _name in SUITES:
    setattr(Versions, f"test_{_name}", _test_of(_name))

if __name__ == "__main__":
    harness.main()
