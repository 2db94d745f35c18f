#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The package vdisk, and examples/*.py with Debian's python3-tsk, on a file system that mke2fs made inside a qcow2."""
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
        self.environment = dict(os.environ, LD_LIBRARY_PATH=str(LIBRARIES), PYTHONPATH=str(harness.SOURCE / "python"), LC_ALL="C.UTF-8",
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
        harness.lose_cluster(self.image, int(blocks[len(blocks) // 2]) * KIB)
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
file.close()
assert vdisk.ls(sys.argv[1])[0].size == disk.size and vdisk.identify(sys.argv[1]) == "qcow2"
extents = list(disk.extents())
assert extents[0].offset == 0 and sum(extent.length for extent in extents) == disk.size
assert {extent.kind for extent in extents} == {vdisk.STORED, vdisk.ZERO}
assert disk.read_at(disk.size - 1, 5) == disk.read_at(disk.size - 1, 1) and disk.read_at(disk.size, 5) == b""
sys.stdout.buffer.write(b"".join(disk.read_at(at, 100_000) for at in range(0, disk.size, 100_000)))
"""
        self.assertEqual(run(sys.executable, "-c", script, self.image, env=self.environment), expected)

    def test_an_error_of_the_library_is_an_exception_with_its_text(self):
        script = "import vdisk\ntry: vdisk.open('/nonexistent')\nexcept OSError as error: print(type(error).__name__, error)"
        self.assertIn(b"Error /nonexistent: ", run(sys.executable, "-c", script, env=self.environment))

    def script(self, text, *arguments, python=sys.executable):
        """What a script prints that ends as it should. It has the package, the image's path and what a disk's bytes must be."""
        before = "import io, os, pathlib, shutil, sys, threading, vdisk\nimage, expected = sys.argv[1], pathlib.Path(sys.argv[2]).read_bytes()\n"
        return run(python, "-W", "error", "-c", before + text, self.image, self.raw, *arguments, env=self.environment).decode()

    def test_a_disk_is_a_file_object_as_others_are(self):
        self.script("""
with vdisk.open(image) as disk:
    assert isinstance(disk, io.RawIOBase) and disk.readable() and disk.seekable() and not disk.writable()
    copy = io.BytesIO()
    shutil.copyfileobj(disk, copy)
    assert copy.getvalue() == expected and disk.tell() == disk.size == len(expected)
    assert disk.read(10) == b"" and disk.seek(-5, os.SEEK_END) == disk.size - 5 and disk.read(10) == expected[-5:]
    assert disk.seek(1024) == 1024 and disk.seek(56, os.SEEK_CUR) == 1080 and disk.read(2) == b"\\x53\\xef"
    buffer = bytearray(3000)
    assert disk.seek(7) == 7 and disk.readinto(memoryview(buffer)[1000:2000]) == 1000
    assert buffer[1000:2000] == expected[7:1007] and not any(buffer[:1000]) and not any(buffer[2000:])
    assert disk.seek(disk.size + 1) and disk.read() == b"" and disk.seek(0) == 0 and disk.read() == expected
    for wrong in (lambda: disk.seek(-1), lambda: disk.seek(0, 9), lambda: disk.read_at(-1, 1), lambda: disk.read_at(0, -1)):
        try: wrong()
        except ValueError: pass
        else: raise AssertionError
with io.BufferedReader(vdisk.open(image), 4096) as buffered:
    assert buffered.read(100) == expected[:100] and buffered.peek(1) and buffered.seek(5000) and buffered.read(7000) == expected[5000:12000]
try: disk.read(1)
except ValueError: pass
else: raise AssertionError
""")

    def test_threads_read_one_disk(self):
        self.script("""
disk, wrong = vdisk.open(image), []
def check(step):
    for at in range(0, disk.size, step):
        if disk.read_at(at, step) != expected[at:at + step]: wrong.append(at)
threads = [threading.Thread(target=check, args=(step,)) for step in (99_991, 65_536, 300_007, 4_093 * 16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not wrong
""")

    def test_an_image_in_a_file_object(self):
        child = self.folder / "child.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "disk.qcow2", "-F", "qcow2", child)
        self.script("""
data = pathlib.Path(image).read_bytes()
with vdisk.open(io.BytesIO(data)) as disk:
    assert disk.read() == expected
class Inside(io.RawIOBase):  # an image that lies at an offset of something else, and gives short pieces
    position = 0
    def seek(self, offset, whence=0): self.position = offset + (len(data) if whence == 2 else 0); return self.position
    def read(self, count=-1): return data[self.position:self.position + min(count, 1000)]
class Moving(Inside):
    def read(self, count=-1):
        piece = super().read(count); self.position += len(piece); return piece
assert vdisk.open(Moving()).read() == expected and vdisk.identify(Moving()) == "qcow2"
with vdisk.open(open(image, "rb")) as outer, vdisk.open(outer, format="raw") as inner:  # a disk is a file object too
    assert inner.read() == expected
threads = [threading.Thread(target=lambda: vdisk.open(io.BytesIO(data)).read() == expected or wrong.append(1)) for _ in range(3)]
wrong = []
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not wrong
with open(sys.argv[3], "rb") as child:  # what an image names is not looked for
    try: vdisk.open(child)
    except vdisk.Error as error: assert "disk.qcow2" in str(error) and "child.qcow2" in str(error), error
    else: raise AssertionError
with open(sys.argv[3], "rb") as child:
    assert vdisk.open(child, selector="backing=" + image).read() == expected
for wrong in (dict(selector="nonsense=1"), dict(selector="no-such-snapshot")):
    try: vdisk.open(io.BytesIO(data), name="my image", **wrong)
    except vdisk.Error as error: assert str(error).startswith("my image: "), error
    else: raise AssertionError
""", child)

    def test_a_file_object_that_fails_is_the_cause_of_the_error(self):
        self.script("""
class Failing(io.BytesIO):
    broken = None
    def read(self, count=-1):
        if self.broken: raise self.broken
        return super().read(count)
file = Failing(pathlib.Path(image).read_bytes())
disk = vdisk.open(file, name="evidence.E01")
for broken in (ValueError("bad sector"), KeyboardInterrupt()):
    file.broken = broken
    try: disk.read_at(0, 4096)
    except vdisk.Error as error: assert error.__cause__ is broken and "evidence.E01" in str(error), error
    else: raise AssertionError
file.broken = None
assert disk.read_at(0, 4096) == expected[:4096]
short = Failing(file.getvalue()[:200_000])
short.seek = lambda offset, whence=0, own=short.seek: 10_000_000 if whence == 2 else own(offset, whence)
disk = vdisk.open(short)
try: disk.read_at(0, disk.size)
except vdisk.Error as error: assert "the program gave" in str(error), error
else: raise AssertionError
""")

    def test_identify_tells_of_a_file_that_can_not_be_opened(self):
        broken = self.folder / "broken"
        broken.write_bytes(self.image.read_bytes()[:80])
        self.script("""
damaged = pathlib.Path(sys.argv[3]).read_bytes()
assert vdisk.identify(sys.argv[3]) == "qcow2" == vdisk.identify(io.BytesIO(damaged))
assert vdisk.identify(sys.argv[2]) is None and vdisk.identify(io.BytesIO(expected)) is None and vdisk.identify(io.BytesIO()) is None
for wrong in (lambda: vdisk.open(sys.argv[3]), lambda: vdisk.identify("/nonexistent"), lambda: vdisk.open(io.BytesIO(expected)), lambda: vdisk.ls("/nonexistent")):
    try: wrong()
    except vdisk.Error: pass
    else: raise AssertionError
assert vdisk.open(io.BytesIO(expected), format="raw").read() == expected
assert vdisk.open(io.BytesIO(expected), name="disk.dd").read() == expected  # its name says so
""", broken)

    @unittest.skipUnless(PYTHON, "needs python3-tsk")
    def test_img_info_is_pytsk3s(self):
        self.script("""
assert "pytsk3" not in sys.modules
import pytsk3
data = pathlib.Path(image).read_bytes()
for made in (vdisk.tsk.Img_Info(image), vdisk.tsk.Img_Info(io.BytesIO(data)), vdisk.tsk.Img_Info(vdisk.open(image))):
    assert isinstance(made, pytsk3.Img_Info) and made.get_size() == len(expected)
    filesystem = pytsk3.FS_Info(made)  # which its files need and do not keep
    file = filesystem.open("/short")
    assert file.read_random(0, 10) == b"hello\\n"
""", python=PYTHON)


if __name__ == "__main__":
    harness.main()
