#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fork() while threads read: the children go on reading, and close, whatever the threads were at. The bytes are compared with those
that the images were made of."""
import os
import pathlib
import subprocess
import sys
import time
import unittest

import harness
from harness import outcome, run

MIB = 1 << 20
PACKAGE = harness.SOURCE / "python"
LIBRARIES = harness.BUILD / "lib" / ".libs"
FORK_TEST = harness.BUILD / "tests" / "fork_test"
SIZE = 16 * MIB
ROUNDS = 25

POOL = """
import multiprocessing, sys, vdisk
disk = vdisk.open(sys.argv[1])
raw = open(sys.argv[2], "rb").read()
for at in range(0, 4 << 20, 1 << 16):
    assert disk.read_at(at, 1 << 16) == raw[at:at + (1 << 16)]

def differs(at):
    return disk.read_at(at, 1 << 18) != raw[at:at + (1 << 18)]

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(4) as pool:
        print(sum(pool.map(differs, range(0, disk.size, 1 << 18))), "differ")
"""


class ForkedChildren(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.environment = dict(os.environ, LD_LIBRARY_PATH=str(LIBRARIES), PYTHONPATH=str(PACKAGE), VDISK_CACHE_DIR="none")
        self.raw = self.folder / "disk.raw"
        words = [self.random_bytes(self.random.randrange(4, 40)) for _ in range(4000)]
        with open(self.raw, "wb") as file:
            while file.tell() < SIZE:
                file.write(b"".join(self.random.choices(words, k=20000)))
            file.truncate(SIZE)

    def qcow2(self, compression):
        image = self.folder / f"{compression}.qcow2"
        run("qemu-img", "convert", "-c", "-O", "qcow2", "-o", f"compression_type={compression}", self.raw, image)
        return image

    def stream(self, *command):
        image = self.folder / f"disk.raw.{command[0]}"
        with open(image, "wb") as out:
            subprocess.run([*command, "-c", self.raw], stdout=out, check=True)
        return image

    def check(self, *images):
        pairs = [word for image in images for word in (image, self.raw)]
        status, _, errors = outcome(FORK_TEST, ROUNDS, *pairs, env=self.environment, timeout=900)
        self.assertEqual(status, 0, errors[-4000:])

    def test_compressed_clusters(self):
        self.check(self.qcow2("zlib"), self.qcow2("zstd"))

    def test_streams(self):
        self.check(self.stream("zstd", "-3", "-T1"), self.stream("gzip", "-6"))

    def test_clusters_in_a_stream_with_an_index_that_is_kept(self):
        packed = self.folder / "disk.qcow2.zst"
        run("zstd", "-q", self.qcow2("zlib"), "-o", packed)
        time.sleep(0.2)  # or else nothing is kept
        self.environment["VDISK_CACHE_DIR"] = str(self.folder / "cache")
        self.check(packed)

    def test_workers_of_python_s_multiprocessing(self):
        image = self.qcow2("zlib")
        environment = {**self.environment, **harness.preloaded_sanitizers(LIBRARIES / "libvdisk.so")}
        script = self.folder / "pool.py"
        script.write_text(POOL)
        self.assertEqual(run(sys.executable, script, image, self.raw, env=environment, timeout=300), b"0 differ\n")


if __name__ == "__main__":
    harness.main()
