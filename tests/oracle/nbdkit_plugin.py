#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The plugin in Debian's nbdkit, over a Unix socket, seen by libnbd's and QEMU's clients."""
import errno
import json
import os
import re
import subprocess
import time
import unittest

import harness
from harness import outcome, run

KIB, MIB = 1 << 10, 1 << 20
CLUSTER = 64 * KIB
SIZE = 32 * MIB
PLUGIN = harness.BUILD / "nbdkit" / ".libs" / "nbdkit-vdisk-plugin.so"
TOOLS = ("nbdkit", "nbdcopy", "nbdinfo", "qemu-img", "qemu-io")
PATIENCE = 60  # seconds until a server that does not come up, or a client that does not end, is given up


class Server:
    """An nbdkit process that is ended, and waited for, with the `with` block. `options` are nbdkit's own."""

    def __init__(self, folder, *parameters, background=False, options=()):
        self.socket, self.pid_file, self.log = (folder / name for name in ("nbd.socket", "nbd.pid", "nbd.log"))
        for leftover in (self.socket, self.pid_file):
            leftover.unlink(missing_ok=True)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["nbdkit", *([] if background else ["-f"]), *options, "-U", str(self.socket), "-P", str(self.pid_file), str(PLUGIN),
                 *map(str, parameters)],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                env=dict(os.environ, **harness.preloaded_sanitizers(PLUGIN)))
        self.background = background

    def __enter__(self):
        deadline = time.monotonic() + PATIENCE
        while not (self.pid_file.exists() and self.pid_file.read_text().strip()):
            failed = self.process.poll() not in (None, 0)
            if failed or time.monotonic() > deadline:
                raise AssertionError("nbdkit did not start: " + self.errors())
            time.sleep(0.01)
        self.pid = int(self.pid_file.read_text())
        if self.background:
            self.process.wait(PATIENCE)
        return self

    def __exit__(self, *_):
        os.kill(self.pid, 15)
        if not self.background:
            self.process.wait(PATIENCE)

    def errors(self):
        return self.log.read_text(errors="replace")

    def uri(self, export=""):
        return f"nbd+unix:///{export}?socket={self.socket}"

    def uri_with_key(self, user, keys):
        """For a server with --tls."""
        return f"nbds+unix://{user}@/?socket={self.socket}&tls-psk-file={keys}"


def can_mount():
    return harness.have("nbdfuse") and harness.have("fusermount3") and os.access("/dev/fuse", os.R_OK | os.W_OK)


class MountedFile:
    """An export as a file, by nbdfuse, for the length of the `with` block."""

    def __init__(self, folder, uri):
        self.file, self.ready, self.log = folder / "disk.raw", folder.with_suffix(".pid"), folder.with_suffix(".log")
        folder.mkdir()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(["nbdfuse", "-r", "-P", str(self.ready), str(self.file), uri], stdin=subprocess.DEVNULL, stderr=log)

    def __enter__(self):
        deadline = time.monotonic() + PATIENCE
        while not self.ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("nbdfuse did not start: " + self.log.read_text())
            time.sleep(0.01)
        return self.file

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:  # who reads the file would wait for ever
            self.process.kill()
            self.process.wait()
            subprocess.run(["fusermount3", "-u", "-z", str(self.file.parent)])
            raise


