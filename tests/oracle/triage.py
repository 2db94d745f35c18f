#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vdisk-triage on one machine: each result against the program that it comes from, or another one."""
import collections
import gzip
import hashlib
import html.parser
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import time
import unittest
import urllib.parse

import harness
import triage_case
import tsk
from harness import outcome, run

PATIENCE = 120


def setUpModule():
    tsk.require_plugin()
    if tsk.sanitized():
        raise unittest.SkipTest("a sanitized plugin can't be loaded by the launcher")


class Page(html.parser.HTMLParser):
    """What a browser would make of a page: its elements, the text in them, the rows of its tables."""

    EMPTY = {"meta", "br"}

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.links, self.rows = set(), set(), [], []
        self.texts, self.sections, self.open = collections.defaultdict(list), {}, []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        self.links += [urllib.parse.unquote(value) for name, value in attributes if name == "href"]
        if tag == "tr":
            self.rows.append([])
        if tag not in self.EMPTY:
            self.open.append((tag, []))

    def handle_data(self, data):
        for _, texts in self.open:
            texts.append(data)

    def handle_endtag(self, tag):
        opened, texts = self.open.pop()
        assert opened == tag, (opened, tag)
        text = "".join(texts).strip()
        self.texts[tag].append(text)
        if tag == "td":
            self.rows[-1].append(text)
        if tag == "section":
            (name,) = {link.split("/")[1] for link in self.links if link.startswith("disks/")} - self.sections.keys()
            self.sections[name] = text


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
            body = (self.results / "disks" / name / "body").read_text()
            self.assertEqual([line[3:] for line in with_bar],
                             [("r/rrw-r--r--", "0", "0", body.split(f"|{line[-1]}|")[1].split("|")[0], line[-1]) for line in with_bar])
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
        self.triage("run", "--local", "--loaddb", self.manifest(*names), self.results)
        flat, other = (harness.sha256_file(self.case / name) for name in names[:2])
        self.assertEqual(self.rows("SELECT format, sha256, state FROM disk ORDER BY id"),
                         [("raw", flat, "complete"), ("raw", other, "complete"), ("raw", flat, "complete")])
        for name in (names[0], names[2]):
            self.assertIn("secret-plan.txt (deleted)", (self.folder_of(name) / "body").read_text())

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

    def test_what_failed_is_tried_again_and_what_is_complete_is_not(self):
        base, top = self.case / "base.qcow2", self.case / "top.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", base, "4M")
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base.name, "-F", "qcow2", top)
        good = shutil.copy(harness.FIXTURES / "qcow2/demo.qcow2", self.case)
        manifest = self.manifest(top.name, good)
        base.rename(self.case / "away")
        self.triage("run", "--local", manifest, self.results, status=1)
        self.assertEqual(self.rows("SELECT state FROM disk ORDER BY id"), [("failed",), ("complete",)])
        before = self.run_marks()
        self.triage("run", "--local", manifest, self.results, status=1)  # tried again, and failed again
        after = self.run_marks()
        self.assertEqual([name for name in before if before[name] != after[name]], [self.folder_of("top").name])
        (self.case / "away").rename(base)
        self.triage("run", "--local", manifest, self.results)
        self.assertEqual(self.rows("SELECT state FROM disk"), [("complete",), ("complete",)])

    def test_a_step_that_failed_for_a_moment_is_tried_again(self):
        image = shutil.copy(harness.FIXTURES / "qcow2/demo.qcow2", self.case)
        programs = self.folder / "programs"
        programs.mkdir()
        (programs / "tsk-vdisk").write_text("#!/bin/sh\nkill -9 $$\n")
        (programs / "tsk-vdisk").chmod(0o755)
        environment, self.environment = self.environment, {**self.environment, "PATH": f"{programs}:{self.environment['PATH']}"}
        self.triage("run", image, self.results, status=1)
        self.assertEqual(self.rows("SELECT state FROM disk"), [("partial",)])
        self.environment = environment
        self.triage("run", image, self.results)
        self.assertEqual(self.rows("SELECT state FROM disk"), [("complete",)])

    def test_every_file_that_was_opened_counts(self):
        base, top, data = (self.case / name for name in ("base.raw", "top.qcow2", "data.raw"))
        base.write_bytes(self.random_bytes(1 << 20))
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={data},data_file_raw=off", "-b", base, "-F", "raw", top)
        self.triage("run", top, self.results)
        self.assertEqual([os.path.basename(file["path"]) for file in self.found("top")["task"]["files"]], ["top.qcow2", "base.raw", "data.raw"])
        exchanges = {
            "another size": lambda path: os.truncate(path, path.stat().st_size + 512),
            "another time": lambda path: os.utime(path, (1, 1)),
            "another file of the same size and time": lambda path: shutil.copy2(path, self.folder / "copy") and os.replace(self.folder / "copy", path),
        }
        for path in (base, data):
            for what, exchange in exchanges.items():
                with self.subTest(path=path.name, what=what):
                    before = self.run_marks()
                    exchange(path)
                    self.triage("run", top, self.results)
                    self.assertNotEqual(self.run_marks(), before)
        with self.subTest("written to, and its time put back"):
            before, status = self.run_marks(), base.stat()
            with open(base, "r+b") as file:
                file.write(b"other")
            os.utime(base, ns=(status.st_atime_ns, status.st_mtime_ns))
            self.triage("run", top, self.results)
            self.assertNotEqual(self.run_marks(), before)
            self.assertEqual(self.rows("SELECT sha256 FROM disk"), [(hashlib.sha256(run(harness.VDISK, "export", top, "-")).hexdigest(),)])
        before = self.run_marks()
        self.triage("run", top, self.results)
        self.assertEqual(self.run_marks(), before)

    def test_a_parent_that_changes_between_plan_and_task_is_told(self):
        base, top = self.case / "base.qcow2", self.case / "top.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", base, "4M")
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base.name, "-F", "qcow2", top)
        self.triage("plan", top, self.results)
        os.utime(base, (1, 1))
        self.triage("task", self.results, 0, status=1)
        self.assertEqual(self.found("top")["steps"]["file"]["message"], f"{base} was changed since the plan was made")

    def test_again_looks_at_everything_anew(self):
        image = shutil.copy(harness.FIXTURES / "qcow2/demo.qcow2", self.case)
        self.triage("run", image, self.results)
        before, rows = self.run_marks(), self.rows("SELECT * FROM disk")
        self.triage("run", "--again", image, self.results)
        self.assertNotEqual(self.run_marks(), before)
        self.assertEqual(self.rows("SELECT * FROM disk"), rows)

    def test_images_are_arguments_as_well_as_lines_of_a_manifest(self):
        names = [shutil.copy(harness.FIXTURES / "qcow2/demo.qcow2", self.case / f"{number}.qcow2") for number in range(3)]
        archive = shutil.copy(harness.FIXTURES / "vma/02-three-devices.vma", self.case)
        said, _ = self.triage("run", "-j", 2, names[0], "--loaddb", self.manifest(names[1]), names[2], f"{archive}#drive-scsi0", self.results)
        self.assertEqual(said.splitlines()[0], "4 images, 4 disks")
        self.assertEqual([row[0] for row in self.rows("SELECT image FROM disk ORDER BY id")], [*map(str, names), f"{archive}#drive-scsi0"])

    def test_reference_files_and_other_texts_of_a_known_format_are_images(self):
        image = shutil.copy(harness.FIXTURES / "qcow2/demo.qcow2", self.case)
        run(harness.VDISK, "ref", "-d", self.case, image)
        (reference,) = self.case.glob("*.vdisk")
        other = shutil.copy(reference, self.case / "a text")
        self.triage("run", reference, other, self.results)
        self.assertEqual(self.rows("SELECT image, sha256 FROM disk ORDER BY id"),
                         [(str(path), hashlib.sha256(run(harness.VDISK, "export", image, "-")).hexdigest()) for path in (reference, other)])

    def test_what_is_given_twice_is_told(self):
        image = pathlib.Path(shutil.copy(harness.FIXTURES / "qcow2/demo.qcow2", self.case))
        os.link(image, self.case / "linked.qcow2")
        (self.case / "link.qcow2").symlink_to(image.name)
        said, errors = self.triage("run", image, image, self.manifest(image.name, "linked.qcow2", "link.qcow2"), self.results)
        thrice = f"vdisk-triage: {image}: is given 3 times and looked at once\n"
        same = "".join(f"vdisk-triage: {self.case}/{name}: is the same file as {image}; both are looked at\n" for name in ("linked.qcow2", "link.qcow2"))
        self.assertEqual(errors, thrice + same)
        self.assertEqual(said.splitlines()[0], "3 images, 3 disks")
        page = self.page()
        self.assertEqual(page.texts["li"], [line.removeprefix("vdisk-triage: ") for line in errors.splitlines()]
                         + [f"disks 1 ({image}) and 2 ({self.case}/linked.qcow2) and 3 ({self.case}/link.qcow2)"])

    def page(self):
        return Page((self.results / "report.html").read_text(encoding="utf-8"))

    def test_the_page_tells_what_was_found(self):
        triage_case.make_manifest(self.case, 5, self.random)
        bad = shutil.copy(harness.FIXTURES / "vma/damaged/d40-extent-lost.vma", self.case)
        with open(self.case / "manifest", "a") as manifest:
            manifest.write(f"{bad}#drive-scsi0\nnot there.qcow2\n")
        self.triage("run", self.case / "manifest", self.results, status=1)
        page = self.page()
        self.assertEqual(page.texts["p"][0].split(".")[0], "7 disks: 5 complete, 1 partial, 1 failed")
        for image, state, sha256 in self.rows("SELECT image, state, sha256 FROM disk"):
            with self.subTest(image=image):
                (row,) = (row for row in page.rows if image in row and state in row)
                self.assertIn(sha256 or "-", row)
                found = self.found(image)
                section = page.sections[found["task"]["name"]]
                for step in found["steps"].values():
                    self.assertIn(step["message"], section)
                for partition in found.get("partitions", []):
                    self.assertIn(partition["description"], section)
                for problem in found.get("info", {}).get("problems", []):
                    self.assertIn(problem, page.texts["li"])
                for key in ("first", "last", "files"):
                    self.assertIn(str(found.get("times", {}).get(key) or ""), section)
        times = [line.split("\t")[:2] for line in (self.folder_of("image 0") / "timeline.tsv").read_text().splitlines()]
        times = [when for seconds, when in times if seconds != "0"]
        self.assertEqual(self.found("image 0")["times"], {"files": len((self.folder_of("image 0") / "body").read_text().splitlines()),
                                                          "first": times[0], "last": times[-1]})

    def test_the_page_shows_hostile_names_as_text_and_asks_for_nothing(self):
        names = ["<script>alert(1)<", "\"onmouseover='x' &amp; a", "\u202egpj.exe", "new\x1bline", "javascript:x", "a\udcffb"]
        for name in names:
            shutil.copy(harness.FIXTURES / "qcow2/demo.qcow2", f"{self.case}/{name}.qcow2")
        bad = self.case / "<img src=x>.qcow2"  # named in a message too
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "<b>base", "-F", "raw", "-u", bad, "1M")
        self.triage("run", *(f"{self.case}/{name}.qcow2" for name in names), bad, self.results, status=1)
        text = (self.results / "report.html").read_text(encoding="utf-8")
        page = Page(text)
        self.assertLessEqual(page.tags, {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "a", "table", "tr", "th", "td", "ul", "li", "code",
                                         "section", "br"})
        self.assertLessEqual(page.attributes, {"lang", "charset", "http-equiv", "content", "class", "href", "id"})
        self.assertIn("default-src 'none'", text)
        for link in page.links:
            self.assertTrue(link.startswith("#disk-") or (self.results / link).is_file(), link)
        for shown in ("<script>alert(1)<.qcow2", "\"onmouseover='x' &amp; a.qcow2", "\\u202egpj.exe.qcow2", "new\\x1bline.qcow2", "a\\udcffb.qcow2"):
            self.assertIn(f"{self.case}/{shown}", [cell for row in page.rows for cell in row])
        self.assertIn("<b>base", page.sections[self.found("<img")["task"]["name"]])
        self.assertEqual([c for c in text if not c.isprintable() and c != "\n"], [])

    def evidence(self):
        """{path: (inode, times but that of reading, content)} of the case's folder."""
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns, path.stat().st_ctime_ns, path.read_bytes() if path.is_file() else b"")
                for path in (self.case, *self.case.rglob("*"))}

    def test_nothing_happens_beside_an_input_or_instead_of_one(self):
        base, top = self.case / "parents/base.qcow2", self.case / "top.qcow2"
        base.parent.mkdir()
        run("qemu-img", "create", "-q", "-f", "qcow2", base, "4M")
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top)
        elsewhere = shutil.copy(harness.FIXTURES / "qcow2/demo.qcow2", self.folder / "elsewhere.qcow2")
        manifest = self.manifest(top.name)
        (self.case / "tasks.json").write_text("top.qcow2\n")
        (self.folder / "link").symlink_to(self.case)
        (self.folder / "linked").mkdir()
        (self.folder / "linked/disks").symlink_to(self.case)
        (self.folder / "strangers").mkdir()
        (self.folder / "strangers/timeline.tsv").write_text("somebody's work\n")
        parents = self.folder / "parents"  # a folder of ours into which somebody moved a parent
        self.triage("plan", elsewhere, parents)
        shutil.copy(base, parents)
        run("qemu-img", "rebase", "-u", "-b", parents / base.name, "-F", "qcow2", top)
        before = self.evidence()
        for command in ("run", "plan"):
            for arguments, told in (
                    ((top, self.case), "holds"), ((manifest, self.case), "holds"), ((self.case / "tasks.json", self.case), "holds"),
                    ((top, self.folder / "link"), "holds"), ((top, self.folder / "linked"), "holds"),
                    ((top, base.parent), "neither empty nor"), ((top, parents), "holds"),  # which only the image names
                    ((elsewhere, top), "is a file"), ((top, manifest), "is a file"), ((manifest, manifest), "is a file"),
                    ((top, top), "is a file"), ((top, self.folder), "holds"), ((elsewhere, self.folder / "strangers"), "neither empty nor"),
                    ((elsewhere, self.case), "neither empty nor")):
                with self.subTest(command=command, arguments=arguments):
                    _, errors = self.triage(command, *arguments, status=2)
                    self.assertRegex(errors, f"\\Avdisk-triage: [^\n]*{told}[^\n]*\\n\\Z")
                    self.assertEqual(self.evidence(), before)
                    self.assertEqual([path.name for path in (self.folder / "strangers").iterdir()], ["timeline.tsv"])
        self.triage("run", top, self.case / "results")  # a folder of its own

    def test_evidence_is_as_it_was_after_a_run(self):
        manifest = triage_case.make_manifest(self.case, 6, self.random)
        before = self.evidence()
        self.triage("run", "--loaddb", "--snapshots", manifest, self.results)
        self.assertEqual(self.evidence(), before)

    def test_help_and_version(self):
        said, _ = self.triage("help", "run")
        self.assertIn("--again", said)
        self.assertEqual(said, self.triage("run", "--help")[0])
        self.assertRegex(self.triage("-V")[0], r"\Avdisk-triage \d+\.\d+\.\d+\n\Z")

    def test_wrong_input_is_told_in_one_line(self):
        empty = self.manifest("# nothing")
        image = shutil.copy(harness.FIXTURES / "qcow2/demo.qcow2", self.case)
        zeros = self.case / "zeros"
        zeros.write_bytes(b"a name\n" * 20000 + b"\0")
        os.mkdir(self.folder / "broken")
        (self.folder / "broken/tasks.json").write_text('{"a": 1}')
        for arguments, told in (
                (("run", "--local", empty, self.results), "names no image"),
                (("run", "--local", self.case / "nowhere", self.results), "nowhere: No such file"),
                (("run", "--local", f"{self.case}/nowhere#second", self.results), "nowhere: No such file"),
                (("run", self.case, self.results), "is a folder"),
                (("run", zeros, self.results), "is no list of images"),
                (("run",), "name an image"), (("run", image), "name an image"), (("plan", image), "name an image"), ((), "which command?"),
                (("rnu", image, self.results), "unknown command 'rnu': did you mean 'run'?"), ((image,), f"vdisk-triage run {image} RESULTS"),
                (("run", "--lcoal", image, self.results), "unknown option '--lcoal'"), (("merge", self.results, "more"), "unknown argument 'more'"),
                (("run", "-j", "0", image, self.results), "'0' is no number from 1 on"), (("run", "-j", "x", image, self.results), "'x' is no number"),
                (("run", "--local", "--slurm", image, self.results), "not allowed with"), (("task", self.results, "x"), "NUMBER"),
                (("task", self.results, 0), "tasks.json"),
                (("merge", self.folder / "broken"), "is no plan of this version"),
                (("merge", self.folder), "vdisk-triage plan makes it")):
            with self.subTest(arguments=arguments):
                _, errors = self.triage(*arguments, status=2)
                self.assertRegex(errors, "\\Avdisk-triage: [^\n]*" + re.escape(told) + "[^\n]*\\n\\Z")
                self.assertFalse(self.results.exists())


if __name__ == "__main__":
    harness.main()
