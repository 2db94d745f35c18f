#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`vdisk mount`: what other programs read of the files that it shows, beside what qemu-img and `vdisk export` say."""
import concurrent.futures
import contextlib
import datetime
import errno
import hashlib
import json
import mmap
import os
import signal
import struct
import subprocess
import time
import unittest

import harness
import vma_writer
from harness import VDISK, outcome, run, sha256_file

PATIENCE = 60  # seconds, on a busy machine
CLUSTER, MIB = 65536, 1 << 20
SIZE = 8 * MIB + 512
HAS_MOUNT = b"\n  mount " in run(VDISK, "--help")


def may_mount():
    return os.access("/dev/fuse", os.R_OK | os.W_OK) and (os.geteuid() == 0 or harness.have("fusermount3"))


@unittest.skipUnless(HAS_MOUNT, "built without libfuse")
@unittest.skipUnless(may_mount(), "needs /dev/fuse, and fusermount3 or root")
class MountedDisks(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.evidence, self.point = self.folder / "evidence", self.folder / "mounted"
        self.evidence.mkdir()
        self.point.mkdir()
        self.image = self.evidence / "disk.qcow2"

    def is_mounted(self):
        return os.path.ismount(self.point)

    def unmount(self):
        if self.is_mounted():
            subprocess.run(["umount", "-l", self.point] if os.geteuid() == 0 else ["fusermount3", "-u", "-z", self.point])

    def mount(self, image=None, *options, status=0, **keywords):
        self.addCleanup(self.unmount)
        got, out, said = outcome(VDISK, "mount", *options, image or self.image, self.point, timeout=PATIENCE, **keywords)
        self.assertEqual((got, out), (status, b""), said)
        self.assertEqual(self.is_mounted(), status != 2, said)
        return said

    def mount_in_front(self, *words):
        """A process that stays, and the file with what it says."""
        self.addCleanup(self.unmount)
        log = self.folder / "said"
        with open(log, "wb") as said:
            process = subprocess.Popen([VDISK, "mount", "-f", *words, self.image, self.point], stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        deadline = time.monotonic() + PATIENCE
        while not self.is_mounted():
            self.assertIsNone(process.poll(), log.read_text())
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        return process, log

    def end(self, process, how=signal.SIGINT):
        process.send_signal(how)
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertFalse(self.is_mounted())

    def make_image(self, count=30):
        run("qemu-img", "create", "-q", "-f", "qcow2", self.image, SIZE)
        self.write_randomly(count)

    def write_randomly(self, count):
        commands = []
        for _ in range(count):
            at = self.random.randrange(SIZE // CLUSTER) * CLUSTER
            commands += ["-c", f"write -P {self.random.randrange(1, 255)} {at} {self.random.choice([512, CLUSTER, 3 * 512])}"]
        run("qemu-io", *commands, self.image)

    def snapshot(self, *names):
        for name in names:
            run("qemu-img", "snapshot", "-c", name, self.image)
            self.write_randomly(5)

    def content_of(self, *options, image=None):
        """SHA-256 of the disk, as QEMU reads it."""
        raw = self.folder / "expected.raw"
        run("qemu-img", "convert", *options, "-O", "raw", image or self.image, raw)
        return sha256_file(raw)

    def files(self):
        return sorted(str(path.relative_to(self.point)) for path in self.point.rglob("*") if path.is_file())

    @staticmethod
    def snapshot_name(data, entry):
        id_size, name_size, extra = *struct.unpack_from(">HH", data, entry + 12), struct.unpack_from(">I", data, entry + 36)[0]
        return data[entry + 40 + extra + id_size:][:name_size]

    # --- What is shown ---

    def test_the_disk_and_its_snapshots(self):
        self.make_image()
        self.snapshot("before-update", "Größe 2")
        expected = {"active.raw": self.content_of(), "snapshots/before-update.raw": self.content_of("-l", "snapshot.name=before-update"),
                    "snapshots/Größe_2.raw": self.content_of("-l", "snapshot.name=Größe 2")}
        before = sha256_file(self.image), os.stat(self.image).st_mtime_ns
        self.mount()
        self.assertEqual(self.files(), sorted(expected))
        for name, content in expected.items():
            self.assertEqual((self.point / name).stat().st_size, SIZE)
            self.assertEqual(sha256_file(self.point / name), content, name)
        self.assertEqual((sha256_file(self.image), os.stat(self.image).st_mtime_ns), before)

    def test_times_are_those_of_the_image_and_its_snapshots(self):
        self.make_image()
        self.snapshot("first")
        os.utime(self.image, (1, 1234567890))
        told = next(disk for disk in json.loads(run(VDISK, "ls", "--json", self.image))["disks"] if disk["kind"] == "snapshot")["date"]
        self.mount()
        self.assertEqual((self.point / "active.raw").stat().st_mtime, 1234567890)
        shown = (self.point / "snapshots" / "first.raw").stat().st_mtime
        self.assertAlmostEqual(shown, datetime.datetime.fromisoformat(told[:19] + "+00:00").timestamp(), delta=1)

    def test_an_archive_of_several_disks_and_a_compressed_one(self):
        disks = {"drive-scsi0": self.random_bytes(3 * MIB), "drive-virtio1": bytes(MIB) + self.random_bytes(MIB)}
        for name, content in disks.items():
            (self.folder / name).write_bytes(content)
        archive = self.evidence / "backup.vma"
        vma_writer.write(archive, [(name, self.folder / name) for name in disks])
        run("zstd", "-q", archive)
        for image in (archive, f"{archive}.zst"):
            with self.subTest(image=image):
                self.mount(image)
                self.assertEqual(self.files(), [f"{name}.raw" for name in disks])
                for name, content in disks.items():
                    self.assertEqual((self.point / f"{name}.raw").read_bytes(), content)
                self.unmount()

    def test_a_selected_disk_alone(self):
        self.make_image()
        self.snapshot("one", "two")
        self.mount(f"{self.image}#two")
        self.assertEqual(self.files(), ["snapshots/two.raw"])
        self.assertEqual(sha256_file(self.point / "snapshots/two.raw"), self.content_of("-l", "snapshot.name=two"))

    def test_names_are_hostile(self):
        """Whatever a snapshot is called, its file stands in the folder, and each has one of its own, the same each time."""
        names = ["../../../etc/passwd", "a/b", "..", ".", "new\nline", "\x1b[31mred", "same", "same", "same ", "same-2", "same_", "-rf",
                 "ä" * 120, "a,allow_other", "active", "caf\udce9"]
        self.make_image(5)
        for name in names:
            run("qemu-img", "snapshot", "-c", name, self.image)
        listings = []
        for _ in range(2):
            self.mount()
            shown = os.listdir(os.fsencode(self.point / "snapshots"))
            self.assertEqual(len(set(shown)), len(names))
            for name in shown:
                self.assertNotIn(b"/", name)
                self.assertTrue(name.endswith(b".raw") and name[0] not in b".-" and name.decode().isprintable(), name)
                self.assertEqual(os.stat(os.path.join(os.fsencode(self.point / "snapshots"), name)).st_size, SIZE)
            self.assertEqual(sorted(os.listdir(self.point)), ["active.raw", "snapshots"])
            listings.append(sorted(shown))
            self.unmount()
        self.assertEqual(listings[0], listings[1])

    def test_an_attribute_tells_what_selects_the_disk(self):
        self.make_image(5)
        self.snapshot("a/b c")
        self.mount()
        told = os.getxattr(self.point / "snapshots/a_b_c.raw", "user.vdisk.selector").decode()
        self.assertEqual(told, f"{self.image}#a/b c")
        run(VDISK, "export", told, self.folder / "exported.raw")
        self.assert_same_file(self.point / "snapshots/a_b_c.raw", self.folder / "exported.raw")
        self.assertEqual(os.getxattr(self.point / "active.raw", "user.vdisk.selector").decode(), str(self.image))
        with self.assertRaises(OSError) as caught:
            os.getxattr(self.point / "active.raw", "user.vdisk.error")
        self.assertEqual(caught.exception.errno, errno.ENODATA)

    # --- What can't be read ---

    def test_what_cannot_be_read_is_an_error_for_exactly_that(self):
        self.make_image(0)
        run("qemu-io", "-c", f"write -P 7 0 {3 * CLUSTER}", self.image)
        harness.lose_cluster(self.image, CLUSTER)
        for words in ([], ["-o", "allow_other"]):
            self.mount(self.image, *words)
            with open(self.point / "active.raw", "rb", buffering=0) as file:
                for offset, length in ((0, CLUSTER), (CLUSTER - 512, 512), (2 * CLUSTER, CLUSTER), (2 * CLUSTER, 1), (CLUSTER - 1, 1)):
                    self.assertEqual(os.pread(file.fileno(), length, offset), b"\7" * length)
                for offset, length in ((CLUSTER, 1), (2 * CLUSTER - 1, 1), (CLUSTER - 1, 2), (2 * CLUSTER - 1, 2), (0, 3 * CLUSTER), (CLUSTER + 512, 512)):
                    with self.assertRaises(OSError, msg=(offset, length)) as caught:
                        os.pread(file.fileno(), length, offset)
                    self.assertEqual(caught.exception.errno, errno.EIO)
            self.assertIn("disk.qcow2: ", os.getxattr(self.point / "active.raw", "user.vdisk.error").decode())
            self.unmount()

    def test_with_pages_that_the_kernel_keeps_an_error_costs_no_more_than_its_pages(self):
        self.make_image(0)
        run("qemu-io", "-c", f"write -P 7 0 {3 * CLUSTER}", self.image)
        base, self.image = self.image, self.evidence / "overlay.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", "-o", "cluster_size=512", self.image)
        run("qemu-io", "-c", "write -P 8 0 512", self.image)
        harness.lose_cluster(self.image, 0)
        self.mount(self.image, "-o", "kernel_cache")

        def read(length, offset):
            try:
                return os.pread(file.fileno(), length, offset)
            except OSError as error:
                return error.errno
        with open(self.point / "active.raw", "rb", buffering=0) as file:
            self.assertEqual(read(2 * CLUSTER, 4096), b"\7" * 2 * CLUSTER)
            self.assertEqual([read(512, offset) for offset in (0, 512, 3584, 4096)], [errno.EIO] * 3 + [b"\7" * 512])
        with open(self.point / "active.raw", "rb", buffering=0) as file:
            self.assertEqual([read(512, offset) for offset in (0, 512, 3584, 4096)], [errno.EIO] + [b"\7" * 512] * 3)

    def test_a_program_may_map_what_the_kernel_keeps(self):
        self.make_image()
        expected = self.content_of()
        for options in ([], ["-o", "kernel_cache"]):
            self.mount(self.image, *options)
            with open(self.point / "active.raw", "rb") as file:
                try:
                    with mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ) as mapped:
                        found = hashlib.sha256(mapped).hexdigest()
                except OSError as error:
                    found = error.errno
            self.assertEqual(found, expected if options else errno.ENODEV)
            self.assertEqual(sha256_file(self.point / "active.raw"), expected)
            self.unmount()

    def test_a_disk_that_cannot_be_opened_is_an_error_and_the_others_are_read(self):
        self.make_image()
        self.snapshot("good", "bad")
        good = self.content_of("-l", "snapshot.name=good")
        data = bytearray(self.image.read_bytes())
        table = struct.unpack_from(">Q", data, 64)[0]
        entry = next(at for at in range(table, len(data), 8) if self.snapshot_name(data, at) == b"bad")
        struct.pack_into(">Q", data, entry, 1 << 50)  # its L1 table
        self.image.write_bytes(data)
        process, log = self.mount_in_front()
        self.assertEqual(sha256_file(self.point / "snapshots/good.raw"), good)
        for _ in range(2):
            with self.assertRaises(OSError) as caught:
                open(self.point / "snapshots/bad.raw", "rb").close()
            self.assertEqual(caught.exception.errno, errno.EIO)
        why = os.getxattr(self.point / "snapshots/bad.raw", "user.vdisk.error").decode()
        self.assertEqual(log.read_text().count(why), 1)
        self.assertIn("user.vdisk.error", os.listxattr(self.point / "snapshots/bad.raw"))
        self.end(process)

    def test_an_image_of_which_no_disk_opens_is_not_mounted(self):
        base = self.evidence / "base.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", base, MIB)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", self.image)
        base.unlink()
        said = self.mount(status=2)
        self.assertEqual(said.count("\n"), 1)
        self.assertIn("base.qcow2", said)

    # --- Who reads, and who may not ---

    def test_nothing_can_be_written(self):
        self.make_image(5)
        self.snapshot("one")
        self.mount()
        active, new = self.point / "active.raw", self.point / "new"
        attempts = [lambda: open(active, "r+b"), lambda: open(new, "wb"), lambda: os.truncate(active, 0), active.unlink, new.mkdir,
                    lambda: active.rename(new), lambda: active.chmod(0o666), lambda: os.utime(active), lambda: os.link(active, new),
                    lambda: os.setxattr(active, "user.x", b"y"), (self.point / "snapshots").rmdir]
        for attempt in attempts:
            with self.assertRaises(OSError) as caught:
                attempt()
            self.assertEqual(caught.exception.errno, errno.EROFS)

    def test_many_readers_at_once(self):
        packed = self.evidence / "packed.qcow2"
        raw = self.folder / "packed.raw"
        raw.write_bytes(b"".join(self.random_bytes(1024) * 64 for _ in range(100)))
        run("qemu-img", "convert", "-c", "-O", "qcow2", raw, packed)
        for number in range(12):  # more than are kept open
            run("qemu-img", "snapshot", "-c", f"s{number}", packed)
        content = raw.read_bytes()
        self.mount(packed)
        files = ["active.raw"] + [f"snapshots/s{number}.raw" for number in range(12)]

        def read(number):
            own = harness.random.Random(number)
            with open(self.point / files[number % len(files)], "rb", buffering=0) as file:
                for _ in range(40):
                    at, length = own.randrange(len(content)), own.choice([1, 512, 4096, 100000, 300000])
                    if os.pread(file.fileno(), length, at) != content[at:at + length]:
                        return False
            return True
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            self.assertEqual(set(pool.map(read, range(39))), {True})

    @unittest.skipUnless(harness.have("mmls") and harness.have("sfdisk"), "needs sleuthkit and fdisk")
    def test_programs_that_know_raw_disks_read_it(self):
        raw = self.folder / "partitioned.raw"
        raw.write_bytes(bytes(SIZE - 512))
        run("sfdisk", "-q", raw, stdin=b"label: dos\n2048,4096,83\n8192,,c\n")
        run("qemu-img", "convert", "-O", "qcow2", raw, self.image)
        self.mount()
        run("cmp", raw, self.point / "active.raw")
        self.assertEqual(run("mmls", "-i", "raw", self.point / "active.raw"), run("mmls", "-i", "raw", raw))

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_other_users_read_it_where_they_are_allowed_to(self):
        self.make_image(5)
        self.folder.chmod(0o755)
        for options, allowed in (([], False), (["-o", "allow_other"], True)):
            self.mount(self.image, *options)
            status, out, _ = outcome("cat", self.point / "active.raw", user=65534)
            self.assertEqual((status == 0, len(out)), (allowed, SIZE if allowed else 0))
            self.unmount()

    # --- Beginning and end ---

    def test_each_way_to_end(self):
        self.make_image(5)
        for how in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process, log = self.mount_in_front()
            self.end(process, how)
            self.assertEqual(log.read_text(), "")
        process, _ = self.mount_in_front()
        file = os.open(self.point / "active.raw", os.O_RDONLY)  # also while somebody reads
        self.end(process)
        with contextlib.suppress(OSError):  # the file is gone
            os.close(file)
        process, _ = self.mount_in_front()
        run(*(["umount"] if os.geteuid() == 0 else ["fusermount3", "-u"]), self.point)
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_what_was_typed_relative_to_a_folder_is_found_later(self):
        base = self.evidence / "base.raw"
        base.write_bytes(self.random_bytes(MIB))
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", self.image)
        self.addCleanup(self.unmount)
        run(VDISK, "mount", "disk.qcow2", "../mounted", cwd=self.evidence, timeout=PATIENCE)
        self.assertEqual((self.point / "active.raw").read_bytes(), base.read_bytes())

    def test_an_encrypted_image(self):
        image, key, opened = harness.luks_image(self.evidence, "write -P 5 0 64k")
        content = b"\5" * CLUSTER + bytes(MIB - CLUSTER)
        run("qemu-img", "snapshot", "-c", "one", *opened)
        self.assertIn("key", self.mount(image, status=2))
        self.mount(f"{image}#{key}")
        self.assertEqual((self.point / "active.raw").read_bytes(), content)
        self.unmount()
        self.mount(f"{image}#key-file=/dev/stdin", input=b"secret")  # read once, and needed for each disk
        for name in ("active.raw", "snapshots/one.raw"):
            self.assertEqual((self.point / name).read_bytes(), content)

    def test_what_changes_meanwhile_is_told_at_the_end(self):
        self.make_image(5)
        process, log = self.mount_in_front()
        os.truncate(self.image, self.image.stat().st_size + 512)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(PATIENCE), 1)
        self.assertIn("was changed while it was read", log.read_text())

    # --- Where it may not be mounted ---

    def refused(self, folder, reason, image=None):
        got, out, said = outcome(VDISK, "mount", image or self.image, folder, timeout=PATIENCE)
        self.assertEqual((got, out, said.count("\n")), (2, b"", 1), said)
        self.assertIn(reason, said)

    def test_folders_that_nothing_is_mounted_on(self):
        self.make_image(5)
        self.refused(self.evidence, "is not empty")
        self.refused(self.folder, "is not empty")
        self.refused(self.folder / "gone", "No such file")
        self.refused(self.image, "is no folder")
        self.mount()
        self.refused(self.point, "mounted there already")
        self.refused(self.point / "snapshots" if (self.point / "snapshots").exists() else self.point, "mounted there already")

    def test_a_folder_in_a_datastore_that_is_read(self):
        store = self.evidence / "store"
        archive = harness.FIXTURES / "pbs" / "datastores.tar.zst"
        subprocess.run(f"zstd -dcq '{archive}' | tar -xf - -C '{self.evidence}' store", shell=True, check=True)
        index = next(path for path in store.rglob("*.fidx") if outcome(VDISK, "info", path)[0] == 0)
        (store / ".chunks" / "empty").mkdir()
        self.refused(store / ".chunks" / "empty", "lies in", image=index)


if __name__ == "__main__":
    harness.main()
