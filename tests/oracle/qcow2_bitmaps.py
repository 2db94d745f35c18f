#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bitmaps that QEMU stored, compared with the writes that were made and with what qemu-nbd tells of them."""
import json
import struct
import subprocess
import time

import harness
from harness import run

KIB, MIB = 1 << 10, 1 << 20


class Bitmaps(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.image = self.folder / "disk.qcow2"

    def create(self, size, *options):
        run("qemu-img", "create", "-q", "-f", "qcow2", *options, self.image, size)

    def add(self, name, *options):
        run("qemu-img", "bitmap", "--add", *options, self.image, name)

    def write_somewhere(self, size, count, longest=200 * KIB):
        writes = []
        for _ in range(count):
            length = self.random.randrange(1, longest // 512) * 512
            at = self.random.randrange((size - length) // 512) * 512
            writes.append((at, length))
        run("qemu-io", *[word for at, length in writes for word in ("-c", f"write -P 85 {at} {length}")], self.image)
        return writes

    def expected(self, writes, granularity, size):
        """The ranges in which something was written, in whole granules."""
        granules = sorted({granule for at, length in writes for granule in range(at // granularity, (at + length - 1) // granularity + 1)})
        ranges = []
        for granule in granules:
            at, length = granule * granularity, min(granularity, size - granule * granularity)
            if ranges and sum(ranges[-1]) == at:
                ranges[-1] = (ranges[-1][0], ranges[-1][1] + length)
            else:
                ranges.append((at, length))
        return ranges

    def ours(self, name, status=0):
        text = run(harness.VDISK, "bitmap", self.image, name, status=status).decode()
        lines = [tuple(int(word) for word in line.split()) for line in text.splitlines()]
        report = json.loads(run(harness.VDISK, "bitmap", "--json", self.image, name, status=status))
        self.assertEqual([(row["offset"], row["length"]) for row in report["ranges"] if row["state"] == "dirty"], lines)
        return lines

    def listed(self):
        return {row["name"]: row for row in json.loads(run(harness.VDISK, "info", "--json", self.image))["bitmaps"]}

    def told_by_nbd(self, name):
        socket = self.folder / "nbd.sock"
        server = subprocess.Popen(["qemu-nbd", "-r", "-k", str(socket), "-B", name, "-f", "qcow2", str(self.image)])
        try:
            deadline = time.monotonic() + 30
            while not socket.exists():
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.02)
            options = f"driver=nbd,server.type=unix,server.path={socket},x-dirty-bitmap=qemu:dirty-bitmap:{name}"
            rows = json.loads(run("qemu-img", "map", "--output=json", "--image-opts", options))
        finally:
            server.terminate()
            server.wait()
        return [(row["start"], row["length"]) for row in rows if not row["data"]]

    def test_granularities_and_cluster_sizes(self):
        for cluster_size, granularity, size in [(65536, 65536, 40 * MIB + 512 * 3), (512, 512, 9 * MIB + 512), (4096, 65536, 12 * MIB),
                                                (1 << 20, 512, 64 * MIB), (65536, 1 << 21, 33 * MIB + 1024)]:
            with self.subTest(cluster_size=cluster_size, granularity=granularity):
                self.create(size, "-o", f"cluster_size={cluster_size}")
                self.add("since", "-g", str(granularity))
                expected = self.expected(self.write_somewhere(size, 12), granularity, size)
                self.assertEqual(self.ours("since"), expected)
                row = self.listed()["since"]
                self.assertEqual((row["granularity"], row["auto"], row["in_use"], row["dirty_bytes"]),
                                 (granularity, True, False, sum(length for _, length in expected)))

    def test_nbd_tells_the_same(self):
        size = 20 * MIB + 512
        self.create(size)
        self.add("since", "-g", "4096")
        self.write_somewhere(size, 20)
        self.assertEqual(self.ours("since"), self.told_by_nbd("since"))

    def test_several_bitmaps_hold_different_times(self):
        size = 16 * MIB
        self.create(size)
        self.add("first")
        before = self.write_somewhere(size, 5)
        self.add("second")
        after = self.write_somewhere(size, 5)
        run("qemu-img", "bitmap", "--disable", self.image, "first")
        last = self.write_somewhere(size, 5)
        self.assertEqual(self.ours("first"), self.expected(before + after, 65536, size))
        self.assertEqual(self.ours("second"), self.expected(after + last, 65536, size))
        self.assertEqual({name: row["auto"] for name, row in self.listed().items()}, {"first": False, "second": True})
        run("qemu-img", "bitmap", "--clear", self.image, "first")
        self.assertEqual(self.ours("first"), [])
        self.assertEqual(self.listed()["first"]["dirty_bytes"], 0)

    def test_a_disk_written_as_a_whole_is_one_range(self):
        size = 300 * MIB + 512
        self.create(size)
        self.add("all", "-g", "512")
        run("qemu-io", "-c", f"write -z 0 {size}", self.image)
        self.assertEqual(self.ours("all"), [(0, size)])

    def test_names_that_need_care(self):
        self.create(MIB)
        name = "before 'update', 2\u2192"
        self.add(name)
        self.assertEqual(self.ours(name), [])
        status, _, message = harness.outcome(harness.VDISK, "bitmap", self.image, "another")
        self.assertEqual(status, 2)
        self.assertIn("has no bitmap 'another'", message)

    # The directory's place and that of the only bitmap's flags and table.
    def directory(self):
        head = self.image.read_bytes()[:4096]
        at = struct.unpack_from(">I", head, 100)[0]
        while struct.unpack_from(">I", head, at)[0] != 0x23852875:
            at += 8 + -(-struct.unpack_from(">I", head, at + 4)[0] // 8) * 8
        return struct.unpack_from(">Q", head, at + 8 + 16)[0]

    def patch(self, at, data):
        with open(self.image, "r+b") as file:
            file.seek(at)
            file.write(data)

    def test_a_bitmap_that_may_be_wrong_is_printed_with_a_warning(self):
        self.create(8 * MIB)
        self.add("since")
        run("qemu-io", "-c", "write 1M 64k", self.image)
        whole = self.image.read_bytes()
        for at, value, word in [(self.directory() + 12, struct.pack(">I", 3), "in use"), (88, bytes(8), "out of date")]:
            with self.subTest(word=word):
                self.image.write_bytes(whole)
                self.patch(at, value)
                status, out, message = harness.outcome(harness.VDISK, "bitmap", self.image, "since")
                self.assertEqual((status, out), (1, b"1048576 65536\n"))
                self.assertIn(word, message)

    def test_damage_is_told_for_its_range_alone(self):
        size = 8 * MIB
        self.create(size, "-o", "cluster_size=512")
        self.add("since", "-g", "512") # a table entry covers 2 MiB
        run("qemu-io", "-c", "write 0 1k", "-c", "write 3M 1k", "-c", "write 5M 1k", self.image)
        table = struct.unpack(">Q", self.image.read_bytes()[self.directory():self.directory() + 8])[0]
        self.patch(table + 8, struct.pack(">Q", 0x7FFFFFFF0000))
        self.assertEqual(self.ours("since", status=1), [(0, 1024), (5 * MIB, 1024)])
        report = json.loads(run(harness.VDISK, "bitmap", "--json", self.image, "since", status=1))
        self.assertEqual([(row["offset"], row["length"]) for row in report["ranges"] if row["state"] == "unknown"], [(2 * MIB, 2 * MIB)])

    def test_bits_behind_the_end_of_the_disk_mean_nothing(self):
        self.create(3 * MIB + 512, "-o", "cluster_size=512")
        self.add("since", "-g", "512") # a table entry covers 2 MiB
        run("qemu-io", "-c", f"write {3 * MIB} 512", self.image)
        file = self.image.read_bytes()
        table = struct.unpack(">Q", file[self.directory():self.directory() + 8])[0]
        data = struct.unpack(">Q", file[table + 8:table + 16])[0]
        self.assertEqual(file[data + 256], 1)
        self.patch(data + 256, b"\xff")
        self.assertEqual(self.ours("since"), [(3 * MIB, 512)])

    def test_unknown_kinds_are_refused(self):
        self.create(8 * MIB)
        self.add("since")
        self.patch(self.directory() + 16, b"\2")
        status, out, message = harness.outcome(harness.VDISK, "bitmap", self.image, "since")
        self.assertEqual((status, out), (2, b""))
        self.assertIn("type is 2", message)

    def test_hostile_directories_leave_the_disk_readable(self):
        self.create(8 * MIB)
        self.add("since")
        whole, at = self.image.read_bytes(), self.directory()
        for where, value in [(8, b"\xff" * 4), (17, b"\x40"), (18, b"\xff\xff"), (20, b"\xff" * 4), (0, b"\xff" * 8)]:
            with self.subTest(where=where):
                self.image.write_bytes(whole)
                self.patch(at + where, value)
                run(harness.VDISK, "info", self.image)
                run(harness.VDISK, "export", "--force", self.image, self.folder / "out.raw")
                self.assertEqual(harness.outcome(harness.VDISK, "bitmap", self.image, "since")[0], 2)


if __name__ == "__main__":
    harness.main()
