#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""examples/*.py with Debian's python3-tsk, on a file system that mke2fs made inside a qcow2."""
import os
import subprocess
import sys
import unittest

import harness
from harness import outcome, run

KIB, MIB = 1 << 10, 1 << 20
CLUSTER = 64 * KIB
EXAMPLES = harness.SOURCE / "examples"
LIBRARIES = harness.BUILD / "lib" / ".libs"


def python_with_pytsk3():
    """Debian's module is for Debian's Python, which need not be the first one in PATH."""
    for python in ("/usr/bin/python3", sys.executable):
        if os.path.exists(python) and subprocess.run([python, "-c", "import pytsk3"], stderr=subprocess.DEVNULL).returncode == 0:
            return python
    return None


PYTHON = python_with_pytsk3()


@unittest.skipUnless(harness.have("mke2fs"), "needs e2fsprogs")
class PythonExample(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.environment = dict(os.environ, LD_LIBRARY_PATH=str(LIBRARIES), PYTHONPATH=str(EXAMPLES), LC_ALL="C.UTF-8",
                                **harness.preloaded_sanitizers(LIBRARIES / "libvdisk.so"))
        tree = self.folder / "tree"
        (tree / "folder").mkdir(parents=True)
        self.content = self.random_bytes(5 * CLUSTER)
        (tree / "short").write_bytes(b"hello\n")
        (tree / "folder" / "long").write_bytes(self.content)
        self.raw, self.image = self.folder / "disk.raw", self.folder / "disk.qcow2"
        run("mke2fs", "-q", "-t", "ext4", "-b", 1024, "-d", tree, self.raw, "8M")
        run("qemu-img", "convert", "-O", "qcow2", self.raw, self.image)

    def list_files(self, *arguments):
        return outcome(PYTHON, EXAMPLES / "list_files.py", *arguments, env=self.environment)

    def damage_cluster(self, guest):
        """Makes the L2 entry of the cluster at disk offset `guest` point past the end of the file."""
        with open(self.image, "r+b") as file:
            file.seek(40)
            file.seek(int.from_bytes(file.read(8), "big"))
            l2_table = int.from_bytes(file.read(8), "big") & 0x00FFFFFFFFFFFE00
            file.seek(l2_table + guest // CLUSTER * 8)
            file.write((1 << 50).to_bytes(8, "big"))

    @unittest.skipUnless(PYTHON, "needs python3-tsk")
    def test_lists_the_file_system_and_reads_a_file(self):
        status, listed, errors = self.list_files(self.image)
        self.assertEqual(status, 0, errors)
        files = {path: int(size) for _, size, path in (line.split("\t") for line in listed.decode().splitlines())}
        self.assertEqual(files["short"], 6)
        self.assertEqual(files["folder/long"], len(self.content))
        self.assertEqual(self.list_files(self.image, "--cat", "/folder/long")[1], self.content)

    @unittest.skipUnless(PYTHON, "needs python3-tsk")
    def test_a_damaged_cluster_is_an_error_for_the_files_in_it_alone(self):
        blocks = run("debugfs", "-R", "blocks /folder/long", self.raw).split()
        self.damage_cluster(int(blocks[len(blocks) // 2]) * KIB)
        status, content, errors = self.list_files("--type", "ext", self.image, "--cat", "/folder/long")
        self.assertNotEqual(status, 0)
        self.assertTrue(content and self.content.startswith(content), "bytes that the file does not have")
        self.assertIn("disk.qcow2", errors)
        status, content, errors = self.list_files("--type", "ext", self.image, "--cat", "/short")
        self.assertEqual((status, content), (0, b"hello\n"), errors[-3000:])

    def test_the_module_reads_lists_and_maps(self):
        expected = self.raw.read_bytes()
        script = """
import sys, vdisk
file = vdisk.File(sys.argv[1])
assert (file.format, len(file.disks), file.selected) == ("qcow2", 1, 0)
assert file.disks[0].size == 8 << 20 and "8 MiB" in file.disks[0].description and file.disks[0].kind == vdisk.ACTIVE
disk = file.open_disk(0)
file.close()
extents = list(disk.extents())
assert extents[0].offset == 0 and sum(extent.length for extent in extents) == disk.size
assert {extent.kind for extent in extents} == {vdisk.STORED, vdisk.ZERO}
assert disk.read(disk.size - 1, 5) == disk.read(disk.size - 1, 1) and disk.read(disk.size, 5) == b""
sys.stdout.buffer.write(b"".join(disk.read(at, 100_000) for at in range(0, disk.size, 100_000)))
"""
        self.assertEqual(run(sys.executable, "-c", script, self.image, env=self.environment), expected)

    def test_an_error_of_the_library_is_an_exception_with_its_text(self):
        script = "import vdisk\ntry: vdisk.open('/nonexistent')\nexcept OSError as error: print(type(error).__name__, error)"
        self.assertIn(b"Error /nonexistent: ", run(sys.executable, "-c", script, env=self.environment))


if __name__ == "__main__":
    harness.main()
