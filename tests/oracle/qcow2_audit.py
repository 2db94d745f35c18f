#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vdisk audit beside `qemu-img check`, on good qcow2 images and on ones damaged on purpose."""
import json
import pathlib
import struct

import harness
import luks
from harness import run

KIB, MIB = 1 << 10, 1 << 20
OFFSET = 0x00FFFFFFFFFFFE00
COPIED = 1 << 63


class Image:
    """The metadata of an image, to break."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        data = self.path.read_bytes()
        bits, = struct.unpack_from(">I", data, 20)
        self.l1_size, self.l1, self.refcount_table, clusters = struct.unpack_from(">IQQI", data, 36)
        self.cluster = 1 << bits
        self.tables = [entry & OFFSET for entry in self.words(data, self.l1, self.l1_size) if entry & OFFSET]
        self.blocks = [entry for entry in self.words(data, self.refcount_table, clusters * self.cluster // 8) if entry]
        self.l2_entries = [table + i * 8 for table in self.tables for i, entry in enumerate(self.words(data, table, self.cluster // 8)) if entry]
        self.l1_entries = [self.l1 + i * 8 for i, entry in enumerate(self.words(data, self.l1, self.l1_size)) if entry]

    @staticmethod
    def words(data, offset, count):
        return struct.unpack(f">{count}Q", data[offset:offset + count * 8].ljust(count * 8, b"\0"))

    def read(self, offset, count=8):
        with open(self.path, "rb") as file:
            file.seek(offset)
            return int.from_bytes(file.read(count), "big")

    def write(self, offset, value, count=8):
        with open(self.path, "r+b") as file:
            file.seek(offset)
            file.write(value.to_bytes(count, "big"))


class Audit(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.path = self.folder / "disk.qcow2"

    def create(self, *options, size=8 * MIB, writes=15):
        run("qemu-img", "create", "-q", "-f", "qcow2", *[word for option in options for word in ("-o", option)], self.path, size)
        self.fill(size, writes)

    def fill(self, size=8 * MIB, writes=15):
        commands = []
        for _ in range(writes):
            length = self.random.choice([512, 4 * KIB, 100 * KIB])
            at = self.random.randrange((size - length) // 512) * 512
            commands += ["-c", self.random.choice([f"write -P {self.random.randrange(256)} {at} {length}"] * 4 + [f"write -z {at} {length}", f"discard {at} {length}"])]
        run("qemu-io", *commands, self.path)

    def report(self):
        status, out, message = harness.outcome(harness.VDISK, "audit", "--json", self.path)
        self.assertIn(status, (0, 1), message)
        report = json.loads(out)
        worst = {finding["severity"] for finding in report["findings"]}
        self.assertEqual(status, 1 if worst & {"warning", "error"} else 0)
        return report

    def qemu(self):
        """(corruptions, leaks) by qemu-img; None if it can't check the image at all."""
        _, out, _ = harness.outcome("qemu-img", "check", "-U", "--output=json", self.path)
        if not out:
            return None
        result = json.loads(out)
        return None if result["check-errors"] else (result.get("corruptions", 0), result.get("leaks", 0))

    def compare(self):
        expected, report = self.qemu(), self.report()
        if expected is not None:
            self.assertEqual((report["corruptions"], report["leaks"]), expected, report["counts"])
        return report

    def compare_good(self):
        report = self.compare()
        self.assertEqual((report["corruptions"], report["leaks"]), (0, 0))
        self.assertEqual([finding for finding in report["findings"] if finding["severity"] == "error"], [])
        return report

    def test_good_images_of_all_kinds(self):
        for options in [["compat=0.10"], ["cluster_size=512"], ["cluster_size=2M"], ["preallocation=metadata"], ["preallocation=full", "cluster_size=4k"],
                        ["lazy_refcounts=on"], ["extended_l2=on", "cluster_size=16k"], [f"data_file={self.folder}/data.raw"],
                        *[[f"refcount_bits={1 << order}"] for order in range(7)]]:
            with self.subTest(options=options):
                self.create(*options)
                self.compare_good()

    def test_good_images_with_snapshots(self):
        for options in [["cluster_size=4k"], ["refcount_bits=4", "cluster_size=512"], ["extended_l2=on"]]:
            with self.subTest(options=options):
                self.create(*options)
                for name in ["first", "second", "third"]:
                    run("qemu-img", "snapshot", "-c", name, self.path)
                    self.fill()
                run("qemu-img", "snapshot", "-d", "second", self.path)
                report = self.compare_good()
                self.assertEqual([row["name"] for row in report["snapshots"]], ["first", "third"])

    def test_good_compressed_images(self):
        for options in [["cluster_size=4k"], ["compression_type=zstd"]]:
            with self.subTest(options=options):
                raw = self.folder / "raw"
                raw.write_bytes(b"".join(bytes([self.random.randrange(4)] * 3000) + self.random_bytes(1096) for _ in range(512)))
                run("qemu-img", "convert", "-c", "-O", "qcow2", *[word for option in options for word in ("-o", option)], raw, self.path)
                self.compare_good()

    def test_good_images_with_bitmaps(self):
        self.create("cluster_size=4k")
        for name in ["one", "two"]:
            run("qemu-img", "bitmap", "--add", "-g", "512", self.path, name)
            self.fill()
        self.compare_good()
        Image(self.path).write(88, 0)  # autoclear_features: now the bitmaps are out of date
        report = self.compare()
        self.assertGreater(report["leaks"], 0)
        self.assertEqual(report["counts"]["bitmaps-outdated"], 1)

    def test_a_good_encrypted_image(self):
        key = self.folder / "pass"
        key.write_bytes(b"secret")
        run("qemu-img", "create", "-q", "-f", "qcow2", "--object", f"secret,id=s,file={key}", "-o",
            "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", self.path, 4 * MIB)
        self.assertGreater(luks.header_area(self.path)[1], MIB)
        self.compare_good()

    def damage(self, image):
        """One change to refcounts or tables. What it is called."""
        entry = self.random.choice(image.l2_entries)
        l1 = self.random.choice(image.l1_entries)
        value, size = image.read(entry), image.path.stat().st_size
        kind = self.random.choice(["refcount", "refcount", "copied", "l1-copied", "share", "free", "reserved", "l1-reserved", "unaligned", "past-end", "just-past-end",
                                   "table-unaligned", "l1-share", "block-unaligned", "block-past-end", "block-twice", "bits"])
        block_entry = image.refcount_table
        if kind == "refcount":
            image.write(self.random.choice(image.blocks) + self.random.randrange(min(64, image.cluster)), self.random.choice([0, 1, 2, 255]), 1)
        elif kind == "copied":
            image.write(entry, value ^ COPIED)
        elif kind == "l1-copied":
            image.write(l1, image.read(l1) ^ COPIED)
        elif kind == "share":
            image.write(entry, image.read(self.random.choice(image.l2_entries)))
        elif kind == "free":
            image.write(entry, 0)
        elif kind == "reserved":
            image.write(entry, value | 1 << self.random.choice([1, 8, 56, 61]))
        elif kind == "l1-reserved":
            image.write(l1, image.read(l1) | 1 << self.random.choice([0, 8, 56, 62]))
        elif kind == "unaligned":
            image.write(entry, value ^ 1 << 9)
        elif kind == "past-end":
            image.write(entry, COPIED | (size // image.cluster + 2) * image.cluster)
        elif kind == "just-past-end":
            image.write(entry, COPIED | size // image.cluster * image.cluster)
        elif kind == "table-unaligned":
            image.write(l1, image.read(l1) ^ 1 << 9)
        elif kind == "l1-share":
            image.write(l1, image.read(self.random.choice(image.l1_entries)))
        elif kind == "block-unaligned":
            image.write(block_entry, image.read(block_entry) ^ 1 << self.random.choice([3, 9]))
        elif kind == "block-past-end":
            image.write(block_entry + 8, (size // image.cluster + 3) * image.cluster)
        elif kind == "block-twice":
            image.write(block_entry + 8, image.read(block_entry))
        elif kind == "bits":
            image.write(entry, value ^ 1 << self.random.randrange(9, 20))
        return kind

    def test_damaged_images(self):
        makes = [["cluster_size=4k"], ["cluster_size=512", "refcount_bits=1"], ["cluster_size=64k"], ["cluster_size=4k", "refcount_bits=64"],
                 ["cluster_size=16k", "extended_l2=on"], ["cluster_size=1k", "refcount_bits=8"]]
        found = 0
        for options in makes:
            self.create(*options, size=4 * MIB)
            if "refcount_bits=1" not in options:
                run("qemu-img", "snapshot", "-c", "before", self.path)
                self.fill(4 * MIB)
            good = self.path.read_bytes()
            for _ in range(15):
                self.path.write_bytes(good)
                image = Image(self.path)
                kinds = [self.damage(image) for _ in range(self.random.choice([1, 1, 2]))]
                with self.subTest(options=options, kinds=kinds):
                    found += sum(self.compare()["counts"].values())
        self.assertGreater(found, 50)

    def test_leaked_clusters_are_written_out(self):
        self.create("cluster_size=4k", writes=0, size=4 * MIB)
        run("qemu-io", "-c", "write -P 201 64k 4k", "-c", "write -P 7 128k 4k", self.path)
        image = Image(self.path)
        entry = next(at for at in image.l2_entries if self.path.read_bytes()[image.read(at) & OFFSET] == 201)
        host = image.read(entry) & OFFSET
        image.write(entry, 0)
        report = self.compare()
        self.assertEqual((report["corruptions"], report["leaks"], report["counts"]["leaked"]), (0, 1, 1))
        self.assertEqual([finding["host_offset"] for finding in report["findings"] if finding["kind"] == "leaked"], [host])
        out = self.folder / "leaked.bin"
        run(harness.VDISK, "leaked", self.path, out)
        self.assertIn(bytes([201]) * 4096, out.read_bytes())
        self.assertNotIn(bytes([7]) * 4096, out.read_bytes())

    def test_metadata_that_data_overlap_are_named(self):
        self.create("cluster_size=4k")
        image = Image(self.path)
        image.write(image.l2_entries[0], COPIED | image.l1)
        report = self.compare()
        overlaps = [finding["text"] for finding in report["findings"] if finding["kind"] == "overlap"]
        self.assertEqual(len(overlaps), 1)
        self.assertIn("L1 table and guest data", overlaps[0])

    def test_marks_and_unknown_parts_are_noted(self):
        self.create()
        data = bytearray(self.path.read_bytes())
        data[79] |= 1  # dirty
        data[88] |= 0x80  # an autoclear feature
        head, = struct.unpack_from(">I", data, 100)
        data[head + 16:4096] = data[head:4096 - 16]
        data[head:head + 16] = struct.pack(">IIQ", 0x12345678, 8, 0)
        self.path.write_bytes(data + bytes(3 * 65536))
        counts = self.report()["counts"]
        self.assertEqual([counts.get(kind) for kind in ["dirty", "unknown-extension", "unknown-feature", "behind-last-cluster"]], [1, 1, 1, 1])


if __name__ == "__main__":
    harness.main()
