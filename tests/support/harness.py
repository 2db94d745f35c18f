# SPDX-License-Identifier: Apache-2.0
"""What the oracle tests share: running programs, a folder a test, random disks."""
import atexit
import ctypes
import functools
import hashlib
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ.get("abs_top_srcdir", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("abs_top_builddir", SOURCE / "build"))
FIXTURES = SOURCE / "tests" / "fixtures"
VDISK = str(BUILD / "vdisk")


@functools.cache
def second_a_call():
    """A library for LD_PRELOAD in which getrusage() tells one second more of processor time at each call.

    qemu-img times PBKDF2 before it writes a LUKS header, and refuses ("Unable to get accurate CPU usage") where a machine counts
    processor time so coarsely that 32768 rounds take none."""
    library = scratch_for_everyone() / "second_a_call.so"
    source = """#include <sys/resource.h>
        int getrusage(int who, struct rusage* usage) {
            static __thread int calls;
            *usage = (struct rusage){.ru_utime = {.tv_sec = ++calls}};
            return 0;
        }"""
    subprocess.run(["gcc", "-xc", "-shared", "-fPIC", "-o", str(library), "-"], input=source.encode(), check=True)
    return str(library)


def run(*command, status=0, stdin=None, **keywords):
    """Runs a program and returns its standard output as bytes. Fails the test unless it ends with `status`."""
    words = [str(word) for word in command]
    if words[0] == "qemu-img" and any("encrypt.format=luks" in word for word in words):
        keywords["env"] = {**(keywords.get("env") or os.environ), "LD_PRELOAD": second_a_call()}
    done = subprocess.run(words, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **keywords)
    if status is not None and done.returncode != status:
        raise AssertionError(f"{command} ended with {done.returncode}, not {status}:\n{done.stderr.decode(errors='replace')[-4000:]}")
    return done.stdout


def outcome(*command, **keywords):
    """Runs a program that may fail; returns (status, standard output as bytes, standard error as text)."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **keywords)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


@functools.cache
def library():
    """The package vdisk over this build's library; None if this process can't load that."""
    built = BUILD / "lib" / ".libs" / "libvdisk.so.1"
    if not built.exists() or preloaded_sanitizers(built):
        return None
    ctypes.CDLL(str(built))  # found by its name from now on
    sys.path.insert(0, str(SOURCE / "python"))
    import vdisk
    return vdisk


def luks_image(folder, *writes):
    """(path, its key's word of a selector, arguments for QEMU's tools) of an encrypted qcow2 disk of 1 MiB, written by qemu-io."""
    (folder / "key").write_text("secret")
    image = folder / "disk.qcow2"
    secret = ["--object", f"secret,id=s,file={folder}/key"]
    run("qemu-img", "create", "-q", "-f", "qcow2", *secret, "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", image, 1 << 20)
    opened = [*secret, "--image-opts", f"driver=qcow2,file.filename={image},encrypt.key-secret=s"]
    for write in writes:
        run("qemu-io", *opened[:-1], "-c", write, opened[-1])
    return image, f"key-file={folder}/key", opened


def preloaded_sanitizers(library):
    """The environment in which a program that is not instrumented can load `library` of this build; usually nothing special."""
    symbols = subprocess.run(["nm", "-D", "--undefined-only", str(library)], stdout=subprocess.PIPE).stdout
    used = [name for name in ("asan", "tsan", "ubsan") if b" __%s_" % name.encode() in symbols]
    runtimes = [run("g++", f"-print-file-name=lib{name}.so").decode().strip() for name in used]
    return {"LD_PRELOAD": " ".join(runtimes), "ASAN_OPTIONS": "detect_leaks=0"} if used else {}


@functools.cache
def scratch_for_everyone():
    """A folder that every user may enter, which goes when the tests end."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vdisk-everyone-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    return folder


@functools.cache
def for_everyone(file):
    """A copy of a program or library of this build for tests that become another user, who may not be able to enter the build folder."""
    copy = scratch_for_everyone() / pathlib.Path(file).name
    shutil.copy(file, copy)
    copy.chmod(0o755)
    return copy


def sha256_file(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def have(program):
    return shutil.which(program) is not None


def lose_cluster(image, guest):
    """Makes the L2 entry of the cluster at disk offset `guest` of a qcow2, of the usual 64 KiB and written before, point past the end of
    the file."""
    with open(image, "r+b") as file:
        file.seek(40)
        file.seek(int.from_bytes(file.read(8), "big"))
        table = int.from_bytes(file.read(8), "big") & 0x00FFFFFFFFFFFE00
        file.seek(table + guest // 65536 * 8)
        file.write((1 << 50).to_bytes(8, "big"))


def undeclared(image):
    """Takes the backing format's extension out of a qcow2, as qemu-img wrote it before 6.1."""
    data = bytearray(image.read_bytes())
    at = 72 if struct.unpack_from(">I", data, 4)[0] == 2 else struct.unpack_from(">I", data, 100)[0]
    while (kind := struct.unpack_from(">I", data, at)[0]) != 0:
        length = 8 + (struct.unpack_from(">I", data, at + 4)[0] + 7) // 8 * 8
        if kind == 0xE2792ACA:
            data[at:at + length] = struct.pack(">II", 0x7FFFFFFF, length - 8) + bytes(length - 8)
        at += length
    image.write_bytes(data)


# A shell has what it starts in the background ignore SIGINT, nohup SIGHUP, and so would all that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


class FolderTest(unittest.TestCase):
    """A test with a folder of its own (self.folder, a Path) and repeatable randomness (self.random)."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vdisk-oracle-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.random = random.Random(self.id())

    def random_bytes(self, count):
        return self.random.randbytes(count)

    def assert_same_file(self, left, right):
        """Compares two files byte by byte, telling the first difference."""
        done = subprocess.run(["cmp", str(left), str(right)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout.decode(errors="replace"))


main = unittest.main
