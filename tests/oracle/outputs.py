#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the tools write: never onto an input, whole or not at all, and never unnoticed where it was not written."""
import contextlib
import fcntl
import gzip
import json
import os
import pty
import re
import resource
import shutil
import signal
import struct
import subprocess
import time
import unittest

import harness
import vma_writer
import vmgs
from harness import VDISK, outcome, run, sha256_file
from vdi_builder import Vdi, settings

HVCONFIG = str(harness.BUILD / "hvconfig")
SAVED_STATE = harness.FIXTURES / "hyperv" / "ram-compressed.vmrs"
MIB = 1 << 20


def state_of(folder):
    """Every file below a folder: its bytes, mode and inode."""
    return {str(path.relative_to(folder)): (path.lstat().st_ino, path.lstat().st_mode, os.readlink(path) if path.is_symlink() else sha256_file(path))
            for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file()}


class OutputTest(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.evidence = self.folder / "evidence"
        self.evidence.mkdir()

    def chain(self):
        """top.qcow2 over base.qcow2 over ground.raw, with a snapshot that has a machine state, and space that nothing refers to."""
        top, base, ground = (self.evidence / name for name in ("top.qcow2", "base.qcow2", "ground.raw"))
        ground.write_bytes(self.random_bytes(MIB))
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "ground.raw", "-F", "raw", base, MIB)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", top, MIB)
        run("qemu-io", "-c", "write -q -P 9 0 256k", top)
        with open(top, "ab") as file:
            file.write(self.random_bytes(65536))
        return top, base, ground

    def encrypted(self):
        key = self.evidence / "key"
        key.write_text("a passphrase")
        run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "--object", f"secret,id=key,file={key}", "-o", "encrypt.format=aes,encrypt.key-secret=key", self.evidence / "secret.qcow2", MIB)
        return self.evidence / "secret.qcow2", key

    def big(self, size=64 << 30):
        """A raw disk that takes long to write and no room."""
        path = self.evidence / "big.raw"
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    def links_of(self, path):
        """Paths by which a file can be named: its own, others that lead to the same, hard and symbolic links, links to links, a linked folder."""
        hard, soft, twice, folder = (self.folder / f"{path.name}.{kind}" for kind in ("hard", "soft", "twice", "folder"))
        for each in (hard, soft, twice, folder):
            with contextlib.suppress(FileNotFoundError):
                each.unlink()
        os.link(path, hard)
        soft.symlink_to(path)
        twice.symlink_to(soft)
        folder.symlink_to(path.parent)
        return [path, path.parent / ".." / path.parent.name / path.name, hard, soft, twice, folder / path.name]

    def refuses(self, *command, output, status=2, **keywords):
        """The command ends with one line that names the output, and changes nothing below the test's folder."""
        before = state_of(self.folder)
        got, _, said = outcome(*command, **keywords)
        self.assertEqual(state_of(self.folder), before, (command, said))
        self.assertEqual((got, said.count("\n")), (status, 1), (command, said))
        self.assertIn(output, said)
        return said


