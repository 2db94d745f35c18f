#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vdisk report: what the page says beside what other programs say, and that nothing of an image's names runs in it. With
$VDISK_SCREENSHOTS, a folder, a picture of the page is kept there."""
import html.parser
import http.server
import json
import os
import re
import threading
import unittest

import harness
import tsk
from harness import VDISK, outcome, run

MIB = 1 << 20
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars")
VOID = {"meta"}
ELEMENTS = {"html", "head", "meta", "title", "style", "body", "header", "nav", "main", "section", "div", "h1", "h2", "h3", "h4", "p", "ul", "li", "a",
            "dl", "dt", "dd", "table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "pre", "code", "span", "strong", "time",
            "svg", "defs", "pattern", "rect", "path", "circle", "text"}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "id", "class", "href", "role", "scope", "aria-label", "aria-labelledby", "aria-hidden",
              "viewbox", "preserveaspectratio", "width", "height", "x", "y", "cx", "cy", "r", "rx", "d", "fill", "patternunits"}


class Page(html.parser.HTMLParser):
    """A page as Python's parser sees it: its elements, what they say, and that each is closed in its place."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            raise AssertionError(f"</{tag}> where another one is open: {self.open}")

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


class ReportTest(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.evidence = self.folder / "evidence"
        self.evidence.mkdir()
        self.environment = dict(os.environ, TSK_VDISK_LIBDIR=str(self.folder / "none"), TZ="Asia/Tokyo")
        if tsk.PLUGIN.exists() and not tsk.sanitized():
            libraries = self.folder / "libraries"
            libraries.mkdir()
            for library in (tsk.PLUGIN, tsk.DOOR):
                (libraries / library.name).symlink_to(library)
            self.environment["TSK_VDISK_LIBDIR"] = str(libraries)

    def report(self, image, *options, status=0):
        out = self.folder / "report.html"
        got, printed, said = outcome(VDISK, "report", image, "-o", out, *options, cwd=self.evidence, env=self.environment)
        self.assertEqual((got, printed), (status, b""), said)
        source = out.read_text()
        out.rename(self.folder / "last.html")
        page = Page(source)
        self.assertEqual(page.open, [])
        return source, page

    def qcow2(self, name="disk.qcow2", *options, size=8 * MIB):
        image = self.evidence / name
        run("qemu-img", "create", "-q", "-f", "qcow2", *options, image, size)
        return image


class Contents(ReportTest):
    def test_the_chain_the_map_and_the_hashes(self):
        base = self.qcow2("base.qcow2")
        run("qemu-io", "-c", "write -q -P 1 0 3M", base)
        top = self.qcow2("top.qcow2", "-b", "base.qcow2", "-F", "qcow2")
        run("qemu-io", "-c", "write -q -P 2 1M 1M", "-c", "write -q -z 4M 64k", top)
        digest = json.loads(run(VDISK, "hash", "-a", "sha256", "--json", top))["hashes"]["sha256"]
        source, page = self.report("top.qcow2", "--hash", "sha256,md5", "--given", f"SHA256={digest.upper()}")
        text = page.text()
        self.assertIn(digest, text)
        self.assertIn("the same", text)
        # The sums of the table are those of qemu-img's map.
        sums = {0: 0, 1: 0}
        for run_ in json.loads(run("qemu-img", "map", "--output=json", top)):
            if run_["data"]:
                sums[run_["depth"]] += run_["length"]
        self.assertEqual(sums, {0: MIB, 1: 2 * MIB})
        self.assertIn(f"0: top.qcow2 {sums[0]} bytes (1 MiB) - - 65536 bytes (64 KiB) - -", text)
        self.assertIn(f"1: base.qcow2 {sums[1]} bytes (2 MiB) - -", text)
        self.assertIn("A chain of 2 files", source)
        self.assertIn("sha256,md5", text)
        self.assertIn("+0900 (JST)", text)

    def test_a_hash_that_is_another_one_comes_first(self):
        self.qcow2()
        _, page = self.report("disk.qcow2", "--hash", "md5", "--given", "md5=" + "0" * 32, status=1)
        self.assertIn("What to know first A hash of active is not the one that was given.", page.text())
        self.assertIn("DIFFERENT", page.text())

    def test_what_can_not_be_read_and_what_is_leaked(self):
        image = self.qcow2()
        run("qemu-io", "-c", "write -q -P 1 0 1M", image)
        harness.lose_cluster(image, 65536)
        with open(image, "ab") as file:
            file.write(self.random_bytes(65536))
        _, page = self.report("disk.qcow2", "--hash", "md5", status=1)
        text = page.text()
        self.assertIn("Ranges of active can't be read", text)
        self.assertIn("unreadable 64 KiB", text)
        self.assertIn("65536 bytes at disk offset 65536", text)
        self.assertIn("No hash was taken", text)
        audited = json.loads(run(VDISK, "audit", "--json", image, status=1))
        for finding in audited["findings"]:
            self.assertIn(finding["kind"], text)
        listed = json.loads(run(VDISK, "leaked", "--json", image, self.folder / "leaked"))["ranges"]
        self.assertGreater(len(listed), 0)
        for leaked in listed:
            self.assertIn(f"{leaked['offset_in_image']} {leaked['length']}", text)
        self.assertTrue(any("leaked" in (each.get("aria-label") or "") for each in page.all("svg")))

    def test_snapshots_stand_below_those_that_they_were_made_upon(self):
        (self.evidence / "vm.vmx").write_text('config.version = "8"\nscsi0:0.present = "TRUE"\nscsi0:0.fileName = "now.vmdk"\n')
        run("qemu-img", "create", "-q", "-f", "vmdk", self.evidence / "now.vmdk", MIB)
        for name in ("one", "two"):
            run("qemu-img", "create", "-q", "-f", "vmdk", self.evidence / f"{name}.vmdk", MIB)
        (self.evidence / "vm.vmsd").write_text(
            'snapshot.numSnapshots = "2"\nsnapshot.current = "2"\n'
            + "".join(f'snapshot{at}.uid = "{at + 1}"\nsnapshot{at}.displayName = "{name}"\nsnapshot{at}.numDisks = "1"\n'
                      f'snapshot{at}.disk0.fileName = "{name}.vmdk"\nsnapshot{at}.disk0.node = "scsi0:0"\n' for at, name in enumerate(("one", "two")))
            + 'snapshot1.parent = "1"\n')
        source, _ = self.report("vm.vmx")
        tree = source[source.index('id="disks"'):]
        one, two = tree.index("<strong>one</strong>"), tree.index("<strong>two</strong>")
        self.assertEqual(tree[one:two].count('<ul class="tree">'), 1)

    def test_a_disk_whose_parent_is_gone(self):
        run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "gone.qcow2", "-F", "qcow2", self.evidence / "disk.qcow2", MIB)
        _, page = self.report("disk.qcow2", status=1)
        self.assertIn("gone.qcow2", page.text())
        self.assertIn("Can't be read", page.text())

    @unittest.skipUnless(tsk.PLUGIN.exists() and harness.have("fsstat") and harness.have("sfdisk"), "the plugin, The Sleuth Kit or sfdisk is missing")
    def test_partitions_are_those_of_mmls_and_fsstat(self):
        if tsk.sanitized():
            self.skipTest("a sanitized build")
        raw, part = self.folder / "disk.raw", self.folder / "part"
        for path, size in ((raw, 8 * MIB), (part, 4 * MIB)):
            path.touch()
            os.truncate(path, size)
        run("sfdisk", "-q", raw, stdin=b"2048,8192,L\n")
        run("mke2fs", "-q", "-t", "ext4", "-L", "<b>evidence", part)
        with open(raw, "r+b") as file:
            file.seek(2048 * 512)
            file.write(part.read_bytes())
        run("qemu-img", "convert", "-O", "qcow2", raw, self.evidence / "disk.qcow2")
        expected = run("mmls", raw).decode()
        self.assertIn("0000002048", expected)
        source, page = self.report("disk.qcow2")
        self.assertIn("000:000 0000002048 0000010239 0000008192 Linux (0x83)", page.text())
        self.assertIn("Ext4 <b>evidence", page.text())
        self.assertNotIn("<b>", source)
        _, page = self.report("disk.qcow2#format=qcow2")
        self.assertIn("Ext4", page.text())

    def test_the_sleuth_kit_that_is_missing_is_said_to_be(self):
        self.qcow2()
        self.environment["PATH"] = str(self.folder)
        _, page = self.report("disk.qcow2")
        self.assertIn("Not looked at: tsk-vdisk is not there", page.text())

    def test_nothing_is_left_where_it_fails_and_no_evidence_is_overwritten(self):
        image = self.qcow2()
        before = image.read_bytes()
        status, _, said = outcome(VDISK, "report", "--force", "-o", image, image)
        self.assertEqual(status, 2)
        self.assertIn("input", said)
        self.assertEqual(image.read_bytes(), before)
        (self.folder / "mine.html").write_text("mine")
        self.assertEqual(outcome(VDISK, "report", "-o", self.folder / "mine.html", image)[0], 2)
        self.assertEqual((self.folder / "mine.html").read_text(), "mine")
        self.assertEqual(sorted(path.name for path in self.evidence.iterdir()), ["disk.qcow2"])


