#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""HACKING.md's way of adding a format, followed to the letter: its listings are compiled, its row is put into the registry, and
the tool that comes out reads a disk."""
import os
import pathlib
import re
import shlex
import shutil
import struct
import unittest

import harness
from harness import BUILD, SOURCE, outcome, run

BLOCK = 4096


def listings():
    """{path: text} of the files that HACKING.md shows whole."""
    page = (SOURCE / "HACKING.md").read_text()
    return dict(re.findall(r"^`(lib/\S+)`:\n\n```cpp\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))


def registry_with(header, row):
    text = (SOURCE / "lib/open/registry.cpp").read_text()
    text = text.replace('#include "open/registry.hpp"\n', f'#include "open/registry.hpp"\n#include "{header}"\n', 1)
    return re.sub(r"(kFormats\{)", rf"\1&{row}, ", text, count=1)


def make_variable(*names):
    """What these variables of the Makefile are, as words of a command line."""
    shown = " ".join(f"$({name})" for name in names)
    said = run("env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", "-s", "-C", BUILD, f"--eval=tell-variables:; @echo '{shown}'", "tell-variables")
    return shlex.split(said.decode())


def toy(blocks, table, stored):
    """A toy disk: `table` as it is, and `stored` blocks from the second block of the file on."""
    head = b"TOYDISK\n" + struct.pack("<Q", blocks) + b"".join(struct.pack("<I", entry) for entry in table)
    return head.ljust(BLOCK, b"\0") + b"".join(stored)


class ToyFormat(harness.FolderTest):
    def test_the_page_makes_a_format(self):
        vdisk = self.build()
        first, second = self.random_bytes(BLOCK), self.random_bytes(BLOCK)
        image = self.folder / "a disk"
        image.write_bytes(toy(4, [2, 0, 1, 2], [first, second]))
        expected = second + bytes(BLOCK) + first + second
        self.assertIn(b"format: toy\nvirtual size: 16384 bytes", run(vdisk, "info", image))  # nobody said of which format it is
        self.assertEqual(run(vdisk, "export", image, "-"), expected)
        run("zstd", "-q", image)
        self.assertEqual(run(vdisk, "export", f"{image}.zst", "-"), expected)
        self.assertEqual(outcome(harness.VDISK, "info", image)[0], 2)  # which has no such format

        image.write_bytes(toy(4, [1, 9, 1, 0], [first]))
        status, exported, said = outcome(vdisk, "export", image, "-")
        self.assertEqual((status, exported), (1, first + bytes(BLOCK) + first + bytes(BLOCK)))
        self.assertRegex(said, r"disk offset 4096, 4096 bytes can't be read.*: table entry 1 is 9, past the end of the file")
        image.write_bytes(toy(1 << 40, [], []))
        status, _, said = outcome(vdisk, "info", image)
        self.assertEqual(status, 2)
        self.assertIn("blocks is 1099511627776, but the table ends with the file", said)
        status, _, said = outcome(vdisk, "info", "-f", "toy", harness.FIXTURES / "qcow2/demo.qcow2")
        self.assertEqual(status, 2)
        self.assertIn("is no toy disk", said)

    def test_what_was_forgotten_of_it_is_named(self):
        self.assertEqual(self.forgotten(SOURCE), [])
        tree = self.folder / "source"
        tree.mkdir()
        for path in SOURCE.iterdir():
            if path.name != "lib":
                (tree / path.name).symlink_to(path)
        shutil.copytree(SOURCE / "lib", tree / "lib")
        self.write_into(tree)
        told = self.forgotten(tree)
        for part in ("a unit test", "a comparison with other programs", "a fuzz target", "seeds", "hostile files", "the number", "a row", "an entry"):
            self.assertTrue(any(line.startswith("toy: ") and part in line for line in told), (part, told))
        self.assertIn("lib/format/toy/toy.cpp: is not in lib/format/Makemodule.am", told)

    def forgotten(self, tree):
        status, told, _ = outcome(SOURCE / "tests/formats.sh", env=dict(os.environ, abs_top_srcdir=str(tree)))
        lines = told.decode().splitlines()[:-1]
        self.assertEqual(status, 1 if lines else 0, told)
        return lines

    def write_into(self, tree):
        """The files of the page, and the registry with its row, below `tree`."""
        files = listings()
        self.assertEqual(sorted(files), ["lib/format/toy/toy.cpp", "lib/format/toy/toy.hpp"])
        files["lib/open/registry.cpp"] = registry_with("format/toy/toy.hpp", "kToyFormat")
        for name, text in files.items():
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return [name for name in files if name.endswith(".cpp")]

    def build(self):
        """`vdisk` with one more format, linked from the objects of this build."""
        if not list(BUILD.glob("tools/vdisk/vdisk-*.o")):
            raise unittest.SkipTest("vdisk was not built here")
        compiler = make_variable("CXX", "DEFS", "DEFAULT_INCLUDES", "INCLUDES", "AM_CPPFLAGS", "CPPFLAGS", "AM_CXXFLAGS", "CXXFLAGS")
        objects = [self.compiled(compiler, name) for name in self.write_into(self.folder)]
        objects += make_variable("vdisk_OBJECTS")
        vdisk = self.folder / "vdisk"
        linker = make_variable("CXXLD", "AM_CXXFLAGS", "CXXFLAGS", "AM_LDFLAGS", "LDFLAGS")
        run(BUILD / "libtool", "--silent", "--tag=CXX", "--mode=link", *linker, "-o", vdisk, *objects, "tools/libcommon.la", "lib/libvdisk_all.la",
            *make_variable("FUSE_LIBS", "LIBS"), cwd=BUILD)
        return vdisk

    def compiled(self, compiler, name):
        out = self.folder / (pathlib.Path(name).stem + ".o")
        run(compiler[0], *compiler[1:], f"-I{self.folder / 'lib'}", "-c", self.folder / name, "-o", out, cwd=BUILD)
        return out


if __name__ == "__main__":
    harness.main()
