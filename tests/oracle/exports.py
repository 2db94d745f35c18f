#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disks for handing over: vdisk export -O qcow2 beside qemu-img, and E01 by libewf's tools through a pipe."""
import json
import re
import subprocess
import unittest

import harness
from harness import VDISK, outcome, run, sha256_file

MIB = 1 << 20
CLUSTER = 65536
METHODS = ("zlib", "zstd")


class ExportTest(harness.FolderTest):
    def raw_disk(self, size=24 * MIB + 512):
        """What compresses well, not at all, and hardly, in clusters and parts of them; holes; an end that is no whole cluster."""
        path = self.folder / "disk.raw"
        with open(path, "wb") as file:
            file.truncate(size)
            for cluster in range(size // CLUSTER):
                kind = cluster % 8 if cluster < 128 else self.random.randrange(12)
                data = {0: self.random_bytes(CLUSTER), 1: b"text %d " % cluster * 20, 2: bytes([cluster % 255 + 1]) * CLUSTER, 3: bytes(CLUSTER),
                        4: self.random_bytes(CLUSTER // 2), 5: bytes(CLUSTER - 1) + b"x", 6: self.random_bytes(CLUSTER - 300) + b"a" * 300}.get(kind)
                if data:
                    file.seek(cluster * CLUSTER)
                    file.write(data)
            file.seek(size - 100)
            file.write(self.random_bytes(100))
        return path

    def check(self, image):
        """qemu-img check finds nothing at all, and neither do we."""
        checked = json.loads(run("qemu-img", "check", "--output=json", image))
        self.assertEqual({key: checked.get(key, 0) for key in ("corruptions", "leaks", "check-errors")}, {"corruptions": 0, "leaks": 0, "check-errors": 0})
        run(VDISK, "audit", image)
        return checked


class Qcow2(ExportTest):
    def test_it_is_valid_and_equal_with_both_methods(self):
        raw = self.raw_disk()
        run("qemu-img", "convert", "-O", "vmdk", raw, self.folder / "disk.vmdk")
        sizes = {}
        for method in METHODS:
            out = self.folder / f"{method}.qcow2"
            printed = run(VDISK, "export", "-O", "qcow2", "--compression", method, "--hash", "sha256", self.folder / "disk.vmdk", out).decode()
            self.assertEqual(printed, f"SHA256 (virtual disk of {out}) = {sha256_file(raw)}\n")
            checked = self.check(out)
            self.assertGreater(checked["compressed-clusters"], 100)
            self.assertGreater(checked["allocated-clusters"], checked["compressed-clusters"])
            run("qemu-img", "compare", raw, out)
            info = json.loads(run("qemu-img", "info", "--output=json", out))
            self.assertEqual((info["virtual-size"], info["format-specific"]["data"]["compression-type"]), (raw.stat().st_size, method))
            self.assertNotIn("backing-filename", info)
            back = self.folder / "back.raw"
            run(VDISK, "export", "--force", out, back)
            self.assert_same_file(raw, back)
            sizes[method] = out.stat().st_size
        run("qemu-img", "convert", "-c", "-O", "qcow2", raw, self.folder / "theirs.qcow2")
        self.assertLess(sizes["zlib"], (self.folder / "theirs.qcow2").stat().st_size * 1.05)

    def test_zlib_is_what_is_made_unasked_and_zeros_take_no_room(self):
        raw = self.folder / "zeros.raw"
        with open(raw, "wb") as file:
            file.truncate(1200 * MIB)
            for at in (0, 700 * MIB + 7, 1200 * MIB - 1):  # in three tables of entries
                file.seek(at)
                file.write(b"x")
        out = self.folder / "out.qcow2"
        run(VDISK, "export", "-O", "qcow2", "-f", "raw", raw, out)
        self.assertEqual(json.loads(run("qemu-img", "info", "--output=json", out))["format-specific"]["data"]["compression-type"], "zlib")
        self.assertEqual(self.check(out)["allocated-clusters"], 3)
        self.assertLess(out.stat().st_size, MIB)
        run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, out)

    def test_sizes_at_the_edges_of_clusters_and_tables(self):
        for size in (512, CLUSTER - 512, CLUSTER, CLUSTER + 512, 16 * CLUSTER, 16 * CLUSTER + 512, 512 * MIB, 512 * MIB + 512):
            with self.subTest(size=size):
                raw, out = self.folder / "disk.raw", self.folder / "out.qcow2"
                with open(raw, "wb") as file:
                    file.truncate(size)
                    file.seek(size - 512)
                    file.write(self.random_bytes(512))
                run(VDISK, "export", "--force", "-O", "qcow2", raw, out)
                self.check(out)
                run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, out)
                self.assertEqual(json.loads(run("qemu-img", "info", "--output=json", out))["virtual-size"], size)

    def test_many_small_clusters_share_those_of_the_file(self):
        raw, out = self.folder / "disk.raw", self.folder / "out.qcow2"
        with open(raw, "wb") as file:
            for number in range(4096):
                file.write(b"%06d" % number + bytes(CLUSTER - 6))
        for method in METHODS:
            run(VDISK, "export", "--force", "-O", "qcow2", "--compression", method, raw, out)
            self.assertEqual(self.check(out)["compressed-clusters"], 4096)
            run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, out)

    def test_a_disk_that_is_no_whole_number_of_sectors(self):
        raw, out = self.folder / "disk.raw", self.folder / "out.qcow2"
        raw.write_bytes(self.random_bytes(CLUSTER + 1000))
        status, _, said = outcome(VDISK, "export", "-O", "qcow2", raw, out)
        self.assertEqual(status, 0)
        self.assertIn("24 bytes of zeros", said)
        self.check(out)
        back = self.folder / "back"
        run(VDISK, "export", out, back)
        self.assertEqual(back.read_bytes(), raw.read_bytes() + bytes(24))

    def test_what_can_not_be_read_is_told_as_of_a_raw_file(self):
        image = self.folder / "disk.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", image, 4 * MIB)
        run("qemu-io", "-c", "write -q -P 7 0 4M", image)
        harness.lose_cluster(image, 3 * CLUSTER)
        out, raw = self.folder / "out.qcow2", self.folder / "out.raw"
        told = outcome(VDISK, "export", image, raw)
        self.assertEqual(told[0], 1)
        self.assertEqual(outcome(VDISK, "export", "-O", "qcow2", image, out), told)
        self.check(out)
        run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, out)

    def test_a_disk_larger_than_qemu_would_open_is_refused(self):
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", self.folder / "large.qcow2", 2**51 + 512)
        status, _, said = outcome(VDISK, "export", "-O", "qcow2", self.folder / "large.qcow2", self.folder / "out.qcow2")
        self.assertEqual(status, 2)
        self.assertIn(f"the disk has {2**51 + 512} bytes, and a qcow2 image here at most {2**51}", said)
        self.assertFalse((self.folder / "out.qcow2").exists())

    def test_what_makes_no_sense_is_refused_and_leaves_nothing(self):
        raw = self.folder / "disk.raw"
        raw.write_bytes(self.random_bytes(MIB))
        for words, said in ((["-O", "qcow2", raw, "-"], "out of order"), (["--compression", "zstd", raw, self.folder / "x"], "-O qcow2"),
                            (["-O", "qcow2", "--continue", raw, self.folder / "x"], "exclude"), (["-O", "vhd", raw, self.folder / "x"], "one of: raw, qcow2")):
            status, out, error = outcome(VDISK, "export", *words)
            self.assertEqual((status, out, error.count("\n")), (2, b"", 1), error)
            self.assertIn(said, error)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["disk.raw"])


