#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs on libtsk other than its own: each way to open an image, several threads, Java."""
import os
import random
import re
import struct
import subprocess
import unittest

import harness
import tsk
import vma_writer
from harness import run
from tsk import MIB, PROGRAMS

MODULE = PROGRAMS / ".libs" / "module.so"
LIBJVM = PROGRAMS / ".libs" / "libjvm.so"


def setUpModule():
    tsk.require_plugin()


class Programs(harness.FolderTest):
    def setUp(self):
        super().setUp()
        tree = self.folder / "tree"
        tree.mkdir()
        tsk.make_tree(tree, 20, random.Random("files"))
        part = self.folder / "part"
        tsk.make_ext4(part, 8 * MIB, tree)
        self.raw = self.folder / "disk.raw"
        tsk.make_disk(self.raw, [part])
        self.image = self.folder / "disk.qcow2"
        run("qemu-img", "convert", "-c", "-O", "qcow2", self.raw, self.image)

    def session(self, *arguments, environment=None):
        for program in ([PROGRAMS / "program"], [PROGRAMS / "java_like", LIBJVM, MODULE]):
            with self.subTest(program=program[0].name):
                said = tsk.outcome_with_plugin(*program, *arguments, environment=environment)
                self.assertEqual(said, (0, f"{arguments[0]}: 0 wrong\n".encode(), said[2]))

    def other_kinds(self):
        """The same disk as a VDI, a VHDX, a qcow of version 1, a QED, a Parallels image, in a VMA archive, and as a reference file that leads to a disk of one: {type: path}."""
        images = {kind: self.folder / f"disk.{kind}" for kind in ("vdi", "vhdx", "vmdk", "qcow", "qed", "parallels", "vma")}
        for kind in ("vdi", "vhdx", "vmdk", "qcow", "qed", "parallels"):
            run("qemu-img", "convert", "-O", kind, self.raw, images[kind])
        vma_writer.write(images["vma"], [("drive-scsi0", self.raw)])
        run(harness.VDISK, "ref", "-d", self.folder, images["vma"])
        return [*images.items(), ("vma", self.folder / "disk.drive-scsi0.vdisk")]

    def test_every_function_that_opens_an_image(self):
        self.session("entries", self.image, self.raw)
        for kind, image in self.other_kinds():
            self.session("entries", image, self.raw, environment={"SESSION_TYPE": kind})

    def test_ingest_with_other_threads_reading(self):
        self.session("ingest", self.image, self.raw)
        for kind, image in self.other_kinds():
            self.session("ingest", image, self.raw, environment={"SESSION_TYPE": kind})

    def test_threads_with_several_images(self):
        pairs = [self.image, self.raw]
        for number, cluster in enumerate((512, 4096)):
            raw, image = self.folder / f"{number}.raw", self.folder / f"{number}.qcow2"
            raw.write_bytes(self.random_bytes(2 * MIB))
            run("qemu-img", "convert", "-O", "qcow2", "-o", f"cluster_size={cluster}", raw, image)
            pairs += [image, raw]
        for _, image in self.other_kinds():
            pairs += [image, self.raw]
        pairs += [self.raw, self.raw]  # libtsk's own, amid ours
        self.session("threads", *pairs)

    def test_a_range_that_cannot_be_read_gives_no_strangers_bytes(self):
        image, raw = self.folder / "bad.qcow2", self.folder / "bad.raw"
        raw.write_bytes(self.random_bytes(MIB))
        run("qemu-img", "convert", "-O", "qcow2", raw, image)
        data = image.read_bytes()
        l1, = struct.unpack(">Q", data[40:48])
        l2, = struct.unpack(">Q", data[l1:l1 + 8])
        with open(image, "r+b") as file:
            file.seek((l2 & ((1 << 56) - 512)) + 8 * 5)
            file.write(struct.pack(">Q", (1 << 63) | (1 << 50)))
        self.session("damaged", image, 5 * 65536)

    @unittest.skipUnless(harness.have("java") and harness.have("javac"), "no JDK")
    @unittest.skipIf(tsk.sanitized(), "a JVM does not run in a sanitizer")
    def test_java(self):
        reference = self.other_kinds()[-1][1]
        for what, image, kind in (("entries", self.image, "qcow2"), ("ingest", self.image, "qcow2"), ("ingest", reference, "vma")):
            with self.subTest(what=what, image=image.name):
                arguments = "\n".join([what, str(image), str(self.raw)])
                said = tsk.outcome_with_plugin("java", harness.SOURCE / "tests" / "tsk" / "Session.java", MODULE,
                                               environment={"SESSION_ARGUMENTS": arguments, "SESSION_JAVA": "1", "SESSION_TYPE": kind})
                self.assertEqual(said[:2], (0, f"{what}: 0 wrong\n".encode()), said[2])


class Plugin(unittest.TestCase):
    def test_it_is_linked_to_no_libtsk(self):
        self.assertNotRegex(run("readelf", "-d", tsk.PLUGIN).decode(), r"NEEDED.*libtsk")

    def test_it_has_its_own_libcrypto(self):
        # The shared one would use the SHA-2 functions that fiwalk exports, and write past their smaller structures.
        self.assertNotRegex(run("readelf", "-d", tsk.PLUGIN).decode(), r"NEEDED.*libcrypto")

    def test_it_shows_the_functions_that_it_stands_in_for_and_nothing_else(self):
        symbols = run("nm", "-D", "--defined-only", tsk.PLUGIN).decode()
        opens = {f"tsk_img_open{how}{options}" for how in ("", "_sing", "_utf8", "_utf8_sing") for options in ("", "_opt")}
        names = {f"tsk_img_type_{what}" for what in ("toid", "toid_utf8", "toname", "todesc", "supported", "print")}
        shown = {line.split()[-1] for line in symbols.splitlines()}
        header = (harness.SOURCE / "lib/capi/vdisk.h").read_text()
        for_vhdi_door = set(re.findall(r"^[a-z].*[ *](vdisk_[a-z_]*)\(", header, re.MULTILINE))
        self.assertEqual({name for name in shown if not re.match(r"__(a|ub|t)san", name)}, opens | names | {"tsk_img_read"} | for_vhdi_door)


if __name__ == "__main__":
    harness.main()