class OntoInputs(OutputTest):
    def assert_never_onto(self, command, inputs, **keywords):
        """`command` with each name of each input in the place of OUT."""
        for path in inputs:
            for name in self.links_of(path):
                with self.subTest(command=command, name=name):
                    said = self.refuses(*(name if word == "OUT" else word for word in command), output=str(name), **keywords)
                    self.assertIn("input", said)

    def test_an_image_or_what_it_is_read_from(self):
        top, base, ground = self.chain()
        for command in ("export", "leaked"):
            self.assert_never_onto([VDISK, command, "--force", top, "OUT"], [top, base, ground])
        for image, inputs in ((base, [base, ground]), (f"{top}#backing={base}", [top, base, ground])):
            self.assert_never_onto([VDISK, "export", "--force", image, "OUT"], inputs)

    def test_also_without_force_as_the_file_is_there(self):
        top, base, _ = self.chain()
        for command in ("export", "leaked"):
            self.assert_never_onto([VDISK, command, top, "OUT"], [top, base])

    def test_each_part_of_a_file_missing_ones_too(self):
        parts = [self.evidence / f"cut.qcow2.{number:03}" for number in range(1, 6)]
        whole = self.evidence / "whole.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=full", whole, 4 * MIB)
        data = whole.read_bytes()
        for number, part in enumerate(parts):
            part.write_bytes(data[number * MIB:(number + 1) * MIB])
        for command in ("export", "leaked"):
            self.assert_never_onto([VDISK, command, "--force", parts[0], "OUT"], parts)
        parts[3].unlink()
        before = state_of(self.folder)
        self.assertEqual(outcome(VDISK, "export", "--force", parts[0], parts[3])[0], 2)
        self.assertEqual(state_of(self.folder), before)

    def test_a_data_file(self):
        image, data = self.evidence / "disk.qcow2", self.evidence / "disk.data"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=disk.data,data_file_raw=on", image, MIB, cwd=self.evidence)
        run("qemu-io", "-c", "write -q -P 9 0 256k", image, cwd=self.evidence)
        other = self.evidence / "other.data"
        shutil.copyfile(data, other)
        for command in ("export", "leaked"):
            self.assert_never_onto([VDISK, command, "--force", image, "OUT"], [image, data])
            self.assert_never_onto([VDISK, command, "--force", f"{image}#data-file={other}", "OUT"], [other, data])

    def test_a_key_file(self):
        image, key = self.encrypted()
        for command in ("export", "leaked"):
            self.assert_never_onto([VDISK, command, "--force", f"{image}#key-file={key}", "OUT"], [image, key])
            self.assert_never_onto([VDISK, command, "--force", image, "OUT"], [key], env=dict(os.environ, VDISK_KEY_FILE=str(key)))

    def test_a_reference_file(self):
        top, base, ground = self.chain()
        run(VDISK, "ref", top, "-d", self.evidence)
        reference = self.evidence / "top.vdisk"
        for command in ("export", "leaked"):
            self.assert_never_onto([VDISK, command, "--force", reference, "OUT"], [reference, top, base, ground])

    def test_a_saved_machine_state(self):
        top, base, ground = self.chain()
        run("qemu-img", "snapshot", "-c", "one", top)
        self.assert_never_onto([VDISK, "leaked", "--force", f"{top}#one", "OUT"], [top, base, ground])

    def test_parents_and_settings_of_virtualbox(self):
        base = Vdi(4 * MIB)
        base.write(0, self.random_bytes(MIB))
        child = Vdi(4 * MIB, parent=base)
        child.write(1, self.random_bytes(MIB))
        base.save(self.evidence / "base.vdi")
        child.save(self.evidence / "child.vdi")
        machine = self.evidence / "m.vbox"
        machine.write_text(settings([(base, "base.vdi"), (child, "child.vdi")], child))
        inputs = [self.evidence / "child.vdi", self.evidence / "base.vdi", machine]
        self.assert_never_onto([VDISK, "export", "--force", machine, "OUT"], inputs)
        for command in ("export", "leaked"):
            self.assert_never_onto([VDISK, command, "--force", self.evidence / "child.vdi", "OUT"], inputs)
        machine.unlink()
        self.assert_never_onto([VDISK, "export", "--force", f"{self.evidence / 'child.vdi'}#parent={self.evidence / 'base.vdi'}", "OUT"], inputs[:2])

    def test_a_compressed_image(self):
        raw = self.evidence / "disk.raw.gz"
        raw.write_bytes(gzip.compress(self.random_bytes(MIB)))
        self.assert_never_onto([VDISK, "export", "--force", raw, "OUT"], [raw])

    def test_memory_of_a_saved_state(self):
        saved = self.evidence / "machine.vmrs"
        shutil.copyfile(SAVED_STATE, saved)
        for form in ("raw", "lime"):
            self.assert_never_onto([HVCONFIG, "memory", "--force", "-O", form, saved, "OUT"], [saved])

    def test_what_is_named_and_missing_is_not_made(self):
        """A file of that name would be taken for the image's own."""
        top, base, _ = self.chain()
        base.unlink()
        for command in ("export", "leaked"):
            before = state_of(self.folder)
            self.assertEqual(outcome(VDISK, command, "--force", top, base)[0], 2)
            self.assertEqual(state_of(self.folder), before)

    def test_what_can_not_be_followed_counts_all_the_same(self):
        """No key, no sound parent, no leave to open it: it is named."""
        top, base, ground = self.chain()
        for environment in ({"VDISK_REFERENCES": "deny"}, {"VDISK_REFERENCES": "same-dir"}):
            self.assert_never_onto([VDISK, "leaked", "--force", top, "OUT"], [base], env={**os.environ, **environment})
        base.write_bytes(b"QFI\xfb\0\0\0\x03" + bytes(600))
        self.assert_never_onto([VDISK, "leaked", "--force", top, "OUT"], [top, base])

    def test_reference_files_replace_only_their_like(self):
        top, base, _ = self.chain()
        (self.evidence / "top.vdisk").write_bytes(b"evidence")
        for force in ([], ["--force"]):
            self.refuses(VDISK, "ref", *force, top, "-d", self.evidence, output="top.vdisk")
        for kind in (os.link, os.symlink):
            (self.evidence / "top.vdisk").unlink()
            kind(base, self.evidence / "top.vdisk")
            self.refuses(VDISK, "ref", "--force", top, "-d", self.evidence, output="top.vdisk")

    def test_standard_output_appended_to_an_input(self):
        top, base, _ = self.chain()
        saved = self.evidence / "machine.vmrs"
        shutil.copyfile(SAVED_STATE, saved)
        shown = [[VDISK, command, top] for command in ("info", "ls", "hash", "audit", "verify", "config")]
        shown += [[VDISK, "export", top, "-"], [VDISK, "leaked", top, self.folder / "leaked"], [VDISK, "ref", top, "-d", self.folder / "refs"]]
        run(VDISK, "ref", top, "-d", self.folder)
        shown.append([VDISK, "ref", "--check", self.folder / "top.vdisk"])
        before = state_of(self.evidence)
        for command, outputs in [(command, (top, base)) for command in shown] + [([HVCONFIG, name, saved], (saved,)) for name in ("dump", "info", "verify", "disks", "deleted")]:
            for output in outputs:
                for mode in (os.O_APPEND, 0):
                    with self.subTest(command=command, output=output, mode=mode):
                        descriptor = os.open(output, os.O_RDWR | mode)
                        done = subprocess.run([str(word) for word in command], stdout=descriptor, stderr=subprocess.PIPE)
                        os.close(descriptor)
                        self.assertEqual(state_of(self.evidence), before)
                        self.assertEqual(done.returncode, 2, done.stderr)

    def test_warnings_appended_to_an_input(self):
        top, _, _ = self.chain()
        os.truncate(top, top.stat().st_size - 2 * 65536)
        before = state_of(self.evidence)
        with open(top, "ab") as file:
            subprocess.run([VDISK, "hash", top], stdout=subprocess.DEVNULL, stderr=file)
            subprocess.run([VDISK, "info", f"{top}#nothing"], stdout=subprocess.DEVNULL, stderr=file)
        self.assertEqual(state_of(self.evidence), before)


