#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`vdisk hash` and `vdisk export --hash` beside Python's hashlib on the raw disk; what VDISK_STATS tells."""
import hashlib
import json
import os
import re
import subprocess
import struct

import harness
from harness import VDISK, outcome, run

KIB, MIB = 1 << 10, 1 << 20
NAMES = {"md5": "md5", "sha1": "sha1", "sha256": "sha256", "sha512": "sha512", "sha3-256": "sha3_256", "blake2b512": "blake2b"}


class DiskHashes(harness.FolderTest):
    def setUp(self):
        super().setUp()
        # Text, noise, a hole, and a size that is no multiple of a cluster or of what is read at once.
        self.content = b"a line of text\n" * 100_000 + self.random_bytes(3 * MIB) + bytes(5 * MIB) + self.random_bytes(700 * KIB + 512)
        self.content += bytes(-len(self.content) % 512)
        self.raw = self.folder / "content.raw"
        self.raw.write_bytes(self.content)
        self.image = self.folder / "disk.qcow2"
        run("qemu-img", "convert", "-c", "-O", "qcow2", self.raw, self.image)

    def lines(self, name, algorithms, content=None):
        digests = [(word, hashlib.new(NAMES[word], self.content if content is None else content).hexdigest()) for word in algorithms]
        return "".join(f"{word.upper()} ({name}) = {digest}\n" for word, digest in digests)

    def disk_lines(self, name, algorithms, content=None):
        return self.lines(f"virtual disk of {name}", algorithms, content)

    def spoil(self):
        """Makes the cluster at 2 MiB one that lies past the end of the file; returns the content with zeros there."""
        plain = self.folder / "spoilt.qcow2"
        run("qemu-img", "convert", "-O", "qcow2", self.raw, plain)
        with open(plain, "r+b") as file:
            file.seek(40)
            file.seek(struct.unpack(">Q", file.read(8))[0])
            l2_table = struct.unpack(">Q", file.read(8))[0] & 0x00FFFFFFFFFFFE00
            file.seek(l2_table + 2 * MIB // 65536 * 8)
            file.write(struct.pack(">Q", 1 << 63 | 1 << 40))
        return plain, self.content[:2 * MIB] + bytes(65536) + self.content[2 * MIB + 65536:]

    def test_hashes_are_those_of_the_disk(self):
        self.assertEqual(run(VDISK, "hash", self.image).decode(), self.disk_lines(self.image, ["md5", "sha1", "sha256"]))

    def test_each_algorithm(self):
        self.assertEqual(run(VDISK, "hash", "-a", ",".join(NAMES), self.image).decode(), self.disk_lines(self.image, NAMES))

    def test_json(self):
        told = json.loads(run(VDISK, "hash", "--json", "-a", "sha256", self.image))
        self.assertEqual(told, {"vdisk_json": 1, "image": str(self.image), "size": len(self.content), "hashes": {"sha256": hashlib.sha256(self.content).hexdigest()}})

    def test_an_empty_and_a_huge_empty_disk(self):
        for size, words in (("0", b""), ("300M", bytes(300 * MIB))):
            empty = self.folder / f"{size}.qcow2"
            run("qemu-img", "create", "-q", "-f", "qcow2", empty, size)
            self.assertEqual(run(VDISK, "hash", "-a", "md5", empty).decode(), self.disk_lines(empty, ["md5"], words))

    def test_what_can_not_be_read_has_no_hash_unless_asked_for(self):
        image, zeroed = self.spoil()
        status, out, error = outcome(VDISK, "hash", image)
        self.assertEqual((status, out), (1, b""))
        self.assertRegex(error, r"disk offset 2097152, 65536 bytes can't be read and have no hash: .*spoilt\.qcow2")
        status, out, error = outcome(VDISK, "hash", "--lost-as-zeros", "-a", "sha1", image)
        self.assertEqual((status, out.decode()), (1, self.disk_lines(image, ["sha1"], zeroed)))
        self.assertIn("count as zeros", error)
        told = json.loads(outcome(VDISK, "hash", "--lost-as-zeros", "--json", image)[1])
        self.assertEqual([(lost["offset"], lost["length"]) for lost in told["lost"]], [(2 * MIB, 65536)])
        self.assertEqual(told["hashes"]["md5"], hashlib.md5(zeroed).hexdigest())
        told = json.loads(outcome(VDISK, "hash", "--json", image)[1])
        self.assertEqual((told["size"], "hashes" in told, len(told["lost"])), (len(self.content), False, 1))

    def test_no_program_takes_a_disks_hash_for_its_containers(self):
        disk = run(VDISK, "hash", "-a", "sha256", "disk.qcow2", cwd=self.folder)
        (self.folder / "case").write_bytes(disk)
        status, out, _ = outcome("sha256sum", "-c", "case", cwd=self.folder)
        self.assertEqual((status, b": OK" in out), (1, False))
        both = run(VDISK, "hash", "-a", "sha256", "--container", "disk.qcow2", cwd=self.folder).decode()
        self.assertEqual(both, disk.decode() + f"SHA256 (disk.qcow2) = {hashlib.sha256(self.image.read_bytes()).hexdigest()}\n")
        (self.folder / "case").write_text(both.splitlines()[1] + "\n")
        self.assertEqual(run("sha256sum", "-c", "case", cwd=self.folder), b"disk.qcow2: OK\n")
        told = json.loads(run(VDISK, "hash", "--json", "--container", self.image))
        self.assertEqual(told["container"]["hashes"]["md5"], hashlib.md5(self.image.read_bytes()).hexdigest())
        self.assertEqual(told["container"]["size"], self.image.stat().st_size)

    def test_several_images(self):
        names = ["disk.qcow2", "missing.qcow2", "disk.qcow2"]
        status, out, error = outcome(VDISK, "hash", "-a", "sha1", *names, cwd=self.folder)
        self.assertEqual((status, out.decode()), (1, 2 * self.disk_lines("disk.qcow2", ["sha1"])))
        self.assertEqual(error, "vdisk: missing.qcow2: No such file or directory\n")
        rows = [json.loads(line) for line in outcome(VDISK, "hash", "--json", *names, cwd=self.folder)[1].splitlines()]
        self.assertEqual([row["hashes"]["md5"] for row in rows], 2 * [hashlib.md5(self.content).hexdigest()])
        self.assertEqual(outcome(VDISK, "hash", "missing", "missing", cwd=self.folder)[0], 2)

    def test_a_list_of_hashes_is_checked(self):
        listed = run(VDISK, "hash", "--container", "disk.qcow2", cwd=self.folder)
        (self.folder / "case").write_bytes(listed)
        out = run(VDISK, "hash", "--check", "case", cwd=self.folder).decode().splitlines()
        self.assertEqual(len(out), 6)
        self.assertEqual(out[2], "virtual disk of disk.qcow2 (sha256): OK")
        self.assertEqual(out[5], "disk.qcow2 (sha256): OK")
        self.assertEqual(run(VDISK, "hash", "--check", "-", stdin=listed, cwd=self.folder).decode().splitlines(), out)
        (self.folder / "case").write_text(listed.decode().splitlines()[0].replace("= ", "= 0") + "\nno hash\nMD5 (gone) = 00\n")
        status, out, error = outcome(VDISK, "hash", "--check", "case", cwd=self.folder)
        self.assertEqual((status, out.decode().splitlines()), (1, ["virtual disk of disk.qcow2 (md5): FAILED", "gone (md5): FAILED: could not be read"]))
        self.assertIn("vdisk: warning: case: line 2 is no hash: no hash\n", error)
        self.assertIn("vdisk: warning: case: 2 of 2 hashes do not match\n", error)
        told = json.loads(outcome(VDISK, "hash", "--check", "--json", "case", cwd=self.folder)[1])
        self.assertEqual([row["result"] for row in told["checks"]], ["different", "unreadable"])
        (self.folder / "case").write_text("nothing\n")
        self.assertEqual(outcome(VDISK, "hash", "--check", "case", cwd=self.folder)[0], 2)

    def test_export_hashes_what_it_writes(self):
        out = self.folder / "out.raw"
        self.assertEqual(run(VDISK, "export", "--hash", "md5,sha256", self.image, out).decode(), self.lines(out, ["md5", "sha256"]))
        self.assert_same_file(out, self.raw)
        self.assertEqual(run(VDISK, "export", "--hash", "sha1", self.image, out, "--force").decode(), self.lines(out, ["sha1"]))
        status, written, error = outcome(VDISK, "export", "--hash", "sha256", self.image, "-")
        self.assertEqual((status, written, error), (0, self.content, self.lines("-", ["sha256"])))

    def test_export_of_a_damaged_disk_hashes_what_it_writes(self):
        image, zeroed = self.spoil()
        out = self.folder / "out.raw"
        status, told, error = outcome(VDISK, "export", "--hash", "sha256", image, out)
        self.assertEqual((status, told.decode()), (1, self.lines(out, ["sha256"], zeroed)))
        self.assertEqual(out.read_bytes(), zeroed)
        self.assertIn("65536 bytes can't be read", error)

    def test_a_disk_that_a_stream_has_lost_is_one_range_however_long_it_is(self):
        # A zstd frame that says it has a TiB, and is cut off behind its first block.
        size = 1 << 40
        stream = self.folder / "disk.raw.zst"
        stream.write_bytes(struct.pack("<IBBQ", 0xFD2FB528, 0xC0, 0x58, size) + struct.pack("<I", 4 << 3)[:3] + b"ABCD\x15")
        out = self.folder / "out.raw"
        for command in ([VDISK, "export", stream, out], [VDISK, "hash", stream]):
            status, _, errors = outcome(*command, timeout=60)
            # The stream's damage is told when it is opened, then the range once.
            self.assertEqual((status, len(errors.splitlines())), (1, 2), errors[:1000])
            damage, lost = errors.splitlines()
            self.assertRegex(damage, r"^vdisk: warning: .*disk\.raw\.zst: the stream is cut off at 22 of its compressed bytes")
            self.assertRegex(lost, r"^vdisk: warning: disk offset \d+, \d+ bytes can't be read")
        self.assertEqual(out.stat().st_size, size)
        self.assertLess(out.stat().st_blocks, 1000)

    def test_a_full_output_ends_the_export(self):
        status, out, error = outcome(VDISK, "export", "--force", "--hash", "md5", self.image, "/dev/full")
        self.assertEqual((status, out), (2, b""))
        self.assertRegex(error, r"\Avdisk: /dev/full: writing: No space left on device\n\Z")

    def test_an_unknown_algorithm_is_refused(self):
        status, out, error = outcome(VDISK, "hash", "-a", "sha257", self.image)
        self.assertEqual((status, out), (2, b""))
        self.assertIn("sha257", error)

    def test_statistics(self):
        status, _, error = outcome(VDISK, "hash", self.image, env=dict(os.environ, VDISK_STATS="1"))
        self.assertEqual(status, 0, error)
        told = {key: [int(number) for number in re.findall(r"\d+", values)] for key, values in re.findall(r"^vdisk: (.*?): (.*)$", error, re.MULTILINE)}
        self.assertIn(f"vdisk: statistics of {self.image}:\n", error)
        self.assertEqual([line for line in error.splitlines() if not line.startswith("vdisk: ")], [])
        _, read = told["reads"]
        data = len(self.content) - 5 * MIB
        self.assertTrue(data <= read <= data + 4 * 65536, error)
        stored, packed, _ = told["bytes read from files"]
        self.assertTrue(0 < packed < self.image.stat().st_size, error)
        # Each cluster with text or with noise beside zeros was expanded, once; those of noise alone are stored as they are.
        self.assertEqual(told["clusters expanded"][0], -(-1_500_000 // 65536) + 3, error)
        self.assertLess(stored, data, error)
        self.assertEqual(outcome(VDISK, "hash", self.image)[2], "")

    def test_statistics_of_a_compressed_stream(self):
        run("zstd", "-q", self.raw)
        error = outcome(VDISK, "hash", f"{self.raw}.zst", env=dict(os.environ, VDISK_STATS="1"))[2]
        self.assertRegex(error, r"(?m)^vdisk: compressed stream .*content\.raw\.zst: \d+ bytes decoded, \d+ times ahead of the reader, index of \d+ segments made now$")

    def test_statistics_are_never_written_into_the_image(self):
        before = self.image.read_bytes()
        with open(self.image, "ab") as image:
            subprocess.run([VDISK, "hash", self.image], env=dict(os.environ, VDISK_STATS="1"), stdout=subprocess.DEVNULL, stderr=image, check=True)
        self.assertEqual(self.image.read_bytes(), before)

    def test_a_word_that_means_nothing_is_refused(self):
        status, _, error = outcome(VDISK, "hash", self.image, env=dict(os.environ, VDISK_STATS="yes"))
        self.assertEqual((status, error), (2, "vdisk: VDISK_STATS is 'yes', but can be 1 or 0\n"))


if __name__ == "__main__":
    harness.main()
