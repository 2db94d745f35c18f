#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vdisk-triage on one machine: each result against the program that it comes from, or another one."""
import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
import unittest

import harness
import triage_case
import tsk
from harness import outcome, run

PATIENCE = 120


def setUpModule():
    tsk.require_plugin()
    if tsk.sanitized():
        raise unittest.SkipTest("a sanitized plugin can't be loaded by the launcher")


class Triage(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.environment = triage_case.environment(self.folder)
        self.case, self.results = self.folder / "case", self.folder / "results"
        self.case.mkdir()

    def triage(self, *arguments, status=0):
        ended, said, errors = outcome(triage_case.DRIVER, *arguments, env=self.environment)
        self.assertEqual(ended, status, errors + self.failed_steps())
        return said.decode(), errors

    def failed_steps(self):
        every = (json.loads(path.read_text()) for path in self.results.glob("disks/*/found.json"))
        return "\n".join(str(found) for found in every if not found["complete"])

    def manifest(self, *names):
        path = self.case / "manifest"
        path.write_text("".join(f"{name}\n" for name in names))
        return path

    def found(self, part):
        """found.json of the disk whose image has `part` in its name."""
        every = [json.loads(path.read_text()) for path in self.results.glob("disks/*/found.json")]
        (found,) = (found for found in every if part in found["task"]["image"])
        return found

    def rows(self, query):
        database = sqlite3.connect(self.results / "summary.sqlite")
        self.addCleanup(database.close)
        return database.execute(query).fetchall()

    def folder_of(self, part):
        return self.results / "disks" / self.found(part)["task"]["name"]

    def test_every_kind_of_image(self):
        manifest = triage_case.make_manifest(self.case, 10, self.random)
        self.triage("run", "--local", "-j", 2, "--loaddb", manifest, self.results)
        for image, state, sha256 in self.rows("SELECT image, state, sha256 FROM disk WHERE kind = 'disk'"):
            with self.subTest(image=image):
                flat = run(harness.VDISK, "export", image, "-")
                self.assertEqual((state, sha256), ("complete", hashlib.sha256(flat).hexdigest()))
        self.assertEqual(len(self.rows("SELECT * FROM disk")), 10)
        self.assertEqual(len(self.rows("SELECT * FROM machine WHERE name <> ''")), 2)
        tables = self.rows("SELECT start, sectors FROM partition")
        self.assertEqual(tables, [(tsk.PART, 8192)] * len(tables))
        for database in self.results.glob("disks/*/tsk.db"):
            stored = sqlite3.connect(database)
            self.assertGreater(stored.execute("SELECT count(*) FROM tsk_files").fetchone()[0], 10)
            stored.close()

    def test_the_time_line_is_what_mactime_makes_of_the_body_files(self):
        manifest = triage_case.make_manifest(self.case, 4, self.random)
        self.triage("run", "--local", manifest, self.results)
        lines = [line.split("\t") for line in (self.results / "timeline.tsv").read_text().splitlines()]
        self.assertEqual([int(line[0]) for line in lines], sorted(int(line[0]) for line in lines))
        for name, image in self.rows("SELECT folder, image FROM disk"):
            expected = set()
            for row in run("mactime", "-d", "-y", "-z", "UTC", "-b", self.results / "disks" / name / "body").decode().splitlines()[1:]:
                when, size, letters, mode, uid, gid, inode, path = row.split(",", 7)
                if when[:4] not in ("0000", "1970"):  # times that were never set
                    expected.add((when, letters, size, mode, uid, gid, inode, path.strip('"')))
            ours = {tuple(line[1:8] + line[9:]) for line in lines if line[8] == image and line[1] != "-"}
            with_bar = {line for line in ours if "a|b^" in line[-1]}  # which mactime takes for the end of the name
            self.assertEqual(ours - with_bar, expected)
            self.assertEqual([line[3:] for line in with_bar], [("r/rrw-r--r--", "0", "0", "12", line[-1]) for line in with_bar])
            self.assertNotEqual(with_bar, set())
            self.assertGreater(len(ours), 5)

    def test_tsk_gettimes_makes_the_body_file_too(self):
        self.triage("run", "--local", "--body", "tsk_gettimes", self.manifest(shutil.copy(harness.FIXTURES / "qcow2/demo.qcow2", self.case)), self.results)
        self.assertIn("secret-plan.txt (deleted)", (self.folder_of("demo") / "body").read_text())
        self.assertIn("secret-plan.txt (deleted)", (self.results / "timeline.tsv").read_text())

    def test_disks_and_snapshots_inside_a_file_are_tasks_of_their_own(self):
        archive = shutil.copy(harness.FIXTURES / "vma/02-three-devices.vma", self.case)
        image = self.case / "with, comma.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", image, "1M")
        for step, name in enumerate(("first, 1", "second"), 1):
            run("qemu-io", "-c", f"write -P {step} 0 4k", image)
            run("qemu-img", "snapshot", "-c", name, image)
        manifest = self.manifest(archive, image.name, f"{image.name}#second")
        self.triage("run", "--local", manifest, self.results)
        devices = json.loads(run(harness.VDISK, "ls", "--json", archive))["disks"]
        self.assertEqual({row[0] for row in self.rows("SELECT image FROM disk")},
                         {device["selector"] for device in devices} | {str(image), f"{image}#second"})
        self.triage("run", "--local", "--snapshots", manifest, self.results)
        self.assertEqual(self.rows("SELECT count(DISTINCT sha256), count(*) FROM disk WHERE image LIKE '%comma%'"), [(2, 3)])
        self.assertEqual({row[0] for row in self.rows("SELECT state FROM disk")}, {"complete"})

    def test_damage_gives_no_hashes_and_costs_no_other_disk(self):
        good = shutil.copy(harness.FIXTURES / "qcow2/demo.qcow2", self.case)
        bad = shutil.copy(harness.FIXTURES / "vma/damaged/d40-extent-lost.vma", self.case)
        _, errors = self.triage("run", "--local", self.manifest(good, "not there.qcow2", bad), self.results, status=1)
        self.assertRegex(errors, r"(?m)^partial: .*d40-extent-lost.vma#drive-scsi0: hash: .*disk offset 3473408, .* bytes can't be read")
        self.assertRegex(errors, r"(?m)^failed: .*not there.qcow2: file: is missing$")
        states = {os.path.basename(image): (state, sha256 is None) for image, state, sha256 in self.rows("SELECT image, state, sha256 FROM disk")}
        self.assertEqual(states, {"demo.qcow2": ("complete", False), "not there.qcow2": ("failed", True),
                                  "d40-extent-lost.vma#drive-scsi0": ("partial", True), "d40-extent-lost.vma#drive-virtio1": ("partial", True)})
        self.assertIn("can't be read", (self.folder_of("lost.vma#drive-scsi0") / "unreadable").read_text())

    def test_a_file_system_that_can_not_be_read_is_not_called_none(self):
        bad = shutil.copy(harness.FIXTURES / "vma/damaged/d40-extent-lost.vma", self.case)
        none = shutil.copy(harness.FIXTURES / "vma/02-three-devices.vma", self.case)
        self.triage("run", "--local", self.manifest(bad, f"{none}#drive-efidisk0"), self.results, status=1)
        self.assertEqual({step: (how["status"], how["message"]) for step, how in self.found("efidisk0")["steps"].items() if how["message"]},
                         {"mmls": (0, "no partition table"), "fls 0": (0, "no file system that is known: Cannot determine file system type")})
        for device in ("scsi0", "virtio1"):
            step = self.found(f"lost.vma#drive-{device}")["steps"]["fls 0"]
            self.assertEqual((step["status"], "disk offset" in step["message"]), (1, True), step)

    def test_raw_disks_are_what_their_names_say(self):
        image = harness.FIXTURES / "qcow2/demo.qcow2"
        run(harness.VDISK, "export", image, self.case / "disk.raw")
        shutil.copy(image, self.case / "looks like qcow2.dd")
        (self.case / "packed.raw.gz").write_bytes(gzip.compress((self.case / "disk.raw").read_bytes()))
        names = ("disk.raw", "looks like qcow2.dd", "packed.raw.gz")
        _, errors = self.triage("run", "--local", "--loaddb", self.manifest(*names), self.results, status=1)
        flat, other = (harness.sha256_file(self.case / name) for name in names[:2])
        self.assertEqual(self.rows("SELECT format, sha256, state FROM disk ORDER BY id"),
                         [("raw", flat, "complete"), ("raw", other, "complete"), ("raw", flat, "partial")])
        self.assertIn("secret-plan.txt (deleted)", (self.folder_of("disk.raw") / "body").read_text())
        self.assertRegex(errors, "^partial: .*packed.raw.gz: mmls: .*vdisk export.*\n$")

    def test_a_second_run_does_only_what_is_not_done(self):
        manifest = triage_case.make_manifest(self.case, 5, self.random)
        self.triage("run", "--local", manifest, self.results)
        before, content = self.run_marks(), triage_case.content(self.results)
        lost = self.folder_of("image 2")
        shutil.rmtree(lost)
        (self.results / "disks" / f".{lost.name}.otherhost.1.2.partial").mkdir()
        self.triage("run", "--local", manifest, self.results)
        after = self.run_marks()
        self.assertEqual(triage_case.content(self.results), content)
        self.assertEqual({name for name in before if before[name] != after[name]}, {lost.name})
        self.assertEqual(list(self.results.glob("disks/.*")), [])

    def run_marks(self):
        return {path.parent.name: path.read_text() for path in self.results.glob("disks/*/run.json")}

    def test_an_image_that_changed_is_looked_at_again(self):
        image = self.case / "changing.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", image, "1M")
        manifest = self.manifest(image)
        self.triage("run", "--local", manifest, self.results)
        run("qemu-io", "-c", "write -P 1 0 64k", image)
        self.triage("task", self.results, 0)  # done by the plan as it was
        self.triage("run", "--local", manifest, self.results)
        flat = b"\1" * 65536 + bytes((1 << 20) - 65536)
        self.assertEqual(self.rows("SELECT sha256 FROM disk"), [(hashlib.sha256(flat).hexdigest(),)])
        os.utime(image, (1, 1))
        shutil.rmtree(self.folder_of("changing"))
        self.triage("task", self.results, 0, status=1)
        self.assertIn("was changed", self.found("changing")["steps"]["file"]["message"])

    def test_times_can_be_ignored_where_nodes_see_others(self):
        image = self.case / "served.raw"
        run(harness.VDISK, "export", harness.FIXTURES / "qcow2/demo.qcow2", image)
        self.triage("plan", "--ignore-times", self.manifest(image), self.results)
        os.utime(image, (1, 1))
        self.triage("task", self.results, 0)
        before = self.run_marks()
        self.triage("run", "--local", "--ignore-times", self.manifest(image), self.results)
        self.assertEqual(self.run_marks(), before)
        with open(image, "ab") as file:
            file.write(bytes(512))
        self.triage("run", "--local", "--ignore-times", self.manifest(image), self.results)
        self.assertEqual(self.rows("SELECT sha256, state FROM disk"), [(harness.sha256_file(image), "complete")])

    def test_a_run_that_is_ended_leaves_nothing_in_part_and_goes_on(self):
        manifest = triage_case.make_manifest(self.case, 10, self.random)
        self.triage("run", "--local", manifest, self.folder / "whole")
        for end in (signal.SIGTERM, signal.SIGKILL):
            running = subprocess.Popen([str(triage_case.DRIVER), "run", "--local", str(manifest), str(self.results)], env=self.environment,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            finished, deadline = len(self.run_marks()), time.monotonic() + PATIENCE
            while len(self.run_marks()) < finished + 2 and running.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            running.send_signal(end)
            running.wait(PATIENCE)
            self.assertLess(len(self.run_marks()), 10, "was ended too late to show anything")
        self.triage("run", "--local", manifest, self.results)
        self.assertEqual(triage_case.content(self.results), triage_case.content(self.folder / "whole"))

    def test_wrong_input_is_told_in_one_line(self):
        empty = self.manifest("# nothing")
        for arguments, told in (
                (("run", "--local", empty, self.results), "names no image"),
                (("run", "--local", self.case / "nowhere", self.results), "nowhere: No such file"),
                (("task", self.results, 0), "tasks.json"),
                (("merge", self.folder), "vdisk-triage plan makes it")):
            with self.subTest(arguments=arguments):
                _, errors = self.triage(*arguments, status=2)
                self.assertRegex(errors, "^vdisk-triage: .*" + re.escape(told) + ".*\n$")


if __name__ == "__main__":
    harness.main()
