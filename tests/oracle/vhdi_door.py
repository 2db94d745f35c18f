#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What stands in libvhdi's place: Debian's fls of type vhd through it, programs that carry a Sleuth Kit of their own (python3-tsk,
pstat), The Sleuth Kit's calls from a program of our own, and what it exports."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

import harness
import tsk
import vdi_builder
import vma_writer
from harness import BUILD, outcome, run
from tsk import MIB

CALLS = tsk.PROGRAMS / "vhdi_calls"
HEADER = harness.SOURCE / "vhdi_door" / "exports.h"


def setUpModule():
    tsk.require_plugin()
    if tsk.sanitized():
        raise unittest.SkipTest("a sanitized plugin can't be loaded into programs of others by a library that is not")


def python_with(module):
    """Debian's modules are for Debian's Python, which need not be the first one in PATH."""
    for python in ("/usr/bin/python3", sys.executable):
        if os.path.exists(python) and subprocess.run([python, "-c", f"import {module}"], stderr=subprocess.DEVNULL).returncode == 0:
            return python
    return None


PYTHON, PYVHDI = python_with("pytsk3"), python_with("pyvhdi")
LIST = """
import pytsk3, sys
image = pytsk3.Img_Info(sys.argv[1])
filesystem = pytsk3.FS_Info(image, offset=int(sys.argv[2]))
folder = filesystem.open_dir(sys.argv[3])
for entry in folder:
    if entry.info.meta is not None: print(entry.info.meta.addr, entry.info.meta.size, entry.info.name.name.decode())
"""