@unittest.skipUnless(os.geteuid() == 0 and harness.have("losetup"), "making loop devices needs root")
class Devices(OutputTest):
    def loop(self, path):
        done = subprocess.run(["losetup", "--show", "-f", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            self.skipTest(f"no loop device is to be had: {done.stderr}")
        self.addCleanup(subprocess.run, ["losetup", "-d", done.stdout.strip()])
        return done.stdout.strip()

    def raw(self, name, size=MIB):
        path = self.evidence / name
        path.write_bytes(self.random_bytes(size))
        return path

    def test_a_device_and_the_file_below_it_are_one(self):
        disk = self.raw("disk.raw")
        device = self.loop(disk)
        node = self.folder / "node"
        os.mknod(node, os.stat(device).st_mode, os.stat(device).st_rdev)
        for image, output in ((disk, device), (device, disk), (device, device), (device, node), (disk, node), (node, device)):
            with self.subTest(image=image, output=output):
                self.assertIn("input", self.refuses(VDISK, "export", "--force", "-f", "raw", image, output, output=str(output)))

    def test_another_device_is_written_to_when_that_is_said(self):
        disk, target = self.raw("disk.raw"), self.raw("target.raw", 2 * MIB)
        rest, device = target.read_bytes()[MIB:], self.loop(target)
        self.refuses(VDISK, "export", "-f", "raw", disk, device, output=device)
        run(VDISK, "export", "--force", "-f", "raw", disk, device)
        run("sync", device)
        self.assertEqual(target.read_bytes(), disk.read_bytes() + rest)

    def test_holes_are_zeros_on_a_device(self):
        image, target = self.evidence / "empty.qcow2", self.raw("target.raw")
        run("qemu-img", "create", "-q", "-f", "qcow2", image, MIB)
        device = self.loop(target)
        run(VDISK, "export", "--force", image, device)
        run("sync", device)
        self.assertEqual(target.read_bytes(), bytes(MIB))

    def test_too_small_a_device_stays_as_it_is(self):
        disk, target = self.raw("disk.raw"), self.raw("target.raw", MIB // 2)
        self.assertIn(str(MIB), self.refuses(VDISK, "export", "--force", "-f", "raw", disk, self.loop(target), output="/dev/loop"))


class Whole(OutputTest):
    """An output is there when it is whole; what it replaces stays until then."""

    def old(self):
        path = self.folder / "out.raw"
        path.write_bytes(b"an earlier result")
        path.chmod(0o640)
        return path

    def assert_nothing_happened(self, before):
        self.assertEqual(state_of(self.folder), before)

    def test_a_new_file_has_the_usual_mode_and_an_old_one_keeps_its_own(self):
        top, _, _ = self.chain()
        old, new = self.old(), self.folder / "new.raw"
        run(VDISK, "export", "--force", top, old)
        run(VDISK, "export", top, new, preexec_fn=lambda: os.umask(0o027))
        self.assertEqual((old.stat().st_mode & 0o777, new.stat().st_mode & 0o777), (0o640, 0o640))
        self.assert_same_file(old, new)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["evidence", "new.raw", "out.raw"])

    def test_other_links_of_a_replaced_file_keep_its_bytes(self):
        top, _, _ = self.chain()
        old, link = self.old(), self.folder / "link"
        os.link(old, link)
        run(VDISK, "export", "--force", top, old)
        self.assertEqual(link.read_bytes(), b"an earlier result")

    def test_a_symbolic_link_leads_to_the_new_file(self):
        top, _, _ = self.chain()
        old, link = self.old(), self.evidence / "link"
        link.symlink_to("../out.raw")
        self.refuses(VDISK, "export", top, link, output="link")
        run(VDISK, "export", "--force", top, link)
        self.assertTrue(link.is_symlink())
        self.assertEqual(old.stat().st_size, MIB)

    def test_what_is_there_is_left_without_force(self):
        top, _, _ = self.chain()
        saved, leading_nowhere = self.folder / "machine.vmrs", self.folder / "nowhere"
        shutil.copyfile(SAVED_STATE, saved)
        leading_nowhere.symlink_to("gone")
        for output in (self.old(), leading_nowhere):
            for command in ([VDISK, "export", top], [VDISK, "leaked", top], [HVCONFIG, "memory", saved]):
                self.refuses(*command, output, output=str(output))

    def test_folders_and_names_that_can_not_be(self):
        top, _, _ = self.chain()
        for output in (self.evidence, f"{self.evidence}/", self.folder / "gone" / "out", "", f"{self.folder}/out/", f"{top}/out", self.folder / ("x" * 256)):
            for force in ([], ["--force"]):
                with self.subTest(output=output, force=force):
                    self.refuses(VDISK, "export", *force, top, output, output=str(output))

    @unittest.skipIf(os.geteuid() == 0, "root may write to any file")
    def test_a_file_that_may_not_be_written_to_is_not_replaced(self):
        top, _, _ = self.chain()
        old = self.old()
        old.chmod(0o440)
        self.refuses(VDISK, "export", "--force", top, old, output=str(old))

    def test_the_longest_names(self):
        top, _, _ = self.chain()
        run(VDISK, "export", top, self.folder / ("x" * 255))
        self.assertEqual((self.folder / ("x" * 255)).stat().st_size, MIB)

    def test_a_file_that_grows_too_large(self):
        """As with a file system's or a user's limit on the way."""
        raw = self.evidence / "disk.raw"
        raw.write_bytes(self.random_bytes(4 * MIB))
        saved = self.evidence / "machine.vmrs"
        shutil.copyfile(SAVED_STATE, saved)
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        for output in (self.old(), self.folder / "new.raw"):
            for command in ([VDISK, "export", "--force", "-f", "raw", raw], [HVCONFIG, "memory", "--force", saved], [HVCONFIG, "memory", "--force", "-O", "lime", saved]):
                with self.subTest(command=command, output=output):
                    self.assertIn("File too large", self.refuses(*command, output, output=str(output), preexec_fn=limit))

    def test_a_full_disk(self):
        raw = self.evidence / "disk.raw"
        raw.write_bytes(self.random_bytes(4 * MIB))
        full = self.folder / "full"
        full.mkdir()
        script = f"""mount -t tmpfs -o size=1m none {full} || exit 77; echo old >{full}/old
for out in {full}/old {full}/new; do '{VDISK}' export --force -f raw {raw} $out; echo "status $?"; done; ls {full}; cat {full}/old"""
        status, out, said = outcome("unshare", "--mount", *(["--map-root-user"] if os.geteuid() else []), "sh", "-c", script)
        if status == 77 or "unshare" in said:
            self.skipTest(f"a file system can't be mounted here: {said}")
        self.assertEqual(out.decode().split(), ["status", "2", "status", "2", "old", "old"])
        self.assertEqual((said.count("No space left on device"), said.count("\n")), (2, 2), said)

    def test_more_bytes_than_a_file_can_have(self):
        """One line before anything is written, where the file system has such a limit."""
        raw = self.evidence / "huge.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", raw, "60T")
        with open(self.folder / "probe", "wb") as probe:
            try:
                probe.truncate(60 << 40)
                self.skipTest("this file system takes a file of 60 TiB")
            except OSError:
                pass
        self.assertIn(str(60 << 40), self.refuses(VDISK, "export", raw, self.folder / "out.raw", output="out.raw"))

    def test_what_can_not_be_read_leaves_a_result(self):
        top, _, _ = self.chain()
        os.truncate(top, top.stat().st_size - 2 * 65536)
        out = self.folder / "out.raw"
        self.assertEqual(outcome(VDISK, "export", top, out)[0], 1)
        self.assertEqual(out.stat().st_size, MIB)

    def test_an_image_that_does_not_open_makes_and_replaces_nothing(self):
        (self.evidence / "bad.qcow2").write_bytes(b"QFI\xfb" + bytes(600))
        for output in (self.old(), self.folder / "new.raw"):
            for command in ("export", "leaked"):
                self.refuses(VDISK, command, "--force", self.evidence / "bad.qcow2", output, output="bad.qcow2")

    def test_wrong_inputs_of_every_command(self):
        """One line, status 2, nothing made and nothing replaced."""
        empty, fifo, text = self.evidence / "empty", self.evidence / "fifo", self.evidence / "text"
        empty.touch()
        os.mkfifo(fifo)
        text.write_text("no image")
        old = self.old()
        disk = {"info": [], "ls": [], "audit": [], "hash": [], "verify": [], "config": [], "bitmap": ["changes"], "export": ["--force", old], "leaked": ["--force", old],
                "ref": ["-d", self.folder / "refs"]}
        machine = {"dump": [], "get": ["/configuration"], "info": [], "verify": [], "diff": [SAVED_STATE], "disks": [], "deleted": [], "memory": ["--force", old]}
        for tool, table in ((VDISK, disk), (HVCONFIG, machine)):
            for name, arguments in table.items():
                for wrong in (self.evidence, empty, fifo, text, self.evidence / "gone", f"{text}/x"):
                    with self.subTest(tool=tool, command=name, wrong=wrong):
                        said = self.refuses(tool, name, wrong, *arguments, output=str(wrong), stdin=subprocess.DEVNULL, timeout=20)
                        self.assertFalse((self.folder / "refs").exists(), said)

    def test_signals(self):
        raw, old = self.big(), self.old()
        before = state_of_small(self.folder)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for output in (old, self.folder / "new.raw"):
                with self.subTest(signal=number, output=output):
                    process = subprocess.Popen([VDISK, "export", "--force", "-f", "raw", raw, output], stderr=subprocess.PIPE)
                    wait_for(lambda: list(self.folder.glob("*.partial")))
                    self.assertEqual(old.read_bytes(), b"an earlier result")
                    process.send_signal(number)
                    self.assertEqual((process.communicate()[1], process.returncode), (b"", -number))
                    self.assertEqual(state_of_small(self.folder), before)

    def test_an_ignored_signal_stays_ignored(self):
        top, _, _ = self.chain()
        process = subprocess.Popen([VDISK, "export", top, "-"], stdout=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        process.send_signal(signal.SIGHUP)
        self.assertEqual(len(process.communicate()[0]), MIB)
        self.assertEqual(process.returncode, 0)

    def test_a_file_that_appears_meanwhile_stays(self):
        raw, output = self.big(1 << 30), self.folder / "new.raw"
        process = subprocess.Popen([VDISK, "export", "-f", "raw", raw, output], stderr=subprocess.PIPE)
        wait_for(lambda: list(self.folder.glob("*.partial")))
        output.write_bytes(b"of another program")
        said = process.communicate()[1].decode()
        self.assertEqual((process.returncode, said.count("\n")), (2, 1), said)
        self.assertEqual(output.read_bytes(), b"of another program")
        self.assertEqual(list(self.folder.glob("*.partial")), [])


def state_of_small(folder):
    """state_of() but for the contents of large files."""
    return {str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()}


def wait_for(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("did not come true in ten seconds")


class Streams(OutputTest):
    """What is no file is written to as it is."""

    def test_devices_and_pipes(self):
        top, _, _ = self.chain()
        disk = run("qemu-img", "convert", "-O", "raw", top, self.folder / "disk.raw") or (self.folder / "disk.raw").read_bytes()
        run(VDISK, "export", top, "/dev/null")
        for name in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
            self.assertEqual(run(VDISK, "export", "--hash", "md5", top, name), disk)
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        reader = subprocess.Popen(["cp", str(fifo), str(self.folder / "taken")])
        run(VDISK, "export", top, fifo)
        self.assertEqual(reader.wait(), 0)
        self.assertEqual((self.folder / "taken").read_bytes(), disk)
        self.assertTrue(fifo.is_fifo())
        self.assertTrue(os.path.exists("/dev/null") and not os.path.isfile("/dev/null"))

    def test_standard_output_that_is_a_file_keeps_what_it_has(self):
        top, _, _ = self.chain()
        out = self.folder / "out"
        out.write_bytes(b"before")
        with open(out, "ab") as file:
            subprocess.run([VDISK, "export", top, "/dev/stdout"], stdout=file, check=True)
        self.assertEqual((out.read_bytes()[:6], out.stat().st_size), (b"before", 6 + MIB))

    def test_what_is_written_out_of_order_needs_a_file(self):
        for output in ("-", "/dev/null", "/dev/stdout"):
            status, out, said = outcome(HVCONFIG, "memory", "--output-format", "lime", SAVED_STATE, output)
            self.assertEqual((status, out, said.count("\n")), (2, b"", 1), said)

    def test_a_closed_standard_output_does_not_become_another_file(self):
        top, _, _ = self.chain()
        before = state_of(self.evidence)
        out = self.folder / "out.raw"
        done = subprocess.run(["sh", "-c", '"$0" export --hash sha256 "$1" "$2" >&-', VDISK, top, out], stderr=subprocess.PIPE)
        self.assertEqual((done.returncode, out.stat().st_size), (2, MIB), done.stderr)
        done = subprocess.run(["sh", "-c", '"$0" info "$1" >&- 2>&-', VDISK, top])
        self.assertEqual(done.returncode, 2)
        self.assertEqual(state_of(self.evidence), before)

    def test_warnings_that_can_not_be_printed(self):
        top, _, _ = self.chain()
        os.truncate(top, top.stat().st_size - 2 * 65536)
        with open("/dev/full", "wb") as full:
            for command, status in (([VDISK, "hash", top], 1), ([VDISK, "info", f"{top}#nothing"], 2), ([VDISK, "info", self.folder / "gone"], 2)):
                self.assertEqual(subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=full).returncode, status)


class NotWritten(OutputTest):
    """Every command of both tools, with an output that takes nothing."""

    def commands(self):
        top, _, _ = self.chain()
        run("qemu-img", "bitmap", "--add", top, "changes")
        with open(top, "ab") as file:
            file.write(self.random_bytes(65536))  # the bitmap has taken the space that nothing referred to
        archive = self.evidence / "backup.vma"
        raw = self.evidence / "disk.raw"
        raw.write_bytes(bytes(MIB))
        vma_writer.write(archive, [("drive-scsi0", raw)], configs=[("qemu-server.conf", b"cores: 2\n")])
        disk = {"info": [top], "ls": [top], "audit": [top], "hash": [top], "verify": [archive], "export": [top, "-"], "bitmap": [top, "changes"],
                "map": [top], "diff": [top, raw],
                "config": [archive], "leaked": ["--force", top, self.folder / "leaked"], "ref": ["--force", "-d", self.folder / "refs", top],
                "report": ["-o", "-", top]}
        saved = SAVED_STATE
        guest = self.evidence / "machine.vmgs"
        guest.write_bytes(vmgs.state({7: b"an identifier..."}))
        machine = {"guest-state": [guest], "dump": [saved], "get": [saved, "/configuration"], "info": [saved], "verify": [saved], "diff": [saved, harness.FIXTURES / "hyperv" / "types.vmcx"],
                   "disks": [saved], "deleted": [saved], "memory": [saved, "-"]}
        key = next(line.split(" ")[0].split("=")[0].rstrip(":") for line in run(HVCONFIG, "dump", "--output-format", "flat", saved).decode().splitlines())
        machine["get"] = [saved, key]
        for tool, table in ((VDISK, disk), (HVCONFIG, machine)):
            names = set(self.names(tool)) - {"mount"}  # which prints nothing
            self.assertEqual(set(table), names, "a command that this test does not know")
            for name, arguments in table.items():
                has_json = b"--json" in run(tool, name, "--help")
                for json_too in ([], ["--json"]) if has_json and name != "ref" else ([],):
                    if name == "bitmap" and not json_too:
                        continue  # no range is dirty, so nothing is printed
                    if name in ("export", "memory") and json_too:
                        arguments = ["--force", *arguments[:-1], self.folder / name]  # the JSON has standard output for itself
                    yield [tool, name, *json_too, *arguments]
        for tool in (VDISK, HVCONFIG):
            yield from ([tool, option] for option in ("--help", "--version"))
            yield [tool, "info", "--help"]

    def names(self, tool):
        """The commands that help lists, but for help itself."""
        listed = run(tool, "--help").decode().split("\nCommands:\n")[1].split("\n\n")[0]
        return [name for name in re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE) if name != "help"]

    def test_a_full_device(self):
        for command in self.commands():
            with self.subTest(command=command), open("/dev/full", "wb") as full:
                done = subprocess.run([str(word) for word in command], stdout=full, stderr=subprocess.PIPE, text=True)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertRegex(done.stderr.splitlines()[-1], r": (No space left on device|not all of it was written)$")
                self.assertEqual(done.stderr.count("standard output"), 1)

    def test_a_closed_pipe(self):
        for command in self.commands():
            with self.subTest(command=command):
                reading, writing = os.pipe()
                os.close(reading)
                done = subprocess.run([str(word) for word in command], stdout=writing, stderr=subprocess.PIPE, text=True)
                os.close(writing)
                self.assertEqual(done.returncode, -signal.SIGPIPE)
                self.assertNotIn("ipe", done.stderr)

    def test_a_closed_pipe_where_its_signal_is_ignored(self):
        top, _, _ = self.chain()
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run([VDISK, "info", top], stdout=writing, stderr=subprocess.PIPE, text=True, restore_signals=False,
                              preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN))
        os.close(writing)
        self.assertEqual((done.returncode, done.stderr.count("\n")), (2, 1), done.stderr)


