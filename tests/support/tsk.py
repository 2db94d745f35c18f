# SPDX-License-Identifier: Apache-2.0
"""The Sleuth Kit's own programs with the plugin of this build in front of their library, and disks for them to read. Whatever is
enabled on the machine, programs that these tests start meet its real libtsk and no plugin but this build's."""
import functools
import os
import pathlib
import random
import re
import shutil
import tempfile
import unittest

import harness
from harness import BUILD, run

PLUGIN = BUILD / "tsk_plugin" / ".libs" / "libtsk_vdisk.so"
DOOR = BUILD / "vhdi_door" / "libvhdi_vdisk.so"
PROGRAMS = BUILD / "tests" / "tsk"
MIB = 1 << 20
PART = 2048  # where the first partition starts, in sectors


@functools.cache
def enabled_folder():
    """The folder that the machine is enabled with, if it is."""
    try:
        lines = pathlib.Path("/etc/ld.so.conf.d/000-tsk-vdisk.conf").read_text().splitlines()
    except OSError:
        return None
    return next((line for line in lines if line.startswith("/")), None)


@functools.cache
def real_libraries():
    """{SONAME: path} of each libtsk and libvhdi of the machine, as the loader would find it if nothing were enabled."""
    listed = harness.outcome("ldconfig", "-p", env={"PATH": "/usr/sbin:/sbin"})[1].decode()
    found = {}
    for soname, path in re.findall(r"^\s*(libtsk\.so\.\d+|libvhdi\.so\.1) \(.*\) => (.*)$", listed, re.MULTILINE):
        if os.path.dirname(path) != enabled_folder():
            found.setdefault(soname, path)
    return found


def bypass_what_is_enabled():
    """For all that this process starts: the loader looks into LD_LIBRARY_PATH before its cache."""
    if enabled_folder() is None:
        return
    folder = harness.scratch_for_everyone() / "libtsk"
    folder.mkdir(exist_ok=True)
    for soname, path in real_libraries().items():
        if not (folder / soname).is_symlink():
            (folder / soname).symlink_to(path)
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH")]))


bypass_what_is_enabled()


def plugin_environment(**more):
    """The environment of a program with the plugin; in a sanitized build, with the sanitizers' runtimes before it."""
    runtimes = harness.preloaded_sanitizers(PLUGIN)
    preload = " ".join(filter(None, [runtimes.get("LD_PRELOAD"), str(PLUGIN)]))
    return {**os.environ, **runtimes, "LD_PRELOAD": preload, **more}


def sanitized():
    return bool(harness.preloaded_sanitizers(PLUGIN))


def with_plugin(*command, **keywords):
    return run(*command, env=plugin_environment(), **keywords)


def outcome_with_plugin(*command, environment=None, **keywords):
    return harness.outcome(*command, env=plugin_environment(**(environment or {})), **keywords)


def without_plugin(*command, **keywords):
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return harness.outcome(*command, env=environment, **keywords)


def require_plugin():
    if not PLUGIN.exists():
        raise unittest.SkipTest("the plugin is not built")
    if "libtsan" in harness.preloaded_sanitizers(PLUGIN).get("LD_PRELOAD", ""):
        raise unittest.SkipTest("a program that is not built with the thread sanitizer can't load what is")
    if not harness.have("fls"):
        raise unittest.SkipTest("The Sleuth Kit's programs are missing")


def make_tree(folder, files, random):
    """A tree of folders with `files` files of many sizes. Returns {path inside: content}."""
    content = {}
    for number in range(files):
        size = random.choice([0, 1, 511, 4096, 5000, 65536, 70000, 200_000]) if number % 4 else random.randrange(3000)
        path = pathlib.PurePosixPath(f"folder{number % 7}") / f"sub{number % 3}" / f"file {number}.bin"
        data = random.randbytes(size) if number % 3 else bytes([number & 0xFF]) * size
        content[str(path)] = data
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return content


def make_ext4(image, size, tree, *options):
    image.touch()
    os.truncate(image, size)
    run("mke2fs", "-q", "-t", "ext4", *options, "-d", tree, image)


class TreeTest(unittest.TestCase):
    """Tests that share a folder, removed behind the last of them, with a tree of files to make disks of."""

    FILES = 12

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="vdisk-oracle-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.tree = cls.folder / "tree"
        cls.tree.mkdir()
        cls.files = make_tree(cls.tree, cls.FILES, random.Random(cls.__name__))


def make_ntfs(image, size, content, scratch):
    """A file system without mounting it: ntfscp makes files in the root folder only."""
    image.touch()
    os.truncate(image, size)
    run("mkntfs", "-q", "-F", "-f", "-p", PART, image, stdin=b"")
    for path, data in content.items():
        scratch.write_bytes(data)
        run("ntfscp", "-q", image, scratch, path)


def make_disk(disk, partitions):
    """An MBR disk of the given partition images, the first at sector PART. Returns the sectors at which they start."""
    starts, at = [], PART
    table = "label: dos\n"
    for image in partitions:
        sectors = image.stat().st_size // 512
        starts.append(at)
        table += f"start={at}, size={sectors}, type=83\n"
        at += sectors
    disk.touch()
    os.truncate(disk, at * 512 + MIB)
    run("sfdisk", "-q", disk, stdin=table.encode())
    for start, image in zip(starts, partitions):
        run("dd", f"if={image}", f"of={disk}", "bs=64K", f"seek={start * 512 // 65536}", "conv=notrunc,sparse", "status=none")
    return starts


def files_of(listing):
    """{path: inode address} of the allocated files in the output of fls -r -p."""
    found = {}
    for line in listing.decode().splitlines():
        match = re.fullmatch(r"r/r ([0-9-]+):\t(.*)", line)
        if match:
            found[match.group(2)] = match.group(1)
    return found
