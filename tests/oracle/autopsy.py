#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's Autopsy 2, unmodified, with the plugin in front of its programs' libtsk, used by a real browser as a person uses it: new
case, new host, add image, choose the partition, list a folder, open a file. With $VDISK_SCREENSHOTS, a folder, each image's last page
is kept there."""
import contextlib
import importlib.util
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

DEBIANS_PYTHON = "/usr/bin/python3"  # for which Debian's modules are, and which need not be the first one in PATH
if importlib.util.find_spec("selenium") is None and os.path.exists(DEBIANS_PYTHON) and os.path.realpath(sys.executable) != os.path.realpath(DEBIANS_PYTHON):
    os.execv(DEBIANS_PYTHON, [DEBIANS_PYTHON, *sys.argv])

import harness
import tsk
import vma_writer
from harness import run

PATIENCE = 120  # seconds until a page that does not come is a failure
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1100,800")


def setUpModule():
    tsk.require_plugin()
    if tsk.sanitized():
        raise unittest.SkipTest("Perl does not start with a sanitizer's runtime in its taint mode")
    for program in ("autopsy", "chromium", "chromedriver"):
        if not harness.have(program):
            raise unittest.SkipTest(f"{program} is missing")
    if importlib.util.find_spec("selenium") is None:
        raise unittest.SkipTest("python3-selenium is missing")
    # Version 2.24 clears PATH, which perl 5.40, Debian 13's, takes for an insecure one: it ends before it listens.
    with tempfile.TemporaryDirectory() as folder:
        alone = subprocess.Popen(["autopsy", "-C", "-d", folder, "-p", str(free_port()), "127.0.0.1"], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            told = alone.communicate(timeout=3)[0]
            raise unittest.SkipTest(f"this system's Autopsy does not start: {told.decode(errors='replace').strip()}")
        except subprocess.TimeoutExpired:
            end_group(alone)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end_group(process):
    """Ends a program that leads a process group, and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    process.wait()


def wait_for_page(address):
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


class Server:
    """Autopsy on a port of 127.0.0.1, with an evidence locker of its own."""

    def __init__(self, folder):
        self.locker = folder / "locker"
        self.locker.mkdir()
        self.port = free_port()
        self.log = open(folder / "autopsy.log", "wb")
        self.process = subprocess.Popen(["autopsy", "-C", "-d", str(self.locker), "-p", str(self.port), "127.0.0.1"], env=tsk.plugin_environment(),
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True)

    def url(self):
        return f"http://127.0.0.1:{self.port}/autopsy"

    def stop(self):
        end_group(self.process)
        self.log.close()


def loopback_service():
    """The browser's driver, asked for by its address: a bare system has no /etc/hosts."""
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common import utils

    class LoopbackService(Service):
        @property
        def service_url(self):
            return f"http://127.0.0.1:{self.port}"

        def is_connectable(self):
            return utils.is_connectable(self.port, "127.0.0.1")

    return LoopbackService(shutil.which("chromedriver"))