@unittest.skipUnless(harness.have("ewfacquirestream") and harness.have("ewfverify"), "ewf-tools are missing")
class E01(ExportTest):
    def test_a_pipe_makes_an_e01_with_case_data_and_the_same_hashes(self):
        raw = self.raw_disk(8 * MIB)
        run("qemu-img", "convert", "-O", "qcow2", "-c", raw, self.folder / "disk.qcow2")
        command = (f"set -o pipefail; {VDISK} export --hash md5,sha256 disk.qcow2 - 2>hashes.txt | "
                   "ewfacquirestream -q -t disk -c fast -d sha256 -C case-7 -E item-1 -e Examiner -D 'disk of vm' -N none")
        done = subprocess.run(["bash", "-c", command], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout)
        hashes = dict(re.findall(r"^(MD5|SHA256) \(-\) = (\w+)$", (self.folder / "hashes.txt").read_text(), re.MULTILINE))
        self.assertEqual(hashes["SHA256"], sha256_file(raw))
        info = run("ewfinfo", "disk.E01", cwd=self.folder).decode()
        for word in ("case-7", "item-1", "Examiner", "disk of vm", hashes["MD5"], str(raw.stat().st_size)):
            self.assertIn(word, info)
        verified = run("ewfverify", "-q", "-d", "sha256", "disk.E01", cwd=self.folder).decode()
        self.assertIn("SUCCESS", verified)
        self.assertIn(hashes["SHA256"], verified)
        # Not by img_cat: Debian 13's crashes with any E01.
        run("ewfexport", "-q", "-u", "-f", "raw", "-t", "back", "disk.E01", cwd=self.folder)
        self.assertEqual((self.folder / "back.raw").read_bytes(), raw.read_bytes())


if __name__ == "__main__":
    harness.main()
