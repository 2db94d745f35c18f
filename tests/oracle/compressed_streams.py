#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disks inside compressed streams of every producer that Debian has, compared with what went in."""
import hashlib
import os
import pathlib
import resource
import signal
import subprocess
import time
import unittest

import harness
import tsk
from harness import VDISK, have, outcome, run

MIB = 1 << 20

ZSTD = {
    **{f"level {level}": ["zstd", f"-{level}", "-T1"] for level in range(1, 13)},
    "level 15": ["zstd", "-15", "-T1"],
    "fast": ["zstd", "--fast=3"],
    "as Proxmox": ["zstd", "--rsyncable", "-T1"],
    "two threads": ["zstd", "-T2", "--rsyncable"],
    "single thread": ["zstd", "--single-thread"],
    "long": ["zstd", "--long=27", "-T1"],
    "no check": ["zstd", "--no-check"],
    "small window": ["zstd", "--zstd=wlog=17"],
}
SLOW_ZSTD = {"level 19": ["zstd", "-19", "-T2"], "ultra": ["zstd", "--ultra", "-22", "-T2"]}
GZIP = {
    **{f"gzip -{level}": ["gzip", f"-{level}"] for level in (1, 6, 9)},
    "gzip --rsyncable": ["gzip", "--rsyncable"],
    "pigz": ["pigz"],
    "pigz --rsyncable": ["pigz", "--rsyncable"],
    "pigz -0": ["pigz", "-0"],
    "bgzip": ["bgzip"],
}
LZOP = {"lzop -1": ["lzop", "-1"], "lzop -9": ["lzop", "-9"], "lzop --crc32": ["lzop", "--crc32"], "lzop -C": ["lzop", "-C"], "lzop -F": ["lzop", "-F"]}


def real_bytes(size):
    """Files of this machine, one after the other: what compresses like disks do. None of them is at the beginning, where a whole file
    would be taken for what it is."""
    taken = bytearray(512)
    for root, folders, names in os.walk("/usr/lib"):
        folders.sort()
        for name in sorted(names):
            path = pathlib.Path(root) / name
            if path.is_symlink() or not path.is_file():
                continue
            try:
                taken += path.read_bytes()[: MIB]
            except OSError:
                continue
            if len(taken) >= size:
                return bytes(taken[:size])
    return bytes(taken)


