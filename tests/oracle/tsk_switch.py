#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tsk-vdisk: the plugin for one command; for a machine (a small one of the test's own, entered by chroot) and out of it again."""
import hashlib
import os
import pathlib
import re
import shutil
import unittest

import harness
import tsk
from harness import BUILD, outcome, run

SWITCH = BUILD / "tools" / "tsk-vdisk"
DEMO = harness.FIXTURES / "qcow2" / "demo.qcow2"
LISTED = b"r/r * 15:\tdocuments/2024/secret-plan.txt\n"


def setUpModule():
    tsk.require_plugin()
    if tsk.sanitized():
        raise unittest.SkipTest("a sanitized plugin can't be loaded by the launcher")


class Run(harness.FolderTest):
    def setUp(self):
        super().setUp()
        shutil.copy(tsk.PLUGIN, self.folder)
        self.environment = {**os.environ, "TSK_VDISK_LIBDIR": str(self.folder)}
        self.environment.pop("LD_PRELOAD", None)

    def test_one_command_and_what_it_starts_get_the_plugin(self):
        script = f"fls -r -p -o 2048 -i qcow2 {DEMO}; env"
        said = run(SWITCH, "run", "sh", "-c", script, env=self.environment)
        self.assertIn(LISTED, said)
        self.assertIn(f"LD_PRELOAD={self.folder}/libtsk_vdisk.so\n".encode(), said)

    def test_what_was_preloaded_stays(self):
        said = run(SWITCH, "run", "env", env={**self.environment, "LD_PRELOAD": str(self.folder / "libtsk_vdisk.so")})
        self.assertIn(f"LD_PRELOAD={self.folder}/libtsk_vdisk.so:{self.folder}/libtsk_vdisk.so\n".encode(), said)

    def test_a_plugin_loaded_twice_from_two_places_works_as_one(self):
        (self.folder / "other").mkdir()
        other = shutil.copy(tsk.PLUGIN, self.folder / "other")
        environment = {**self.environment, "LD_PRELOAD": other}
        self.assertIn(LISTED, run(SWITCH, "run", "fls", "-r", "-p", "-o", 2048, DEMO, env=environment))
        _, _, types = outcome(SWITCH, "run", "fls", "-i", "list", env=environment)
        self.assertEqual(types.count("qcow2 ("), 1)
        status, _, said = outcome(SWITCH, "run", "fls", self.folder, env=environment)
        self.assertEqual((status, said), tsk.without_plugin("fls", self.folder)[::2])

    def test_the_status_is_the_commands(self):
        for status in (0, 3):
            self.assertEqual(outcome(SWITCH, "run", "sh", "-c", f"exit {status}", env=self.environment)[0], status)

    def test_usage_errors(self):
        for arguments in ([], ["run"], ["nonsense"], ["enable", "x"], ["--root"], ["--root", "/nonexistent", "status"]):
            status, out, said = outcome(SWITCH, *arguments, env=self.environment)
            self.assertEqual((status, out), (2, b""), arguments)
            self.assertTrue(said)

    def test_a_missing_plugin_is_named(self):
        status, _, said = outcome(SWITCH, "run", "true", env={**self.environment, "TSK_VDISK_LIBDIR": "/nowhere"})
        self.assertEqual((status, said), (2, "tsk-vdisk: /nowhere/libtsk_vdisk.so is missing\n"))

    @unittest.skipIf(os.geteuid() == 0, "runs as root")
    def test_only_root_enables(self):
        self.assertEqual(outcome(SWITCH, "enable", env=self.environment)[0], 2)