class Listener:
    """A server on loopback that counts who asks it for something."""

    def __enter__(self):
        self.asked = []
        asked = self.asked

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_response(404)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class HostileNames(ReportTest):
    def hostile(self, address):
        names = [f"<img src=http://{address}/image>", "</title></style><script>document.title='ran'</script>", f"\"onload='fetch(`http://{address}/quote`)'",
                 "]]><script>document.title='ran'</script>", "--><svg/onload=document.title='ran'>", "&lt;&#60;", "photo\u202egpj.exe", "\x1b]0;x\x07\x00"[:-1],
                 f"<link rel=stylesheet href=http://{address}/style>", "javascript:document.title='ran'", "{}{0}%s"]
        image = self.evidence / "<script>document.title='ran'<&\"'.qcow2"
        # No '/' may stand in a file's name.
        run("qemu-img", "create", "-q", "-f", "qcow2", image, MIB)
        for name in names:
            run("qemu-img", "snapshot", "-c", name, image)
        return image, names

    def test_names_cannot_become_markup(self):
        image, names = self.hostile("host.invalid")
        source, page = self.report(image.name)
        self.assertEqual({tag for tag, _ in page.elements} - ELEMENTS, set())
        self.assertEqual({name for _, attributes in page.elements for name in attributes} - ATTRIBUTES, set())
        for link in page.all("a"):
            self.assertRegex(link["href"], "^#[a-z0-9-]+$")
        self.assertEqual([each["content"] for each in page.all("meta") if "http-equiv" in each], ["default-src 'none'; style-src 'unsafe-inline'"])
        text = page.text()
        for name in names[:6]:
            self.assertIn(" ".join(name.split()), text)
        self.assertIn("photo\\u202egpj.exe", text)
        self.assertIn("\\x1b]0;x\\x07", text)
        for character in "\u202e\x1b\x07":
            self.assertNotIn(character, source)

    def test_who_listens_finds_its_way(self):
        self.qcow2()
        source, page = self.report("disk.qcow2")
        self.assertEqual([attributes.get("lang") for attributes in page.all("html")], ["en"])
        for landmark in ("header", "nav", "main", "h1"):
            self.assertEqual(len(page.all(landmark)), 1, landmark)
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
        self.assertTrue(all(later <= earlier + 1 for earlier, later in zip(levels, levels[1:])), levels)
        self.assertEqual(len(page.all("table")), len(page.all("caption")))
        for heading in page.all("th"):
            self.assertIn(heading.get("scope"), ("row", "col"))
        for picture in page.all("svg"):
            self.assertTrue(picture.get("aria-hidden") == "true" or (picture.get("role") == "img" and picture.get("aria-label")), picture)
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        self.assertEqual(len(ids), len(set(ids)))
        for link in page.all("a"):
            self.assertIn(link["href"][1:], ids)
        for word in ("prefers-color-scheme: dark", "@media print"):
            self.assertIn(word, source)

    @unittest.skipUnless(harness.have("chromium"), "chromium is missing")
    def test_nothing_runs_and_nothing_is_asked_for(self):
        with Listener() as listener:
            image, names = self.hostile(listener.address)
            source, _ = self.report(image.name)
            page, control = self.folder / "page.html", self.folder / "control.html"
            page.write_text(source)
            control.write_text("<!DOCTYPE html><title>control</title>" + "".join(names))
            self.assertIn("<title>ran</title>", self.shown(control))
            self.assertIn("/image", listener.asked)  # so that this test can fail
            listener.asked.clear()
            shown = self.shown(page)
            self.assertEqual(listener.asked, [])
            self.assertIn("<title>Report on ", shown)
            self.assertEqual(Page(shown).all("script") + Page(shown).all("img"), [])

    def shown(self, path):
        """What Chromium makes of a page, once it is loaded."""
        pictures = os.environ.get("VDISK_SCREENSHOTS")
        more = [f"--screenshot={pictures}/report.png", "--window-size=900,1100"] if pictures else []
        command = ["chromium", *FLAGS, f"--user-data-dir={self.folder / 'profile'}", *more, "--virtual-time-budget=2000", "--dump-dom", f"file://{path}"]
        return run(*command, timeout=120).decode()


if __name__ == "__main__":
    harness.main()