class CompressedStreams(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.cache = self.folder / "cache"
        os.environ["VDISK_CACHE_DIR"] = str(self.cache)
        self.addCleanup(os.environ.pop, "VDISK_CACHE_DIR")

    def settle(self):
        """Files that were written a moment ago are not kept in the cache."""
        time.sleep(0.2)

    def plain_file(self, size):
        path = self.folder / "plain"
        path.write_bytes(real_bytes(size))
        return path

    def compress(self, command, plain, name="packed"):
        """Through pipes, as backups are made."""
        path = self.folder / name
        with open(plain, "rb") as source, open(path, "wb") as target:
            done = subprocess.run([*command, "-c"], stdin=source, stdout=target, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return path

    def check(self, packed, plain):
        ours = self.folder / "ours"
        run(VDISK, "export", packed, ours)
        self.assert_same_file(ours, plain)
        ours.unlink()

    def check_producers(self, producers, plain):
        for name, command in producers.items():
            if not have(command[0]):
                continue
            with self.subTest(name):
                self.check(self.compress(command, plain), plain)

    def test_zstd_of_every_level(self):
        self.check_producers(ZSTD, self.plain_file(12 * MIB))

    def test_zstd_at_its_strongest(self):
        self.check_producers(SLOW_ZSTD, self.plain_file(3 * MIB))

    def test_gzip_of_every_producer(self):
        self.check_producers(GZIP, self.plain_file(9 * MIB))

    def test_lzop_of_every_kind(self):
        plain = self.plain_file(3 * MIB)
        if outcome(VDISK, "info", self.compress(["lzop"], plain))[2].count("without liblzo2"):
            self.skipTest("built without liblzo2")
        self.check_producers(LZOP, plain)

    def test_several_frames_and_sizes_in_the_header(self):
        plain = self.plain_file(12 * MIB)
        packed = self.folder / "packed.zst"
        run("zstd", "-q", "-1", plain, "-o", packed)
        self.check(packed, plain)
        if have("pzstd"):
            run("pzstd", "-q", "-f", plain, "-o", packed)
            self.check(packed, plain)

    def test_a_qcow2_inside_a_stream_is_a_qcow2(self):
        plain = self.plain_file(4 * MIB)
        image = self.folder / "disk.qcow2"
        run("qemu-img", "convert", "-O", "qcow2", plain, image)
        for command in (["zstd"], ["gzip"]):
            packed = self.compress(command, image, "disk.packed")
            self.assertIn(b"format: qcow2", run(VDISK, "info", packed))
            self.check(packed, plain)

    def test_later_openings_use_the_kept_index_and_survive_its_damage(self):
        plain = self.plain_file(12 * MIB)
        packed = self.compress(["zstd", "-3", "--rsyncable", "-T1"], plain)
        time.sleep(0.2)
        self.check(packed, plain)
        [index] = self.cache.glob("*.index")
        sound = index.read_bytes()
        for place in range(0, len(sound), len(sound) // 12):
            index.write_bytes(sound[:place] + bytes([sound[place] ^ 0x40]) + sound[place + 1:])
            self.check(packed, plain)
        index.write_bytes(sound[: len(sound) // 2])
        self.check(packed, plain)

    def test_files_of_others_in_the_cache_s_folder_stay(self):
        plain = self.plain_file(2 * MIB)
        packed = self.compress(["zstd"], plain)
        self.settle()
        self.cache.mkdir()
        notes = {name: name.encode() * 10 for name in ("evidence.index", "unfinished-report.txt", "unfinished-report", "other.txt",
                                                       "0123456789abcdef" * 2 + ".index")}
        for name, text in notes.items():
            (self.cache / name).write_bytes(text)
        os.truncate(self.cache / "evidence.index", 3 << 40)
        for name in notes:
            os.utime(self.cache / name, (0, 0))
        for _ in range(2):
            self.check(packed, plain)
        self.assertEqual({path.name for path in self.cache.iterdir()} - set(notes), {path.name for path in self.cache.glob("*.index")} - set(notes))
        self.assertEqual(len(list(self.cache.iterdir())), len(notes) + 1)
        for name, text in notes.items():
            with open(self.cache / name, "rb") as file:
                self.assertEqual(file.read(len(text)), text)
        self.assertEqual((self.cache / "evidence.index").stat().st_size, 3 << 40)

    def test_no_index_is_kept_beside_the_file(self):
        plain = self.plain_file(2 * MIB)
        packed = self.compress(["zstd"], plain)
        self.settle()
        before = set(self.folder.iterdir())
        os.environ["VDISK_CACHE_DIR"] = str(self.folder)
        self.check(packed, plain)
        self.assertEqual(set(self.folder.iterdir()), before)

    def test_a_cache_that_can_not_be_written_costs_a_pass_only(self):
        plain = self.plain_file(2 * MIB)
        packed = self.compress(["zstd"], plain)
        (self.folder / "file").write_bytes(b"")
        for folder in ("none", "/proc/nowhere", str(self.folder / "file")):
            os.environ["VDISK_CACHE_DIR"] = folder
            self.check(packed, plain)

    def test_a_full_disk_costs_the_index_only(self):
        plain = self.plain_file(24 * MIB)
        packed = self.compress(["gzip", "-1"], plain)  # a window of up to 32 KiB each 4 MiB
        self.settle()
        ours = hashlib.sha256(plain.read_bytes()).hexdigest()

        def no_room():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

        for _ in range(2):
            self.assertEqual(ours, hashlib.sha256(run(VDISK, "export", packed, "-", preexec_fn=no_room)).hexdigest())
            self.assertEqual(list(self.cache.iterdir()), [])
        self.check(packed, plain)
        self.assertEqual(len(list(self.cache.glob("*.index"))), 1)

    @unittest.skipUnless(os.geteuid() == 0, "only root can mount")
    def test_a_full_or_read_only_file_system_costs_the_index_only(self):
        plain = self.plain_file(24 * MIB)
        packed = self.compress(["gzip", "-1"], plain)
        self.settle()
        self.cache.mkdir()
        for options in ("size=16k", "ro"):
            if outcome("mount", "-t", "tmpfs", "-o", options, "tmpfs", self.cache)[0] != 0:
                self.skipTest("no mounts here")
            try:
                self.check(packed, plain)
                self.assertEqual(list(self.cache.iterdir()), [])
            finally:
                run("umount", self.cache)

    @unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")
    def test_a_folder_of_somebody_else_costs_the_index_only(self):
        plain = self.plain_file(2 * MIB)
        packed = self.compress(["zstd"], plain)
        self.settle()
        self.cache.mkdir(mode=0o755)
        self.folder.chmod(0o755)
        hashed = hashlib.sha256(plain.read_bytes()).hexdigest()
        done = outcome(harness.for_everyone(VDISK), "export", packed, "-", preexec_fn=lambda: os.setuid(65534))
        self.assertEqual(hashlib.sha256(done[1]).hexdigest(), hashed, done[2])
        self.assertEqual(list(self.cache.iterdir()), [])

    def test_altered_bytes_are_read_everywhere_if_the_environment_says_so(self):
        plain = self.folder / "plain"
        plain.write_bytes(self.random_bytes(MIB))
        image = self.folder / "disk.qcow2"
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", plain, image)
        disk = self.compress(["gzip", "-1"], image, "disk.qcow2.gz")
        packed = bytearray(disk.read_bytes())
        packed[len(packed) // 2] ^= 1  # random bytes are stored as they are, so that this alters one of them
        disk.write_bytes(packed)
        program = "import sys; sys.path.insert(0, sys.argv[1]); import vdisk; vdisk.open(sys.argv[2]).read(512)"
        library = harness.BUILD / "lib" / ".libs"
        python = {"LD_LIBRARY_PATH": str(library), **harness.preloaded_sanitizers(library / "libvdisk.so.1")}
        readers = [("vdisk", [VDISK, "export", disk, "-"], {})]
        if (library / "libvdisk.so.1").exists():
            readers.append(("C interface", ["python3", "-c", program, harness.SOURCE / "python", disk], python))
        if tsk.PLUGIN.exists() and have("img_cat"):
            readers.append(("img_cat", ["img_cat", "-i", "qcow2", disk], tsk.plugin_environment()))
        for name, command, environment in readers:
            with self.subTest(name):
                for choice, opens in (("refuse", False), ("placed", True), ("read", True), ("", True), ("maybe", False)):
                    done = outcome(*command, env={**os.environ, **environment, "VDISK_UNVERIFIED": choice})
                    if name == "vdisk":  # whose status says that something is altered in what it gives
                        self.assertEqual((done[0], len(done[1])), (1, MIB) if opens else (2, 0), f"{choice}: {done[2]}")
                    else:
                        self.assertEqual(done[0] == 0, opens, f"{choice}: {done[2]}")
                    self.assertEqual("VDISK_UNVERIFIED is 'maybe'" in done[2], choice == "maybe", done[2])

    def test_a_large_window_stays_within_256_mib(self):
        plain = self.plain_file(190 * MIB)
        packed = self.compress(["zstd", "-3", "--long=27", "-T1"], plain)
        ours = self.folder / "ours"
        # Through a small process: a child's peak counts what its parent had when it was forked.
        measure = "import resource, subprocess, sys; subprocess.check_call(sys.argv[1:]); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        peak = int(run("python3", "-c", measure, VDISK, "export", packed, ours))
        self.assert_same_file(ours, plain)
        if not harness.preloaded_sanitizers(VDISK):
            self.assertLess(peak, 256 << 10)

    def test_builds_at_once_and_builds_that_are_killed(self):
        plain = self.plain_file(40 * MIB)
        packed = self.compress(["gzip", "-1"], plain)
        time.sleep(0.2)
        for delay in (0.01, 0.05, 0.15):
            killed = subprocess.Popen([VDISK, "info", packed], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(delay)
            killed.send_signal(signal.SIGKILL)
            killed.wait()
        both = [subprocess.Popen([VDISK, "export", packed, self.folder / f"ours{i}"]) for i in range(2)]
        for i, process in enumerate(both):
            self.assertEqual(process.wait(), 0)
            self.assert_same_file(self.folder / f"ours{i}", plain)
        self.check(packed, plain)

    def test_truncated_streams_read_up_to_the_cut_and_are_told(self):
        plain = self.plain_file(3 * MIB)
        for command in (["zstd"], ["gzip"]):
            whole = self.compress(command, plain).read_bytes()
            for part in (0.3, 0.9):
                cut = self.folder / "cut"
                cut.write_bytes(whole[: int(len(whole) * part)])
                for look in ("info", "audit", "verify"):
                    self.assertIn(b"cut off", run(VDISK, look, cut, status=1))
                ours = self.folder / "ours"
                run(VDISK, "export", cut, ours, status=1)
                got = ours.read_bytes()
                self.assertEqual(got, plain.read_bytes()[: len(got)])
                self.assertGreater(len(got), len(plain.read_bytes()) * (part - 0.3))
                ours.unlink()

    def test_a_raw_parent_that_begins_like_a_stream_is_read_as_it_is(self):
        base = self.folder / "base.raw"
        base.write_bytes(run("gzip", "-c", stdin=b"guest's own") + bytes(MIB))
        image = self.folder / "top.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", image)
        ours = self.folder / "ours"
        run(VDISK, "export", image, ours)
        self.assertEqual(ours.read_bytes(), base.read_bytes() + bytes(-len(base.read_bytes()) % 512))


if __name__ == "__main__":
    harness.main()