class Terminal(OutputTest):
    """The screen of a terminal on which a progress bar was."""

    def on_terminal(self, *command, ended_by=None, at=rb"#"):
        """Runs a command on a terminal of its own, and types `ended_by` once it shows `at`; returns (status, all that was shown)."""
        process, terminal = pty.fork()
        if process == 0:
            os.execv(str(command[0]), [str(word) for word in command])
        fcntl.ioctl(terminal, 0x5414, struct.pack("4H", 25, 80, 0, 0))  # TIOCSWINSZ
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal's end is told
            while chunk := os.read(terminal, 4096):
                shown += chunk
                if ended_by and re.search(at, shown):
                    os.write(terminal, ended_by)
                    ended_by = None
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), shown.decode()

    def screen(self, shown):
        """The lines that are left: of each, what follows the last time that it was wiped."""
        return [line.rpartition("\r\033[K")[2].rstrip("\r") for line in shown.split("\n")]

    def stream(self, size=16 * MIB):
        path = self.evidence / "disk.raw.gz"
        path.write_bytes(gzip.compress(self.random_bytes(size), compresslevel=1))
        return path

    def test_a_first_opening_leaves_no_bar(self):
        path = self.stream()
        for command in ("info", "ls", "hash", "audit", "verify", "export", "ref"):
            with self.subTest(command=command):
                shutil.rmtree(self.folder / "refs", ignore_errors=True)
                arguments = {"export": [path, self.folder / "out.raw"], "ref": ["-d", self.folder / "refs", path]}.get(command, [path])
                _, shown = self.on_terminal(VDISK, command, *arguments)
                self.assertIn("[", shown)
                self.assertIn("\r\033[K", shown)
                for line in self.screen(shown):
                    self.assertNotRegex(line, r"\[#* *\]")

    def test_an_error_behind_a_bar_begins_its_line(self):
        path = self.stream()
        with open(path, "r+b") as file:
            file.truncate(path.stat().st_size // 2)
        for command in ("hash", "verify", "audit", "info"):
            _, shown = self.on_terminal(VDISK, command, path)
            for line in self.screen(shown):
                self.assertNotRegex(line, r"\[#* *\]")

    def test_a_bar_shows_rate_and_remaining_time_and_fits_the_terminal(self):
        bar = r"exporting \[#* *\] +\d+ % [0-9.]+ [KMGT]iB/s (\d+:)?\d+:\d\d left"
        status, shown = self.on_terminal(VDISK, "export", "-f", "raw", self.big(16 << 30), self.folder / "out.raw", ended_by=b"\x03", at=bar.encode())
        self.assertEqual(status, -signal.SIGINT)
        lines = re.split(r"\r\x1b\[K", shown.replace("^C", ""))
        self.assertTrue(any(re.fullmatch(bar, line) for line in lines), lines[-3:])
        self.assertLess(max(map(len, lines)), 80)
        self.assertEqual(list(self.folder.glob("out.raw*")), [])

    def test_interrupting_wipes_the_bar(self):
        status, shown = self.on_terminal(VDISK, "export", "-f", "raw", self.big(), self.folder / "out.raw", ended_by=b"\x03")
        self.assertEqual(status, -signal.SIGINT)
        self.assertEqual("".join(self.screen(shown)).replace("^C", ""), "")
        self.assertEqual([path.name for path in self.folder.iterdir()], ["evidence"])


class Continued(OutputTest):
    """An export that is ended, and goes on."""

    def setUp(self):
        super().setUp()
        self.out = self.folder / "out.raw"
        self.partial, self.state = self.folder / "out.raw.partial", self.folder / "out.raw.partial.state"

    def disk(self, name="disk.qcow2"):
        """460 MiB of many patterns, more than an export writes until it notes where it is; what is lost of it lies near its start."""
        image = self.evidence / name
        run("qemu-img", "create", "-q", "-f", "qcow2", image, 480 * MIB)
        run("qemu-io", *(word for at in range(0, 460, 4) for word in ("-c", f"write -q -P {1 + (at // 4 + len(name)) % 250} {at}M 4M")), image)
        harness.lose_cluster(image, 2 * MIB)
        return image

    def interrupted(self, image, number=signal.SIGINT, *options):
        """Ends an export once it has noted that something is written; returns how much."""
        with subprocess.Popen([VDISK, "export", "--continue", *options, image, self.out], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            wait_for(lambda: self.state.exists() and json.loads(self.state.read_text())["written"] > 0 or process.poll() is not None)
            process.send_signal(number)
            process.communicate()
        self.assertEqual(process.returncode, -number)
        self.assertFalse(self.out.exists())
        return json.loads(self.state.read_text())["written"]

    def export(self, image, *options, status=1):
        got, out, said = outcome(VDISK, "export", "--continue", *options, image, self.out)
        self.assertEqual(got, status, said)
        return out.decode(), said

    def test_it_goes_on_where_it_was_and_tells_all_that_is_lost(self):
        image = self.disk()
        whole = self.folder / "whole.raw"
        told = outcome(VDISK, "export", "--hash", "sha256", image, whole)
        for number in (signal.SIGINT, signal.SIGKILL):
            written = self.interrupted(image, number)
            self.assertGreater(written, 0)
            with open(self.partial, "r+b") as file:  # what came after the last note
                file.seek(written)
                file.write(b"not the disk's")
            out, said = self.export(image, "--hash", "sha256")
            self.assertIn(f"goes on at byte {written}\n", said)
            self.assertEqual(out.replace(str(self.out), "F"), told[1].decode().replace(str(whole), "F"))
            self.assertEqual([line for line in said.splitlines() if "goes on" not in line], told[2].splitlines())
            self.assert_same_file(self.out, whole)
            self.assertEqual([path.name for path in self.folder.glob("out*")], ["out.raw"])
            self.out.unlink()

    def refuses_to_go_on(self, image, *words, options=()):
        before = state_of(self.folder)
        said = self.export(image, *options, status=2)[1]
        self.assertEqual(state_of(self.folder), before, said)
        for word in words:
            self.assertIn(word, said)

    def test_what_is_not_the_same_is_refused(self):
        image, other = self.disk(), self.disk("other.qcow2")
        self.interrupted(image)
        self.refuses_to_go_on(other, "out.raw.partial.state", "is of another export", "disk.qcow2")
        state = self.state.read_text()
        written = json.loads(state)["written"]
        for at in (written - 1, 0):
            with open(self.partial, "r+b") as file:
                file.seek(at)
                kept = file.read(1)
                file.seek(at)
                file.write(bytes([kept[0] ^ 1]))
            self.refuses_to_go_on(image, "out.raw.partial: has other bytes than the disk")
            with open(self.partial, "r+b") as file:
                file.seek(at)
                file.write(kept)
        for wrong, word in (("{}", "is not the state of an export"), (state.replace('"written": ', '"written": 9'), "bytes were written"), (state[:-20], "is not the state"),
                            (state.replace('"size": ', '"size": 1'), "disk was"), (state.replace(f'"offset": {2 * MIB}', f'"offset": {2**64 - 1}'), "'lost' is damaged")):
            self.state.write_text(wrong)
            self.refuses_to_go_on(image, word)
        self.state.write_text(state)
        os.utime(image, ns=(0, 0))
        self.refuses_to_go_on(image, "modified at 0 ns")
        self.state.unlink()
        self.refuses_to_go_on(image, "no state beside it")
        shutil.copy(self.partial, self.folder / "copy")
        self.partial.unlink()
        os.link(self.folder / "copy", self.partial)
        self.refuses_to_go_on(image, "no regular file of one name")

    def test_no_other_file_is_taken_for_one(self):
        image = self.evidence / "small.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", image, MIB)
        self.partial.symlink_to(image)
        self.refuses_to_go_on(image, "out.raw.partial")
        self.partial.unlink()
        self.partial.write_text("mine")
        self.refuses_to_go_on(image, "out.raw.partial")
        self.partial.unlink()
        os.mkfifo(self.partial)
        self.assertEqual(outcome(VDISK, "export", "--continue", image, self.out, timeout=60)[0], 2)
        self.partial.unlink()
        self.assertIn("only a file can be continued", outcome(VDISK, "export", "--continue", image, "-")[2])
        self.export(image, status=0)
        self.assert_same_file(self.out, self.raw_of(image))

    def raw_of(self, image):
        raw = self.folder / "expected.raw"
        run("qemu-img", "convert", "-O", "raw", image, raw)
        return raw


class Others(OutputTest):
    """Images that other programs are at."""

    def change_while(self, command, path, change):
        with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            self.assertTrue(process.stdout.read(1))
            change(path)
            while process.stdout.read(MIB):
                pass
            said = process.stderr.read().decode()
        return process.returncode, said

    def test_an_image_that_changes_is_told(self):
        def write(path):
            with open(path, "r+b") as file:
                file.seek(path.stat().st_size - 1)
                file.write(b"x")

        def write_and_hide(path):
            before = path.stat()
            write(path)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

        def grow(path):
            with open(path, "ab") as file:
                file.write(b"x" * 512)

        for change in (write, write_and_hide, grow):
            with self.subTest(change=change.__name__):
                status, said = self.change_while([VDISK, "export", "-f", "raw", self.big(256 << 20), "-"], self.evidence / "big.raw", change)
                self.assertEqual((status, said.count("was changed while it was read")), (1, 1), said)

    def test_reading_is_no_change(self):
        status, said = self.change_while([VDISK, "export", "-f", "raw", self.big(256 << 20), "-"], self.evidence / "big.raw", lambda path: path.read_bytes()[:1])
        self.assertEqual((status, said), (0, ""))

    def test_a_running_machine_is_told(self):
        top, base, _ = self.chain()
        before = state_of(self.evidence)
        for options, told in ((["-r"], 0), ([], 1)):
            machine = subprocess.Popen(["qemu-io", *options, str(top)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            machine.stdin.write(b"length\n")
            machine.stdin.flush()
            machine.stdout.readline()
            for command in ([VDISK, "hash", top], [VDISK, "export", "--force", top, self.folder / "out.raw"], [VDISK, "leaked", "--force", top, self.folder / "leaked"]):
                status, _, said = outcome(*command)
                self.assertEqual((status, said.count("another program has it open for writing")), (0, told), said)
                self.assertIn(str(top) if told else "", said)
            # No lock was taken: another program that writes is still let in or kept out as before.
            machine.communicate(b"quit\n")
        self.assertEqual(state_of(self.evidence), before)


class Names(OutputTest):
    def test_images_of_one_name_get_different_reference_files(self):
        Vdi(MIB).save(self.evidence / "d.vdi")
        run("qemu-img", "create", "-q", "-f", "qcow2", self.evidence / "d.qcow2", MIB)
        refs = self.folder / "made" / "refs"
        images = [self.evidence / "d.qcow2", self.evidence / "d.vdi"]
        together = run(VDISK, "ref", *images, "-d", refs).decode().split()
        self.assertEqual(together, [str(refs / "d.vdisk"), str(refs / "d.vdi.vdisk")])
        shutil.rmtree(refs)
        apart = [run(VDISK, "ref", image, "-d", refs).decode().strip() for image in images]
        self.assertEqual(apart, together)
        for reference, image in zip(apart, images):
            self.assertTrue(os.path.samefile(json.loads(run(VDISK, "info", "--json", reference))["file"], image))
        self.refuses(VDISK, "ref", images[0], "-d", refs, output="d.vdisk")
        self.assertEqual(run(VDISK, "ref", "--force", images[1], "-d", refs).decode().strip(), apart[1])

    def test_nothing_is_made_where_nothing_opens(self):
        (self.evidence / "bad.qcow2").write_bytes(b"QFI\xfb" + bytes(600))
        self.refuses(VDISK, "ref", self.evidence / "bad.qcow2", "-d", self.folder / "refs", output="bad.qcow2")
        self.assertFalse((self.folder / "refs").exists())


if __name__ == "__main__":
    harness.main()