@unittest.skipUnless(os.geteuid() == 0, "needs root, for chroot and ldconfig -r")
class Machine(harness.FolderTest):
    """A system with nothing but fls, img_stat and what they are linked to."""

    LIBDIR = "/opt/tsk-vdisk/lib/tsk-vdisk"
    PROGRAMS = ("/usr/bin/fls", "/usr/bin/img_stat", "/usr/bin/env")

    def setUp(self):
        super().setUp()
        self.root = self.folder / "root"
        for name in ("bin", "lib", "lib64"):
            (self.root / "usr" / name).mkdir(parents=True)
            (self.root / name).symlink_to(f"usr/{name}")
        for name in ("etc/ld.so.conf.d", "var/cache/ldconfig", "tmp", self.LIBDIR[1:]):
            (self.root / name).mkdir(parents=True)
        (self.root / "etc" / "ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n")
        folders = {str(pathlib.Path(path).parent) for path in self.copy_programs()}
        (self.root / "etc" / "ld.so.conf.d" / "test.conf").write_text("\n".join(sorted(folders)) + "\n")
        for file in (tsk.PLUGIN, BUILD / "tsk_plugin" / "proxy.template"):
            shutil.copy(file, self.root / self.LIBDIR[1:])
        shutil.copy(DEMO, self.root / "tmp" / "disk.qcow2")
        run("ldconfig", "-r", self.root)
        self.environment = {**os.environ, "TSK_VDISK_LIBDIR": self.LIBDIR}
        self.environment.pop("LD_PRELOAD", None)

    def copy_programs(self):
        libraries = set()
        for file in (*self.PROGRAMS, tsk.PLUGIN):
            libraries |= set(re.findall(r"(/\S+) \(0x", run("ldd", file).decode()))
        for path in (*self.PROGRAMS, *libraries):
            target = self.root / path[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        return libraries

    def switch(self, command):
        return run(SWITCH, "--root", self.root, command, env=self.environment).decode()

    def inside(self, *command, **environment):
        return outcome("chroot", self.root, "/usr/bin/env", "-i", *[f"{name}={value}" for name, value in environment.items()], *command)

    def state(self):
        files = {}
        for path in sorted(self.root.rglob("*")):
            content = path.read_bytes() if path.is_file() else b""
            files[str(path)] = (path.lstat().st_mode, hashlib.sha256(content).hexdigest())
        # ldconfig's own notes on when it last looked at which file.
        files.pop(str(self.root / "var/cache/ldconfig/aux-cache"), None)
        return files

    def assert_reads(self, **environment):
        status, said, errors = self.inside("/usr/bin/fls", "-r", "-p", "-o", "2048", "-i", "qcow2", "/tmp/disk.qcow2", **environment)
        self.assertEqual(status, 0, errors)
        self.assertIn(LISTED, said)

    def test_enabled_then_disabled_is_as_before(self):
        before = self.state()
        self.assertIn("not enabled", self.switch("status"))
        self.assertIn("serves: libtsk.so.", self.switch("enable"))
        self.assert_reads()
        enabled = self.state()
        self.switch("enable")
        self.assertEqual(self.state(), enabled)
        self.assertIn("enabled by", self.switch("status"))
        self.assertIn("not enabled", self.switch("disable"))
        self.assertEqual(self.state(), before)
        self.assertIn("not enabled", self.switch("disable"))
        self.assertEqual(self.state(), before)

    def test_libtsk_itself_is_not_changed(self):
        self.switch("enable")
        said = self.inside("/usr/bin/img_stat", "/etc/ld.so.conf")
        self.assertEqual(said[0], 0)
        self.assertIn(b"Image Type: raw", said[1])

    def test_the_launcher_on_an_enabled_machine(self):
        self.switch("enable")
        plugin = f"{self.LIBDIR}/libtsk_vdisk.so"
        self.assert_reads(LD_PRELOAD=plugin)
        shutil.copy(tsk.PLUGIN, self.root / "tmp")  # another installation's
        self.assert_reads(LD_PRELOAD="/tmp/libtsk_vdisk.so")
        for preload in (plugin, "/tmp/libtsk_vdisk.so"):
            self.assertEqual(self.inside("/usr/bin/fls", "-i", "list", LD_PRELOAD=preload)[2].count("qcow2 ("), 1)

    def test_an_exchanged_libtsk_is_used_at_once(self):
        self.switch("enable")
        library, = (self.root / path[1:] for path in self.copy_programs() if "libtsk.so" in path)
        library.write_bytes(library.read_bytes() + b"an update")
        run("ldconfig", "-r", self.root)
        self.assert_reads()

    def test_a_libtsk_that_is_gone_is_told(self):
        self.switch("enable")
        library, = (self.root / path[1:] for path in self.copy_programs() if "libtsk.so" in path)
        library.unlink()
        self.assertIn("is missing", self.switch("status"))
        self.switch("disable")
        status, _, said = outcome(SWITCH, "--root", self.root, "enable", env=self.environment)
        self.assertEqual(status, 2)
        self.assertIn("no libtsk", said)

    def test_a_loader_that_looks_elsewhere_is_told_and_nothing_stays(self):
        (self.root / "etc" / "ld.so.conf").write_text((self.root / "etc/ld.so.conf.d/test.conf").read_text())
        run("ldconfig", "-r", self.root)
        before = self.state()
        status, _, said = outcome(SWITCH, "--root", self.root, "enable", env=self.environment)
        self.assertEqual(status, 2)
        self.assertIn("nothing was changed", said)
        self.assertEqual(self.state(), before)

    def test_a_plugin_that_is_not_roots_is_refused(self):
        os.chown(self.root / self.LIBDIR[1:] / "libtsk_vdisk.so", 65534, 65534)
        status, _, said = outcome(SWITCH, "--root", self.root, "enable", env=self.environment)
        self.assertEqual(status, 2)
        self.assertIn("does not belong to root", said)


if __name__ == "__main__":
    harness.main()
