#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every single bit of the metadata of qcow, qcow2, QED, Parallels, VDI, VHD, VHDX and VMDK images, changed: the disk is the right one or an error, never another one.

Most are read by libvdisk in this process, which is ten times as fast as by a program each; of each byte one is read by the program
too, and whatever the library reads that is not the disk."""
import re
import struct
import unittest

import harness
import vdi_builder
from harness import run

KIB, MIB = 1 << 10, 1 << 20
VDISK = harness.library()
SIZE_FIELD = range(24, 32)  # a changed size is another disk, rightly


class Flips(harness.FolderTest):
    def setUp(self):
        super().setUp()
        data = bytearray(self.random_bytes(1 * MIB + 512 * KIB))
        data[512 * KIB:768 * KIB] = bytes(256 * KIB)
        self.raw = self.folder / "content.raw"
        self.raw.write_bytes(data)

    def disk(self, image):
        """(status, content) of an export. One that ended with 1 told on standard error what it lacks."""
        out = self.folder / "out"
        status, _, said = harness.outcome(harness.VDISK, "export", "--force", image, out)
        self.assertIn(status, (0, 1, 2), said)
        if status == 2:
            # One line; where a selected disk is not there, those that are follow.
            first, *others = said.splitlines()
            self.assertTrue(first.startswith(f"vdisk: {self.folder}"), said)
            listed = re.search(r"has (no|more than one) \w+ '.*'; there are:$", first)
            for line in others:
                self.assertTrue(listed and re.match(r"vdisk:   \w+  ", line), said)
            return status, b""
        return status, out.read_bytes()

    def read(self, image):
        """What disk() gives, by the library: (status, content), without what only programs tell."""
        try:
            with VDISK.File(str(image)) as file, file.open_disk(file.selected) as disk:
                return 0, disk.read_at(0, disk.size)
        except VDISK.Error as error:
            self.assertTrue(str(error).startswith(str(self.folder)), error)
            return 2, b""

    def outcome(self, image, right, by_program):
        """disk(), or as much of it as says whether the disk is `right`."""
        if VDISK and not by_program:
            status, got = self.read(image)
            if status != 0 or got == right:
                return status, got
        return self.disk(image)

    def check(self, image, places, name="", allowed=()):
        """Changes one bit after the other at the offsets `places`; the disk `name` of the file must stay what it is, or be an error.
        `allowed`: contents that are right too."""
        good = image.read_bytes()
        selected = f"{image}{name}"
        status, right = self.disk(selected)
        self.assertEqual(status, 0)
        refused = 0
        for place in places:
            for bit in range(8):
                changed = bytearray(good)
                changed[place] ^= 1 << bit
                image.write_bytes(changed)
                status, got = self.outcome(selected, right, bit == place % 8)
                refused += status != 0
                if status == 0 and got != right and got not in allowed:
                    self.fail(f"{image.name}{name}: with bit {bit} of byte {place} changed another disk is read, with status 0")
        image.write_bytes(good)
        return refused

    def qcow2(self, options, name="disk.qcow2"):
        image = self.folder / name
        run("qemu-img", "convert", "-O", "qcow2", "-o", options, self.raw, image)
        return image

    def test_qcow2_headers(self):
        for options in ("compat=1.1", "compat=0.10", "cluster_size=4k", "cluster_size=8k", "cluster_size=128k"):
            with self.subTest(options=options):
                refused = self.check(self.qcow2(options), [place for place in range(4, 72) if place not in SIZE_FIELD])
                self.assertGreater(refused, 150)

    def test_qcow2_headers_of_overlays(self):
        for version in ("1.1", "0.10"):
            image = self.folder / "overlay.qcow2"
            run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"compat={version}", "-b", "content.raw", "-F", "raw", image)
            run("qemu-io", "-c", "write -P 9 512k 200k", image)
            with self.subTest(version=version):
                self.check(image, [place for place in range(4, 72) if place not in SIZE_FIELD])

    def with_snapshots(self):
        image = self.qcow2("compat=1.1", "snapshots.qcow2")
        for number in range(2):
            run("qemu-img", "snapshot", "-c", f"state {number}", image)
            run("qemu-io", "-c", f"write -P {number + 1} {number * 256}k 256k", image)
        return image

    def test_a_qcow2_header_with_snapshots_and_the_l1_table(self):
        image = self.with_snapshots()
        self.check(image, [place for place in range(4, 72) if place not in SIZE_FIELD])
        l1_table, = struct.unpack_from(">Q", image.read_bytes(), 40)
        self.check(image, range(l1_table, l1_table + 8))

    def test_qcow2_snapshot_tables(self):
        """Sizes and times aside, an entry leads to its own state or nowhere."""
        image = self.with_snapshots()
        table, = struct.unpack_from(">Q", image.read_bytes(), 64)
        self.check(image, range(table, table + 16), "#snapshot=state 0")
        self.check(image, range(table, table + 16))

    def test_what_else_a_qcow2_header_can_lie_about(self):
        """The L1 table in a free cluster, in a cluster of zeros, and clusters of the wrong size whose tables are aligned all the same."""
        image = self.qcow2("compat=1.1")
        good = image.read_bytes()
        _, right = self.disk(image)
        for cluster in range(len(good) // (64 * KIB)):
            changed = bytearray(good)
            struct.pack_into(">Q", changed, 40, cluster * 64 * KIB)
            changed += bytes(64 * KIB)
            image.write_bytes(changed)
            status, got = self.disk(image)
            if status == 1:  # zeros are where it lacks something
                self.assertTrue(all(a in (0, b) for a, b in zip(got, right, strict=True)), f"L1 table in cluster {cluster}")
            else:
                self.assertTrue(status == 2 or got == right, f"L1 table in cluster {cluster}: status {status}")

    def vdi(self, **options):
        image = vdi_builder.Vdi(24 * 16 * KIB, block_size=16 * KIB, **options)
        for number in (3, 0, 7, 12, 5, 20):
            image.write(number, self.random_bytes(16 * KIB))
        path = self.folder / "disk.vdi"
        image.save(path)
        return path

    def test_vdi_headers(self):
        # Not the text, the comment, the identifiers of this image and the disk's size.
        fields = [*range(64, 80), *range(340, 368), *range(376, 392), *range(424, 456)]
        for options in ({}, {"data_offset": 1 * MIB}):
            with self.subTest(options=options):
                self.check(self.vdi(**options), fields)

    def test_vdi_maps(self):
        image = self.vdi()
        self.check(image, [512 + 4 * number + byte for number in (0, 3, 7) for byte in range(4)])

    def test_the_headers_of_vdi_images_of_qemu_img(self):
        image = self.folder / "disk.vdi"
        with open(self.raw, "ab") as file:
            file.truncate(4 * MIB)
        run("qemu-img", "convert", "-O", "vdi", self.raw, image)
        self.check(image, [*range(72, 76), *range(340, 348), *range(376, 392), *range(424, 440)])

    def test_vhd_footers_headers_and_tables(self):
        image = self.folder / "disk.vhd"
        run("qemu-img", "convert", "-O", "vpc", "-o", "force_size=on", self.raw, image)
        end = image.stat().st_size - 512
        self.check(image, [*range(8, 20), *range(48, 72), *range(512, 552), *range(1536, 1540), *range(end + 8, end + 20), *range(end + 48, end + 72)])

    def test_vhdx_headers_regions_parameters_and_tables(self):
        image = self.folder / "disk.vhdx"
        run("qemu-img", "convert", "-O", "vhdx", "-o", "block_size=1M", self.raw, image)
        table, metadata = 2 * MIB, 3 * MIB
        parameters = metadata + 64 * KIB
        # Not the disk's size, between the parameters and its identifier.
        self.check(image, [*range(64 * KIB, 64 * KIB + 80), *range(192 * KIB, 192 * KIB + 80), *range(metadata, metadata + 80),
                           *range(parameters, parameters + 8), *range(parameters + 32, parameters + 36), *range(table, table + 16)])

    def test_qcow_headers_and_tables(self):
        image = self.folder / "disk.qcow"
        run("qemu-img", "convert", "-O", "qcow", self.raw, image)
        l2_table, = struct.unpack_from(">Q", image.read_bytes(), 48)
        # Neither the disk's size, nor the time, nor what makes an encrypted disk of it or a plain one.
        self.check(image, [*range(4, 20), *range(32, 36), *range(40, 64), *range(l2_table, l2_table + 16)])

    def test_qcow_headers_and_tables_of_overlays(self):
        image = self.folder / "overlay.qcow"
        run("qemu-img", "create", "-q", "-f", "qcow", "-b", "content.raw", "-F", "raw", image)
        run("qemu-io", "-f", "qcow", "-c", "write -P 9 512k 200k", image)
        l2_table, = struct.unpack_from(">Q", image.read_bytes(), 64)
        self.check(image, [*range(4, 20), *range(32, 36), *range(40, 72), *range(l2_table + 8192, l2_table + 8208)])

    def test_qed_headers_and_tables(self):
        image = self.folder / "disk.qed"
        run("qemu-img", "convert", "-O", "qed", self.raw, image)
        l2_table, = struct.unpack_from("<Q", image.read_bytes(), 65536)
        # Not the disk's size.
        self.check(image, [*range(0, 48), *range(56, 64), *range(65536, 65552), *range(l2_table, l2_table + 16)])

    def test_qed_headers_and_tables_of_overlays(self):
        image = self.folder / "overlay.qed"
        run("qemu-img", "create", "-q", "-f", "qed", "-b", "content.raw", "-F", "raw", image)
        run("qemu-io", "-f", "qed", "-c", "write -P 9 512k 200k", image)
        l2_table, = struct.unpack_from("<Q", image.read_bytes(), 65536)
        self.check(image, [*range(0, 48), *range(56, 64), *range(65536, 65552), *range(l2_table + 64, l2_table + 80)])

    def test_parallels_headers_and_tables(self):
        image = self.folder / "disk.hds"
        run("qemu-img", "convert", "-O", "parallels", "-o", "cluster_size=64k", self.raw, image)
        # Neither the geometry nor the size, nor what tells of extensions and the place of the data.
        self.check(image, [*range(0, 20), *range(28, 36), *range(44, 48), *range(64, 72)])

    def test_vmdk_headers_descriptors_and_tables(self):
        image = self.folder / "disk.vmdk"
        for options in ("subformat=monolithicSparse", "subformat=streamOptimized"):
            run("qemu-img", "convert", "-O", "vmdk", "-o", options, self.raw, image)
            with self.subTest(options=options):
                text = image.read_bytes()[512:21 * 512].rstrip(b"\0")
                directory = 26 * 512
                # Not the disk's size, of which the descriptor tells.
                self.check(image, [*range(4, 12), *range(20, 72), *range(73, 79), *range(21 * 512, 21 * 512 + 4), *range(22 * 512, 22 * 512 + 8),
                                   *range(directory, directory + 4), *range(directory + 512, directory + 520)])
        self.check(image, range(512, 512 + len(text), 3))

    def test_vmdk_descriptors_of_their_own_and_of_children(self):
        run("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=monolithicFlat", self.raw, self.folder / "flat.vmdk")
        text = (self.folder / "flat.vmdk").read_bytes().rstrip(b"\0")
        self.check(self.folder / "flat.vmdk", range(0, len(text), 3))
        image = self.folder / "child.vmdk"
        run("qemu-img", "create", "-q", "-f", "vmdk", "-b", "flat.vmdk", "-F", "vmdk", image)
        run("qemu-io", "-f", "vmdk", "-c", "write -P 7 512k 200k", image)
        text = image.read_bytes()[512:21 * 512].rstrip(b"\0")
        self.check(image, range(512, 512 + len(text), 3))


if __name__ == "__main__":
    harness.main()