class Door(tsk.TreeTest):
    FILES = 20

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        part, cls.raw = cls.folder / "part", cls.folder / "disk.raw"
        tsk.make_ext4(part, 8 * MIB, cls.tree, "-b", 1024)
        tsk.make_disk(cls.raw, [part])
        cls.images = cls.make_images()
        cls.libraries = cls.folder / "libraries"  # where the loader finds the door in libvhdi's place
        cls.libraries.mkdir()
        cls.door = cls.libraries / "libvhdi.so.1"
        shutil.copy(tsk.DOOR, cls.door)
        (cls.libraries / "libtsk_vdisk.so").symlink_to(tsk.PLUGIN)
        cls.environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        cls.environment.update(LD_LIBRARY_PATH=cls.found_in(cls.libraries), VDISK_CACHE_DIR="none")

    @staticmethod
    def found_in(folder):
        """What has the loader look into a folder first."""
        return os.pathsep.join(filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH")]))

    @classmethod
    def make_images(cls):
        """{name: path, perhaps with a selector} of the same disk."""
        images = {}
        for kind in ("qcow2", "qcow", "qed", "parallels", "vmdk"):
            images[kind] = cls.folder / f"disk.{kind}"
            run("qemu-img", "convert", "-O", kind, cls.raw, images[kind])
        images["vhd"], images["vhdx"] = cls.folder / "disk.vhd", cls.folder / "disk.vhdx"
        run("qemu-img", "convert", "-O", "vpc", "-o", "force_size=on", cls.raw, images["vhd"])
        run("qemu-img", "convert", "-O", "vhdx", "-o", "block_size=1M", cls.raw, images["vhdx"])
        data = cls.raw.read_bytes()
        disk = vdi_builder.Vdi(len(data))
        disk.write_disk(data)
        images["vdi"] = cls.folder / "disk.vdi"
        disk.save(images["vdi"])
        archive = cls.folder / "two.vma"
        vma_writer.write(archive, [("drive-scsi0", cls.raw), ("drive-scsi1", cls.raw)])
        images["a disk of an archive"] = f"{archive}#drive-scsi1"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "disk.qcow2", "-F", "qcow2", cls.folder / "child.qcow2")
        images["a chain"] = cls.folder / "child.qcow2"
        written = run(harness.VDISK, "ref", "--directory", cls.folder, f"{archive}#drive-scsi0").decode().strip()
        images["a reference file"] = pathlib.Path(written)
        images["said to be raw"] = f"{cls.raw}#format=raw"
        images["vmdk"] = f"{images['vmdk']}#format=vmdk"  # by its plain name it is libvmdk's
        return images

    def calls(self, *words):
        """What the calls said, which must have gone as they should."""
        status, said, errors = outcome(CALLS, self.door, *words, env=self.environment)
        self.assertEqual((status, errors), (0, ""), said)
        return said.decode()

    def through_door(self, *command, **environment):
        return outcome(*command, env={**self.environment, **environment})

    def test_every_byte_from_two_threads(self):
        for name, image in self.images.items():
            with self.subTest(image=name):
                self.calls("read", image, self.raw)

    def test_debians_programs_of_type_vhd_and_by_detection(self):
        expected = {command: run(command, *more, self.raw) for command, *more in (["mmls"], ["fls", "-r", "-p", "-o", tsk.PART])}
        for name, image in self.images.items():
            for kind in (["-i", "vhd"], []):
                if name == "said to be raw" and not kind:
                    continue
                with self.subTest(image=name, kind=kind):
                    self.assertEqual(self.through_door("mmls", *kind, image), (0, expected["mmls"], ""))
                    self.assertEqual(self.through_door("fls", "-r", "-p", "-o", tsk.PART, *kind, image), (0, expected["fls"], ""))
                    self.assertEqual(self.through_door("img_stat", "-t", *kind, image)[:2], (0, b"vhd\n"))

    @unittest.skipUnless(PYTHON, "needs python3-tsk")
    def test_a_sleuth_kit_inside_of_pytsk3(self):
        listed = [tsk.PART * 512, "/" + next(iter(self.files)).rpartition("/")[0]]
        expected = run(PYTHON, "-c", LIST, self.raw, *listed)
        self.assertIn(b".bin", expected)
        for name in ("qcow2", "vdi", "vhdx", "a reference file"):
            with self.subTest(image=name):
                self.assertEqual(self.through_door(PYTHON, "-c", LIST, self.images[name], *listed), (0, expected, ""))
        launcher = {"TSK_VDISK_LIBDIR": str(self.launched())}
        command = [BUILD / "tools" / "tsk-vdisk", "run", PYTHON, "-c", LIST, self.images["qcow2"], *listed]
        self.assertEqual(run(*command, env={**os.environ, **launcher}), expected)

    def launched(self):
        """A folder as `make install` makes it, for the launcher."""
        folder = self.folder / "installed"
        if not folder.exists():
            folder.mkdir()
            shutil.copy(tsk.DOOR, folder)
            shutil.copy(tsk.PLUGIN, folder)
        return folder

    @unittest.skipUnless(PYVHDI, "needs python3-libvhdi")
    def test_libvhdis_own_module(self):
        script = """
import pyvhdi, sys
raw = open(sys.argv[-1], "rb").read()
for image in sys.argv[1:-1]:
    file = pyvhdi.file()
    assert pyvhdi.check_file_signature(image)
    file.open(image)
    assert file.get_media_size() == len(raw) and file.read_buffer_at_offset(70_000, 1 << 20) == raw[1 << 20:(1 << 20) + 70_000]
    assert file.seek(-5, 2) is None and file.get_offset() == len(raw) - 5 and file.read(10) == raw[-5:]
    if image.endswith((".vhd", ".vhdx")):
        assert file.get_disk_type() in (2, 3) and len(file.get_identifier()) == 36 and file.get_bytes_per_sector() == 512, image
    assert file.get_parent_identifier() is None
    file.close()
    if image.endswith((".vhd", ".vhdx")):  # by a file object, the real libvhdi reads
        with open(image, "rb") as opened:
            assert pyvhdi.check_file_signature_file_object(opened)
            file = pyvhdi.open_file_object(opened)
            assert file.read_buffer_at_offset(70_000, 1 << 20) == raw[1 << 20:(1 << 20) + 70_000]
            file.close()
assert not pyvhdi.check_file_signature(sys.argv[-1])
for refused in (lambda: pyvhdi.open(sys.argv[-1]), lambda: pyvhdi.open(sys.argv[1]).get_identifier()):
    try: refused()
    except OSError as error: assert "disk." in str(error), error
    else: raise AssertionError
"""
        images = [self.images[name] for name in ("qcow2", "vdi", "vhd", "vhdx")]
        self.assertEqual(self.through_door(PYVHDI, "-c", script, *images, self.raw), (0, b"", ""))

    @unittest.skipUnless(harness.have("vhdiinfo"), "needs libvhdi-utils")
    def test_libvhdis_own_program(self):
        for image in (self.images["vhd"], self.images["vhdx"]):
            self.assertEqual(self.through_door("vhdiinfo", image), outcome("vhdiinfo", image))
        status, said, errors = self.through_door("vhdiinfo", self.images["qcow2"])
        self.assertEqual(status, 1)
        self.assertIn("is a qcow2 file", said.decode() + errors)
        self.assertEqual(self.through_door("vhdiinfo", self.raw)[0], 1)

    def test_a_file_that_is_surely_ours_opens_and_each_read_says_why_it_fails(self):
        broken = self.folder / "broken.qcow2"
        broken.write_bytes(self.images["qcow2"].read_bytes()[:72])
        child = self.folder / "orphan.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "gone.qcow2", "-F", "qcow2", child, "1M")
        lost = self.folder / "lost.vdisk"
        lost.write_text(self.images["a reference file"].read_text().replace("two.vma", "gone.vma"))
        archive = str(self.images["a disk of an archive"]).partition("#")[0]
        for image, words in ((broken, "broken.qcow2"), (child, "gone.qcow2"), (lost, "gone.vma"), (archive, "drive-scsi1"),
                             (f"{self.images['qcow2']}#no-such-snapshot", "no-such-snapshot")):
            with self.subTest(image=image):
                self.assertIn(words, self.calls("fails", image))
                status, said, errors = self.through_door("fls", image)
                self.assertEqual((status, said), (1, b""))
                self.assertIn(words, errors)

    def test_what_is_not_ours_is_refused_as_ever(self):
        text = self.folder / "text"
        text.write_bytes(b"no disk\n" * 1000)
        for image in (self.raw, text, self.folder / "gone", str(self.images["vmdk"]).partition("#")[0]):
            with self.subTest(image=image):
                self.assertIn(str(image), self.calls("refused", image))
        for command in (["mmls", self.raw], ["fls", "-o", tsk.PART, self.raw], ["fls", text], ["fls", "-i", "vhd", self.raw]):
            self.assertEqual(self.through_door(*command)[:2], outcome(*command)[:2])

    def test_a_vmdk_is_not_claimed_twice(self):
        image = str(self.images["vmdk"]).partition("#")[0]
        self.assertEqual(self.through_door("mmls", image), outcome("mmls", image))

    def test_every_function_on_nothing(self):
        self.assertEqual(len(self.calls("nothing").splitlines()), 4)

    def test_damage_is_told_once_and_is_an_error_for_its_range(self):
        lost = self.folder / "lost.qcow2"
        shutil.copy(self.images["qcow2"], lost)
        harness.lose_cluster(lost, MIB)  # where the partition begins
        status, said, errors = self.through_door("mmls", lost)
        self.assertEqual((status, said), (0, run("mmls", self.raw)))
        self.assertRegex(errors, r"\Atsk-vdisk: [^\n]*65536 bytes[^\n]* from disk offset 1048576 on: [^\n]*\n\Z")
        status, said, errors = self.through_door("fls", "-o", tsk.PART, lost)
        self.assertEqual((status, said), (1, b""))

    def test_without_the_plugin_the_real_libvhdi_serves(self):
        folder = self.folder / "alone"
        folder.mkdir()
        shutil.copy(tsk.DOOR, folder / "libvhdi.so.1")
        vhd = self.images["vhd"]
        expected = outcome("img_stat", vhd)
        for plugin in (None, b"", b"text"):
            if plugin is not None:
                (folder / "libtsk_vdisk.so").write_bytes(plugin)
            environment = {**self.environment, "LD_LIBRARY_PATH": self.found_in(folder)}
            self.assertEqual(outcome("img_stat", vhd, env=environment), expected)
            self.assertEqual(outcome("mmls", vhd, env=environment), outcome("mmls", vhd))
            status, said, errors = outcome(CALLS, folder / "libvhdi.so.1", "refused", self.images["qcow2"], env=environment)
            self.assertEqual((status, said != b""), (0, True), errors)
            self.assertRegex(errors, r"\Atsk-vdisk: virtual disks are not read: [^\n]*libtsk_vdisk\.so[^\n]*\n\Z")

    def test_exports_what_its_header_declares_and_nothing_else(self):
        declared = set(re.findall(r"\b(lib(?:vhdi|cerror)_\w+)\(", re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)))
        exported = {line.split()[2] for line in run("nm", "-D", "--defined-only", tsk.DOOR).decode().splitlines()}
        self.assertEqual(exported, declared)
        for user in ("/usr/lib/x86_64-linux-gnu/libtsk.so.19", "/usr/bin/pstat"):
            if os.path.exists(user):
                wanted = set(re.findall(r"\b(libvhdi_\w+)", run("nm", "-D", "--undefined-only", user).decode()))
                self.assertLessEqual(wanted, exported, user)
        needed = re.findall(r"\[(.*)\]", "\n".join(line for line in run("readelf", "-dW", tsk.DOOR).decode().splitlines() if "NEEDED" in line or "SONAME" in line))
        self.assertEqual(sorted(needed), ["libc.so.6", "libvhdi.so.1"])


if __name__ == "__main__":
    harness.main()