@unittest.skipUnless(PLUGIN.exists(), "built without the plugin for nbdkit")
@unittest.skipUnless(all(map(harness.have, TOOLS)), "needs " + ", ".join(TOOLS))
class NbdkitPlugin(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.image = self.folder / "disk.qcow2"
        self.copy = self.folder / "copy.raw"

    def make_image(self, path=None, size=SIZE, options=(), count=20):
        path = path or self.image
        run("qemu-img", "create", "-q", "-f", "qcow2", *options, path, size)
        self.write_randomly(path, count)
        return path

    def write_randomly(self, path, count):
        commands = []
        for _ in range(count):
            at, what = self.random.randrange(SIZE // CLUSTER) * CLUSTER, self.random.choice(["-P 1", "-P 2", "-P 3", "-z"])
            commands += ["-c", f"write {what} {at} {min(self.random.choice([512, CLUSTER, 5 * CLUSTER]), SIZE - at)}"]
        run("qemu-io", *commands, path)

    def expected(self, image, *options):
        """The disk's bytes, as QEMU reads them."""
        raw = self.folder / "expected.raw"
        run("qemu-img", "convert", *options, "-O", "raw", image, raw)
        return raw

    def check_content(self, uri, expected):
        self.copy.unlink(missing_ok=True)
        run("nbdcopy", uri, self.copy, timeout=PATIENCE)
        self.assert_same_file(self.copy, expected)

    def exports(self, server):
        listed = json.loads(run("nbdinfo", "--list", "--json", server.uri()))
        return {export["export-name"]: export for export in listed["exports"]}

    def test_every_client_reads_the_disk(self):
        expected = self.expected(self.make_image())
        with Server(self.folder, self.image) as server:
            self.check_content(server.uri(), expected)
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", server.uri(), expected)
            self.assertEqual(int(run("nbdinfo", "--size", server.uri())), SIZE)

    def test_sizes_that_no_sector_ends_with(self):
        image = self.make_image(size=SIZE)
        odd = self.folder / "odd.raw"
        odd.write_bytes(self.random_bytes(3 * CLUSTER + 1))
        with Server(self.folder, odd, "format=raw") as server:
            self.check_content(server.uri(), odd)
        with Server(self.folder, image, "format=raw") as server:
            self.check_content(server.uri(), image)

    def test_compressed_clusters_and_a_backing_file(self):
        base = self.make_image(self.folder / "base.qcow2")
        packed = self.folder / "packed.qcow2"
        run("qemu-img", "convert", "-c", "-O", "qcow2", base, packed)
        self.make_image(options=("-b", packed, "-F", "qcow2"), size=SIZE, count=10)
        expected = self.expected(self.image)
        with Server(self.folder, self.image) as server:
            self.check_content(server.uri(), expected)

    def test_holes_and_zeros_are_told_so_that_a_copy_skips_them(self):
        run("qemu-img", "create", "-q", "-f", "qcow2", self.image, SIZE)
        run("qemu-io", "-c", f"write -P 1 {3 * CLUSTER} {2 * CLUSTER}", "-c", f"write -z {9 * CLUSTER} {CLUSTER}", "-c",
            f"write -P 2 {20 * MIB} 512", self.image)
        with Server(self.folder, self.image) as server:
            extents = json.loads(run("nbdinfo", "--map", "--json", server.uri()))
            run("nbdcopy", server.uri(), self.copy)
        data = [(extent["offset"], extent["length"]) for extent in extents if extent["type"] & 1 == 0]
        self.assertEqual(data, [(3 * CLUSTER, 2 * CLUSTER), (20 * MIB, CLUSTER)])
        self.assertTrue(all(extent["type"] in (0, 3) for extent in extents), extents)
        self.assertEqual(sum(extent["length"] for extent in extents), SIZE)
        self.assertLessEqual(self.copy.stat().st_blocks * 512, 4 * CLUSTER)
        self.assert_same_file(self.copy, self.expected(self.image))

    def test_disk_and_snapshots_are_exports_with_descriptions(self):
        self.make_image()
        states = {"active": None, "before update": None, "2nd": None}
        for name in ("before update", "2nd"):
            run("qemu-img", "snapshot", "-c", name, self.image)
            states[name] = self.expected(self.image, "-l", f"snapshot.name={name}").rename(self.folder / f"{name}.raw")
            self.write_randomly(self.image, 10)
        states["active"] = self.expected(self.image).rename(self.folder / "active.raw")
        with Server(self.folder, self.image) as server:
            listed = self.exports(server)
            self.assertEqual(list(listed), list(states))
            self.assertTrue(listed["active"]["description"].startswith("active, 32 MiB"), listed)
            self.assertTrue(listed["2nd"]["description"].startswith("snapshot '2nd', id 2, 32 MiB"), listed)
            for name, raw in states.items():
                self.check_content(server.uri(name.replace(" ", "%20")), raw)
            self.check_content(server.uri(), states["active"])
        for selector in ([self.image, "snapshot=2nd"], [f"{self.image}#2nd"]):
            with self.subTest(selector=selector), Server(self.folder, *selector) as server:
                self.check_content(server.uri(), states["2nd"])
                self.check_content(server.uri("active"), states["active"])

    def test_snapshots_of_one_name_are_still_exports_of_their_own(self):
        self.make_image()
        for _ in range(3):
            run("qemu-img", "snapshot", "-c", "same", self.image)
        run("qemu-img", "snapshot", "-c", "active", self.image)
        with Server(self.folder, self.image) as server:
            listed = self.exports(server)
            self.assertEqual(len(listed), 5)
            self.assertLess({"active", "same", "2", "3"}, set(listed))

    def test_devices_of_an_archive_are_exports(self):
        archive = harness.FIXTURES / "vma" / "02-three-devices.vma"
        manifest = json.loads((archive.parent / "MANIFEST.json").read_text())
        devices = next(file for file in manifest["files"] if file["file"] == archive.name)["devices"]
        with Server(self.folder, archive) as server:
            listed = self.exports(server)
            self.assertEqual(set(listed), {device["name"] for device in devices})
            for device in devices:
                self.assertEqual(listed[device["name"]]["export-size"], device["size"])
                self.copy.unlink(missing_ok=True)
                run("nbdcopy", server.uri(device["name"]), self.copy)
                self.assertEqual(harness.sha256_file(self.copy), device["sha256"])
            status, _, errors = outcome("nbdinfo", server.uri())
            self.assertNotEqual(status, 0, "a default export was chosen among several disks")
            self.assertIn("say which", server.errors())
        with Server(self.folder, archive, f"device={devices[-1]['name']}") as server:
            self.assertEqual(int(run("nbdinfo", "--size", server.uri())), devices[-1]["size"])

    def test_compressed_archives_and_vdi_are_served_as_well(self):
        for name, sizes in (("05-guest-writes.vma.zst", "05-guest-writes.vma"), ("06-shuffled.vma.gz", "06-shuffled.vma")):
            archive = harness.FIXTURES / "vma" / name
            with self.subTest(archive=name), Server(self.folder, archive) as server:
                plain = json.loads(run(harness.VDISK, "ls", "--json", archive.parent / sizes))["disks"]
                self.assertEqual({export: told["export-size"] for export, told in self.exports(server).items()}, {disk["name"]: disk["size"] for disk in plain})
                for disk in plain:
                    flat = self.folder / "flat.raw"
                    run(harness.VDISK, "export", "--force", disk["selector"], flat)
                    self.check_content(server.uri(disk["name"]), flat)
        image = self.folder / "disk.vdi"
        run("qemu-img", "convert", "-O", "vdi", self.make_image(), image)
        with Server(self.folder, image) as server:
            self.check_content(server.uri(), self.expected(self.image))

    def test_a_client_that_goes_on_behind_damage_gets_every_other_byte(self):
        run("qemu-img", "create", "-q", "-f", "qcow2", self.image, SIZE)
        run("qemu-io", "-c", f"write -P 1 0 {8 * CLUSTER}", self.image)
        harness.lose_cluster(self.image, 3 * CLUSTER)
        with Server(self.folder, self.image) as server:
            status, _, errors = outcome("qemu-img", "convert", "--salvage", "-f", "raw", "-O", "raw", server.uri(), self.copy, timeout=PATIENCE)
            self.assertEqual(status, 0, errors)
        copied = self.copy.read_bytes()
        self.assertEqual(copied, bytes([1]) * 3 * CLUSTER + bytes(CLUSTER) + bytes([1]) * 4 * CLUSTER + bytes(SIZE - 8 * CLUSTER))

    def test_paths_are_those_of_the_folder_it_was_started_in(self):
        base = self.make_image(self.folder / "base.qcow2")
        self.make_image(options=("-b", base, "-F", "qcow2"), count=3)
        expected = self.expected(self.image)
        moved = self.folder / "moved, and renamed"
        moved.mkdir()
        base.rename(moved / "b,1.qcow2")
        with Server(self.folder, self.image.name, "backing=moved, and renamed/b,1.qcow2", background=True) as server:
            self.check_content(server.uri(), expected)

    @unittest.skipUnless(can_mount(), "needs nbdfuse, fusermount3 and a /dev/fuse that may be opened")
    def test_a_disk_mounted_as_a_file(self):
        archive, mounts = harness.FIXTURES / "vma" / "05-guest-writes.vma.zst", self.folder / "mounts"
        mounts.mkdir()
        with Server(self.folder, archive, "device=drive-scsi0") as server:
            for device in ("", "drive-virtio1"):
                flat = self.folder / "flat.raw"
                run(harness.VDISK, "export", "--force", f"{archive}#{device or 'drive-scsi0'}", flat)
                with self.subTest(device=device), MountedFile(mounts / f"at {device}", server.uri(device)) as mounted:
                    self.assert_same_file(mounted, flat)
                    self.assertRaises(OSError, mounted.write_bytes, b"1")

    @unittest.skipUnless(can_mount(), "needs nbdfuse, fusermount3 and a /dev/fuse that may be opened")
    def test_damage_in_a_mounted_file_is_an_error_for_its_sectors_alone(self):
        archive = harness.FIXTURES / "vma" / "damaged" / "d40-extent-lost.vma"
        flat, mounts = self.folder / "flat.raw", self.folder / "mounts"
        mounts.mkdir()
        _, _, said = outcome(harness.VDISK, "export", f"{archive}#drive-scsi0", flat)
        lost = [(int(start), int(length)) for start, length in re.findall(r"offset (\d+), (\d+) bytes can't be read", said)]
        self.assertNotEqual(lost, [])
        good, page = flat.read_bytes(), 4 * KIB  # what the kernel reads of a file at least
        refused = []
        with Server(self.folder, archive) as server, MountedFile(mounts / "at", server.uri("drive-scsi0")) as mounted, open(mounted, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            for at in range(0, len(good), page):
                try:
                    self.assertEqual(os.pread(file.fileno(), page, at), good[at:at + page])
                except OSError as error:
                    self.assertEqual(error.errno, errno.EIO)
                    refused.append(at)
        self.assertEqual(refused, [at for start, length in lost for at in range(start, start + length, page)])

    @unittest.skipUnless(harness.have("psktool"), "needs psktool")
    def test_keys_of_nbdkit_keep_others_out(self):
        expected, keys, other_keys = self.expected(self.make_image()), self.folder / "keys.psk", self.folder / "other.psk"
        for file in (keys, other_keys):
            run("psktool", "-u", "examiner", "-p", file)
        with Server(self.folder, self.image, options=["--tls=require", f"--tls-psk={keys}"]) as server:
            self.check_content(server.uri_with_key("examiner", keys), expected)
            for uri in (server.uri(), server.uri_with_key("examiner", other_keys)):
                self.assertNotEqual(outcome("nbdinfo", "--size", uri)[0], 0)
            self.assertEqual(int(run("nbdinfo", "--size", server.uri_with_key("examiner", keys))), SIZE)

    def test_concurrent_clients_read_the_same(self):
        base = self.make_image(count=60)
        packed = self.folder / "packed.qcow2"
        run("qemu-img", "convert", "-c", "-O", "qcow2", base, packed)
        expected = self.expected(packed)
        with Server(self.folder, packed) as server:
            copies = [self.folder / f"copy{number}.raw" for number in range(4)]
            clients = [subprocess.Popen(["nbdcopy", "--requests=16", server.uri(), str(copy)]) for copy in copies]
            clients.append(subprocess.Popen(["qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", server.uri(), str(expected)]))
            self.assertEqual([client.wait(PATIENCE) for client in clients], [0] * 5)
        for copy in copies:
            self.assert_same_file(copy, expected)

    def test_damage_is_an_error_for_its_range_alone(self):
        run("qemu-img", "create", "-q", "-f", "qcow2", self.image, SIZE)
        run("qemu-io", "-c", f"write -P 1 0 {8 * CLUSTER}", self.image)
        harness.lose_cluster(self.image, 3 * CLUSTER)
        with Server(self.folder, self.image) as server:
            def read(at, length):
                return outcome("qemu-io", "-r", "-f", "raw", "-c", f"read -P 1 {at} {length}", server.uri())

            for at in (3 * CLUSTER, 4 * CLUSTER - 512):
                status, said, _ = read(at, 512)
                self.assertNotEqual(status, 0)
                self.assertIn(b"Input/output error", said)
            self.assertNotEqual(read(0, 8 * CLUSTER)[0], 0)
            for at, length in ((0, 3 * CLUSTER), (4 * CLUSTER, 4 * CLUSTER)):
                status, said, errors = read(at, length)
                self.assertEqual(status, 0, errors)
                self.assertNotIn(b"verification failed", said)
            extents = json.loads(run("nbdinfo", "--map", "--json", server.uri()))
            self.assertEqual([(extent["offset"], extent["length"], extent["type"]) for extent in extents],
                             [(0, 8 * CLUSTER, 0), (8 * CLUSTER, SIZE - 8 * CLUSTER, 3)])
            self.assertNotEqual(outcome("nbdcopy", server.uri(), self.copy, timeout=PATIENCE)[0], 0)
            self.assertIn("disk.qcow2", server.errors())

    def test_a_killed_client_leaves_the_server_at_work(self):
        expected = self.expected(self.make_image(count=60))
        with Server(self.folder, self.image) as server:
            for _ in range(3):
                with subprocess.Popen(["nbdcopy", "--requests=64", server.uri(), "-"], stdout=subprocess.PIPE) as client:
                    client.stdout.read(KIB)
                    client.kill()
            self.check_content(server.uri(), expected)

    def test_nothing_can_be_written(self):
        before = harness.sha256_file(self.make_image())
        with Server(self.folder, self.image) as server:
            self.assertTrue(self.exports(server)["active"]["is_read_only"])
            self.assertNotEqual(outcome("qemu-io", "-f", "raw", "-c", "write 0 512", server.uri())[0], 0)
        self.assertEqual(harness.sha256_file(self.image), before)

    def test_an_export_that_is_not_there_is_refused_and_the_server_lives(self):
        self.make_image()
        with Server(self.folder, self.image) as server:
            self.assertNotEqual(outcome("nbdinfo", server.uri("other"))[0], 0)
            self.assertIn("no export 'other'", server.errors())
            self.assertEqual(int(run("nbdinfo", "--size", server.uri())), SIZE)

    def test_wrong_parameters_are_told_before_anything_is_served(self):
        self.make_image()
        # With a sanitizer preloaded nbdkit hangs at its end, in freelocale(), once any plugin has asked for an errno's text.
        missing_file = [] if harness.preloaded_sanitizers(PLUGIN) else [(["nowhere.qcow2"], "nowhere.qcow2: No such file")]
        for parameters, told in (
                *missing_file,
                ([self.image, "snapshot=none"], "has no snapshot 'none'"),
                ([self.image, "device=a", "device=b"], "'device' twice"),
                ([self.image, "device="], "'device' no value"),
                ([self.image, "file=again"], "file is given twice"),
                ([self.image, "colour=red"], "unknown parameter 'colour'"),
                ([self.image, "format=tar"], "no format is called 'tar'"),
                ([], "which image")):
            with self.subTest(parameters=parameters):
                server = Server(self.folder, *parameters)
                self.addCleanup(server.process.kill)
                self.assertEqual(server.process.wait(PATIENCE), 1)
                self.assertIn(told, server.errors())

    def test_what_does_not_open_is_told_before_anything_is_served(self):
        base, key, wrong = (self.folder / name for name in ("base.qcow2", "key", "wrong"))
        self.make_image(base)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", self.image)
        base.unlink()
        key.write_text("secret")
        wrong.write_text("guess")
        locked = self.folder / "locked.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "--object", f"secret,id=s,file={key}",
            "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", locked, "1M")
        # Where a sanitizer is preloaded, an errno's text makes nbdkit hang at its end: see above.
        missing = [] if harness.preloaded_sanitizers(PLUGIN) else [([self.image], "base.qcow2")]
        for parameters, told in (*missing, ([locked], "the image is encrypted"), ([locked, f"key-file={wrong}"], "opens none of the LUKS key slots")):
            with self.subTest(parameters=parameters):
                server = Server(self.folder, *parameters)
                self.addCleanup(server.process.kill)
                self.assertEqual(server.process.wait(PATIENCE), 1)
                self.assertIn(told, server.errors())
        with Server(self.folder, locked, f"key-file={key}") as server:
            self.assertEqual(int(run("nbdinfo", "--size", server.uri())), MIB)


if __name__ == "__main__":
    harness.main()