class Examiner:
    """A person at the browser. That is started here, because its driver would look for a name too."""

    def __init__(self, folder):
        from selenium import webdriver
        port = free_port()
        self.log = open(folder / "browser.log", "ab")
        self.process = subprocess.Popen([shutil.which("chromium"), *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--remote-debugging-port={port}"],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            wait_for_page(f"http://127.0.0.1:{port}/json/version")
            options = webdriver.ChromeOptions()
            options.debugger_address = f"127.0.0.1:{port}"
            self.browser = webdriver.Chrome(service=loopback_service(), options=options)
            self.browser.set_page_load_timeout(PATIENCE)
        except BaseException:
            self.end_browser()
            raise

    def close(self):
        self.browser.quit()
        self.end_browser()

    def end_browser(self):
        end_group(self.process)
        self.log.close()

    def find(self, xpath):
        """The first element that fits, as soon as there is one."""
        return self.wait(lambda _: next(iter(self.find_all(xpath)), None), f"no {xpath}")

    def wait(self, condition, missing):
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait
        try:
            return WebDriverWait(self.browser, PATIENCE).until(condition)
        except TimeoutException:
            raise AssertionError(f"{missing} in: {self.browser.page_source[-3000:]}") from None

    def find_all(self, xpath):
        from selenium.webdriver.common.by import By
        return self.browser.find_elements(By.XPATH, xpath)

    def click(self, name):
        """A button or a link, by the name of its picture or its text."""
        self.find(f"//input[@type='image'][@alt='{name}'] | //a[img[@alt='{name}']] | //a[normalize-space(.)='{name}']").click()

    def type(self, field, text):
        self.find(f"//input[@name='{field}']").send_keys(text)

    def click_at(self, xpath):
        self.find(xpath).click()

    def frames(self, *names):
        from selenium.webdriver.support import expected_conditions
        self.browser.switch_to.default_content()
        for name in names:
            locator = name if isinstance(name, int) else ("name", name)
            self.wait(expected_conditions.frame_to_be_available_and_switch_to_it(locator), f"no frame {name}")

    def text(self):
        return self.find("//body").text


@contextlib.contextmanager
def examiner_at(server, folder):
    examiner = Examiner(folder)
    try:
        examiner.browser.get(server.url())
        yield examiner
    finally:
        examiner.close()


class Autopsy(harness.FolderTest):
    PART = 2048
    INSIDE = "documents/2024"
    FILE = "figures.csv"

    def setUp(self):
        super().setUp()
        self.raw = self.folder / "disk.raw"
        run("qemu-img", "convert", "-O", "raw", harness.FIXTURES / "qcow2" / "demo.qcow2", self.raw)
        listing = run("fls", "-r", "-p", "-o", self.PART, self.raw)
        self.content = run("icat", "-o", self.PART, self.raw, tsk.files_of(listing)[f"{self.INSIDE}/{self.FILE}"])
        self.folder_address = re.search(rf"(?m)^d/d (\d+):\t{self.INSIDE}$", listing.decode()).group(1)
        self.server = Server(self.folder)
        self.addCleanup(self.server.stop)

    def open_case(self, examiner, image):
        examiner.click("New Case")
        examiner.type("case", "case")
        examiner.type("inv1", "examiner")
        examiner.click("Create Case")
        examiner.click("Add New Host")
        examiner.click("Add Host")
        examiner.click("Add Image")
        examiner.click("Add Image")
        examiner.type("img_path", str(image))
        examiner.click("Next Step")

    def choose_the_partition(self, examiner):
        examiner.click("Add")
        examiner.click("Ok")
        examiner.click_at("//tr[td[.='/1/']]//input[@name='vol']")
        examiner.click("Analyze")
        examiner.frames(0)
        examiner.click("File Analysis")

    def list_folder(self, examiner):
        """The names that Autopsy lists in the folder, opened from the root on."""
        for name in self.INSIDE.split("/"):
            examiner.frames(1, "list")
            examiner.click(f"{name}/")
        examiner.frames(1, "list")
        examiner.find(f"//a[normalize-space(.)='{self.FILE}']")
        return {link.text.rstrip("/") for link in examiner.find_all("//td/a[.//tt]") if link.text not in ("./", "../")}

    def open_file(self, examiner):
        """The file as Autopsy shows it, and as its Export button gives it."""
        examiner.click(self.FILE)
        examiner.frames(1, "content", "cont2")
        shown = examiner.text()
        examiner.frames(1, "content", 0)
        with urllib.request.urlopen(examiner.find("//a[normalize-space(.)='Export']").get_attribute("href"), timeout=PATIENCE) as answer:
            return shown, answer.read()

    def examine(self, image, kind):
        """Does the whole job with `image`, which Autopsy must take for `kind`."""
        with examiner_at(self.server, self.folder) as examiner:
            self.open_case(examiner, image)
            self.choose_the_partition(examiner)
            listed = self.list_folder(examiner)
            shown, exported = self.open_file(examiner)
            self.keep_screenshot(examiner, kind)
        expected = {line.split("\t")[1] for line in run("fls", "-o", self.PART, self.raw, self.folder_address).decode().splitlines()}
        self.assertEqual(listed, expected)
        self.assertTrue(shown.endswith(self.content.decode().rstrip()), shown)
        self.assertEqual(exported, self.content)
        self.check_locker(image, kind)

    def check_locker(self, image, kind):
        """The image is in the evidence locker as a link, under the type that the plugin gave it."""
        host = self.server.locker / "case" / "host1"
        kept = host / "images" / image.name
        self.assertEqual((kept.is_symlink(), kept.resolve()), (True, image.resolve()))
        self.assertRegex((host / "host.aut").read_text(), rf"(?m)^image\s+img1\s+{kind}\s+images/{image.name}$")

    def keep_screenshot(self, examiner, kind):
        if folder := os.environ.get("VDISK_SCREENSHOTS"):
            examiner.browser.switch_to.default_content()
            examiner.browser.save_screenshot(str(pathlib.Path(folder) / f"autopsy-{kind}.png"))

    def test_qcow2(self):
        image = self.folder / "disk.qcow2"
        shutil.copy(harness.FIXTURES / "qcow2" / "demo.qcow2", image)
        self.examine(image, "qcow2")

    def test_vdi(self):
        image = self.folder / "disk.vdi"
        run("qemu-img", "convert", "-O", "vdi", self.raw, image)
        self.examine(image, "vdi")

    def test_a_reference_to_one_disk_of_a_compressed_backup(self):
        evidence, references = self.folder / "evidence", self.folder / "references"
        evidence.mkdir()
        references.mkdir()
        vma_writer.write(evidence / "backup.vma", [("drive-scsi0", self.raw), ("drive-scsi1", harness.SOURCE / "LICENSE")])
        run("zstd", "-q", "--rm", evidence / "backup.vma")
        run(harness.VDISK, "ref", "-d", references, evidence / "backup.vma.zst")
        self.examine(references / "backup.drive-scsi0.vdisk", "vma")


if __name__ == "__main__":
    harness.main()
