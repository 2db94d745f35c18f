#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tsk-vdisk: the plugin for one command; for a machine (a small one of the test's own, entered by chroot) and out of it again."""
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import time
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
        shutil.copy(tsk.DOOR, self.folder)
        self.environment = {**os.environ, "TSK_VDISK_LIBDIR": str(self.folder)}
        self.environment.pop("LD_PRELOAD", None)

    def test_one_command_and_what_it_starts_get_the_plugin(self):
        script = f"fls -r -p -o 2048 -i qcow2 {DEMO}; env"
        said = run(SWITCH, "run", "sh", "-c", script, env=self.environment)
        self.assertIn(LISTED, said)
        self.assertIn(f"LD_PRELOAD={self.folder}/libtsk_vdisk.so:{self.folder}/libvhdi_vdisk.so\n".encode(), said)

    def test_what_was_preloaded_stays(self):
        said = run(SWITCH, "run", "env", env={**self.environment, "LD_PRELOAD": str(self.folder / "libtsk_vdisk.so")})
        ours = f"{self.folder}/libtsk_vdisk.so:{self.folder}/libvhdi_vdisk.so"
        self.assertIn(f"LD_PRELOAD={ours}:{self.folder}/libtsk_vdisk.so\n".encode(), said)

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
            self.assertRegex(said, r"\Atsk-vdisk: [^\n]+\n\Z", arguments)

    def test_what_is_mistyped_is_named_with_what_may_be_meant(self):
        for arguments, words in ((["enabel"], "unknown command 'enabel': did you mean 'enable'?"), (["fls"], "unknown command 'fls': 'tsk-vdisk run fls ...'"),
                                 (["--rot"], "unknown option '--rot'"), (["run", "--verbose", "fls"], "unknown option '--verbose'"),
                                 (["disable", "now"], "takes no argument: 'now'")):
            status, _, said = outcome(SWITCH, *arguments, env=self.environment)
            self.assertEqual(status, 2)
            self.assertRegex(said, rf"\Atsk-vdisk: [^\n]*{re.escape(words)}[^\n]*\n\Z")

    def test_help_and_version_are_asked_for_in_every_way(self):
        helps = {run(SWITCH, *words, env=self.environment) for words in (["help"], ["--help"], ["-h"], ["run", "--help"], ["run", "-h"], ["enable", "--help"])}
        self.assertEqual(len(helps), 1)
        self.assertIn(b"usage: tsk-vdisk run COMMAND", helps.pop())
        versions = {run(SWITCH, word, env=self.environment) for word in ("--version", "-V")}
        self.assertEqual(len(versions), 1)
        self.assertRegex(versions.pop().decode(), r"\Atsk-vdisk \d+\.\d+\.\d+\n\Z")

    def test_a_command_that_is_not_there_or_can_not_be_executed(self):
        (self.folder / "text").write_text("no program\n")
        for command, ended, words in (("no-such-program", 127, "no such command"), ("/no/such/program", 127, "no such command"),
                                      (self.folder / "text", 126, "can't be executed"), (self.folder, 126, "can't be executed")):
            status, _, said = outcome(SWITCH, "run", command, env=self.environment)
            self.assertEqual((status, said), (ended, f"tsk-vdisk: run: {command}: {words}\n" if ended == 127 else f"tsk-vdisk: run: {command} {words}\n"))

    def test_the_environment_of_the_command_is_the_callers(self):
        environment = {**self.environment, "IFS": "/", "PATH": f"{self.folder}:{os.environ['PATH']}", "ENV": "/nowhere"}
        said = run(SWITCH, "run", "env", env=environment).decode().splitlines()
        self.assertIn(f"PATH={environment['PATH']}", said)

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
        for file in (tsk.PLUGIN, tsk.DOOR, BUILD / "tsk_plugin" / "proxy.template"):
            shutil.copy(file, self.root / self.LIBDIR[1:])
        shutil.copy(DEMO, self.root / "tmp" / "disk.qcow2")
        run("ldconfig", "-r", self.root)
        self.environment = {**os.environ, "TSK_VDISK_LIBDIR": self.LIBDIR}
        self.environment.pop("LD_PRELOAD", None)

    def copy_programs(self, more=()):
        libraries = set()
        for file in (*self.PROGRAMS, tsk.PLUGIN, *more):
            libraries |= set(re.findall(r"(/\S+) \(0x", run("ldd", file).decode()))
        libraries = {tsk.real_libraries().get(os.path.basename(path), path) for path in libraries}  # not where the tests had it found
        for path in (*self.PROGRAMS, *libraries):
            target = self.root / path[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        return libraries

    def libtsk(self):
        """The small system's libtsk."""
        return self.library("libtsk.so")

    def library(self, name):
        library, = (self.root / path[1:] for path in self.copy_programs() if name in path)
        return library

    def refused(self, command="enable", environment=None):
        """What the switch says, in one line, that leaves all as it is."""
        before = self.state()
        status, out, said = outcome(SWITCH, "--root", self.root, command, env=environment or self.environment)
        self.assertEqual((status, out), (2, b""), said)
        self.assertRegex(said, r"\Atsk-vdisk: [^\n]+\n\Z")
        self.assertEqual(self.state(), before)
        return said

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

    def test_what_stands_in_libvhdis_place_reads_by_that_name(self):
        command = ["/usr/bin/fls", "-r", "-p", "-o", "2048", "-i", "vhd", "/tmp/disk.qcow2"]
        self.assertEqual(self.inside(*command)[0], 1)
        self.assertRegex(self.switch("enable"), r"serves: libvhdi\.so\.1 = /\S+\n")
        status, said, errors = self.inside(*command)
        self.assertEqual((status, errors), (0, ""))
        self.assertIn(LISTED, said)
        self.switch("disable")
        self.assertEqual(self.inside(*command)[0], 1)

    def test_debians_package_follows_when_a_library_comes_or_goes(self):
        programs = ["/bin/sh", "/usr/bin/sed", "/usr/bin/grep", "/usr/bin/sort", "/usr/bin/touch"]
        self.copy_programs(programs)
        for program in (*programs, "/sbin/ldconfig"):
            target = self.root / "usr" / program.removeprefix("/usr/").removeprefix("/").replace("sbin/", "bin/")
            shutil.copy(program, target)
        (self.root / "usr/bin/tsk-vdisk").write_text("#!/bin/sh\ntouch /called-$1\n")
        (self.root / "usr/bin/tsk-vdisk").chmod(0o755)
        script = (harness.SOURCE / "debian/tsk-vdisk.postinst").read_text()
        (self.root / "postinst").write_text(script.replace("/usr/lib/#DEB_HOST_MULTIARCH#/tsk-vdisk", self.LIBDIR))
        called = self.root / "called-enable"

        def configured(how):
            called.unlink(missing_ok=True)
            self.assertEqual(self.inside("/usr/bin/env", "PATH=/usr/bin", "/usr/bin/sh", "/postinst", how), (0, b"", ""))
            return called.exists()

        self.assertFalse(configured("triggered") or configured("configure"))
        self.switch("enable")
        self.assertTrue(configured("configure"))
        self.assertFalse(configured("triggered"))
        self.library("libvhdi.so.1").rename(self.root / "away")
        self.assertTrue(configured("triggered"))

    def test_status_tells_which_programs_each_way_reaches_and_which_none(self):
        carries_a_kit = b"\x7fELF" + bytes(9000) + b"tsk_img_open: Type: %d"
        programs = self.root / "usr/local/bin"
        programs.mkdir(parents=True)
        (programs / "static_fls").write_bytes(carries_a_kit)
        (programs / "static_with_vhdi").write_bytes(carries_a_kit + b"\0libvhdi.so.1\0")
        (programs / "unrelated").write_bytes(b"\x7fELF" + bytes(9000))
        built = self.root / "home/someone/sleuthkit/tsk/.libs"
        built.mkdir(parents=True)
        (built / "libtsk.so.19.1.7").write_bytes(b"")
        (built / "libtsk.so.19").symlink_to("libtsk.so.19.1.7")
        (self.root / "snap/autopsy").mkdir(parents=True)
        said = []
        for command in ("status", "enable", "status"):
            said.append(self.switch(command))
        self.assertIn("would serve: libvhdi.so.1 = ", said[0])
        self.assertNotIn("programs by", said[1])
        for text in (said[0], said[2]):
            self.assertRegex(text, r"(?m)^programs by libtsk: fls img_stat$")
            self.assertRegex(text, r"(?m)^programs by libvhdi: static_with_vhdi$")
            self.assertEqual(re.findall(r"(?m)^not served: ([^:]+):", text), ["/usr/local/bin/static_fls", "/home/someone/sleuthkit/tsk/.libs/libtsk.so.19", "the snap autopsy"])

    def test_programs_on_libtsk_and_libraries_that_load_it_for_themselves_alone(self):
        program, like_java = (tsk.PROGRAMS / name for name in ("program", "java_like"))
        libraries = [tsk.PROGRAMS / ".libs" / name for name in ("libjvm.so", "module.so")]
        files = [tsk.PROGRAMS / ".libs/program" if (tsk.PROGRAMS / ".libs/program").exists() else program, like_java, *libraries]
        self.copy_programs(files)
        for file in files:
            shutil.copy(file, self.root / "tmp")
        run("ldconfig", "-r", self.root)
        run(harness.VDISK, "export", DEMO, self.root / "tmp/disk.raw")
        self.switch("enable")
        for command in (["/tmp/program"], ["/tmp/java_like", "/tmp/libjvm.so", "/tmp/module.so"]):
            for session in ("entries", "ingest"):
                with self.subTest(command=command, session=session):
                    ended = self.inside(*command, session, "/tmp/disk.qcow2", "/tmp/disk.raw")
                    self.assertEqual(ended[:2], (0, f"{session}: 0 wrong\n".encode()), ended[2])

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
        library = self.libtsk()
        library.write_bytes(library.read_bytes() + b"an update")
        run("ldconfig", "-r", self.root)
        self.assert_reads()

    def test_a_libtsk_that_is_gone_is_told(self):
        self.switch("enable")
        library = self.libtsk()
        library.unlink()
        status, said, _ = outcome(SWITCH, "--root", self.root, "status", env=self.environment)
        self.assertEqual((status, b"is missing" in said), (1, True), said)
        self.switch("disable")
        self.assertNotIn("libtsk.so", self.switch("enable"))
        self.switch("disable")
        self.library("libvhdi.so.1").unlink()
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

    def test_what_another_than_root_could_exchange_is_refused(self):
        libdir = self.root / self.LIBDIR[1:]
        targets = [libdir / "libtsk_vdisk.so", libdir / "proxy.template", libdir / "libvhdi_vdisk.so", libdir, libdir.parent, self.root / "opt", self.root / "etc/ld.so.conf.d",
                   self.root / "etc", self.libtsk(), self.library("libvhdi.so.1"), self.libtsk().parent]
        ways = ((65534, 0o755, "(nobody|UNKNOWN), mode .rwxr-xr-x"), (0, 0o775, "root, mode .rwxrwxr-x"), (0, 0o757, "root, mode .rwxr-xrwx"))
        for number, target in enumerate(targets):
            target = target.resolve()
            owner, mode, shown = ways[number % len(ways)]
            with self.subTest(target=target, owner=owner, mode=mode):
                kept = target.stat()
                os.chown(target, owner, -1)
                target.chmod(mode)
                said = self.refused()
                os.chown(target, kept.st_uid, kept.st_gid)
                target.chmod(kept.st_mode & 0o7777)
                path = str(target)[len(str(self.root)):]
                self.assertRegex(said, rf"tsk-vdisk: {re.escape(path)} \(owner {shown}\) is not root's alone: .*nothing was changed")
        self.switch("enable")

    def test_the_folder_that_the_loader_searches_is_roots_alone_even_if_it_is_sticky(self):
        proxies = self.root / self.LIBDIR[1:] / "proxy"
        proxies.mkdir()
        proxies.chmod(0o1777)
        self.assertIn("(owner root, mode drwxrwxrwt) is not root's alone", self.refused())

    def test_roots_files_in_a_sticky_folder_stay_where_they_are(self):
        (self.root / "tmp").chmod(0o1777)
        (self.root / "tmp/lib").mkdir()
        for file in (self.root / self.LIBDIR[1:]).iterdir():
            shutil.copy(file, self.root / "tmp/lib")
        run(SWITCH, "--root", self.root, "enable", env={**self.environment, "TSK_VDISK_LIBDIR": "/tmp/lib"})
        self.assert_reads()

    def test_links_are_followed_as_the_system_under_the_root_sees_them(self):
        (self.root / "srv").mkdir()
        shutil.move(self.root / "opt", self.root / "srv/opt")
        (self.root / "opt").symlink_to("/srv/opt")  # which is another folder outside, or none
        self.switch("enable")
        self.assert_reads()
        self.switch("disable")
        os.chown(self.root / "srv", 65534, -1)
        self.assertIn("/srv (owner ", self.refused())
        (self.root / "opt").unlink()
        (self.root / "opt").symlink_to("/opt")
        self.assertIn("too many links", self.refused())

    def test_a_path_that_the_loaders_configuration_can_not_hold(self):
        for libdir in ("lib", "/opt/a b", "/opt/a\nb", "/opt/x=libc6", "/opt/*", "/opt/#"):
            self.refused(environment={**self.environment, "TSK_VDISK_LIBDIR": libdir})

    def test_what_enable_did_not_make_is_left_alone(self):
        proxies, conf = self.root / self.LIBDIR[1:] / "proxy", self.root / "etc/ld.so.conf.d/000-tsk-vdisk.conf"
        conf.write_text("/usr/lib\n")
        self.assertIn("was not made by tsk-vdisk enable", self.refused())
        self.refused("disable")
        conf.unlink()
        (self.root / "elsewhere").write_text("an administrator's\n")
        conf.symlink_to("/elsewhere")
        self.refused()
        self.refused("disable")
        conf.unlink()
        self.switch("enable")
        soname = self.libtsk().name
        (proxies / "notes").write_text("an administrator's\n")
        (proxies / soname).unlink()
        (proxies / soname).symlink_to("/elsewhere")
        status, _, said = outcome(SWITCH, "--root", self.root, "disable", env=self.environment)
        self.assertEqual(status, 0)
        self.assertIn(f"left in place: {proxies / soname} is not as enable made it\n", said)
        self.assertEqual({path.name for path in proxies.iterdir()}, {"notes", soname})
        self.assertFalse(conf.exists())
        self.assertTrue((self.root / "elsewhere").exists())
        self.assertIn("was not made by", outcome(SWITCH, "--root", self.root, "enable", env=self.environment)[2])

    def test_disable_touches_nothing_in_a_folder_that_another_could_exchange(self):
        self.switch("enable")
        folder = self.root / self.LIBDIR[1:]
        os.chown(folder, 65534, -1)
        precious = self.root / "usr/lib" / self.libtsk().name
        precious.write_bytes(b"/libtsk_vdisk.so")
        (folder / "proxy").rename(folder / "away")
        (folder / "proxy").symlink_to("/usr/lib")
        said = outcome(SWITCH, "--root", self.root, "disable", env=self.environment)[2]
        self.assertIn("left in place: ", said)
        self.assertTrue(precious.exists())
        self.assertEqual(self.inside("/usr/bin/img_stat", "/etc/ld.so.conf")[0], 0)

    def test_a_machine_that_an_earlier_version_enabled(self):
        proxies = self.root / self.LIBDIR[1:] / "proxy"
        before = self.state()
        self.switch("enable")
        conf = self.root / "etc/ld.so.conf.d/000-tsk-vdisk.conf"
        mark, record, _, folder = conf.read_text().splitlines()
        (proxies / "libvhdi.so.1").unlink()
        (proxies / "served").write_text(record.removeprefix("# serves ") + "\n")
        conf.write_text(f"{mark}\n{folder}\n")
        self.assertIn("serves: libtsk.so.", self.switch("status"))
        self.switch("disable")
        self.assertEqual(self.state(), before)

    def test_no_other_library_is_found_elsewhere_than_before(self):
        before = run("ldconfig", "-r", self.root, "-p").decode().splitlines()[1:]
        self.switch("enable")
        after = run("ldconfig", "-r", self.root, "-p").decode().splitlines()[1:]
        more = sorted(set(after) - set(before))
        self.assertEqual(len(more), 2, more)
        self.assertRegex(more[0], rf"libtsk\.so\.\d+ .* => {self.LIBDIR}/proxy/libtsk\.so\.\d+$")
        self.assertRegex(more[1], rf"libvhdi\.so\.1 .* => {self.LIBDIR}/proxy/libvhdi\.so\.1$")
        self.assertEqual([line for line in after if line not in more], before)

    def assert_inert(self, told=True):
        """Programs do what they do on a machine without us; those that open images say why they can't open ours."""
        for command in (["fls", "-r", "-o", "2048", "/tmp/disk.raw"], ["img_stat", "/tmp/disk.raw"]):
            status, said, errors = self.inside(f"/usr/bin/{command[0]}", *command[1:])
            self.assertEqual((status, said), self.expected[command[0]], errors)
            self.assertRegex(errors, r"\Atsk-vdisk: virtual disks are not read: [^\n]*libtsk_vdisk\.so[^\n]*\n\Z" if told else r"\A\Z")
        self.assertEqual(self.inside("/usr/bin/fls", "-i", "list"), self.expected["list"])
        self.assertEqual(self.inside("/usr/bin/env", "/usr/bin/env")[0], 0)

    def learn_what_is_expected(self):
        run(harness.VDISK, "export", DEMO, self.root / "tmp/disk.raw")
        self.expected = {"fls": self.inside("/usr/bin/fls", "-r", "-o", "2048", "/tmp/disk.raw")[:2],
                         "img_stat": self.inside("/usr/bin/img_stat", "/tmp/disk.raw")[:2], "list": self.inside("/usr/bin/fls", "-i", "list")}

    def trouble(self):
        """What status says, to anybody, of an enabled machine on which something is amiss."""
        status, said, _ = outcome(SWITCH, "--root", self.root, "status", env=self.environment)
        self.assertEqual(status, 1, said)
        return said.decode()

    def test_a_plugin_that_is_damaged_or_gone_breaks_no_program(self):
        self.learn_what_is_expected()
        self.switch("enable")
        plugin = self.root / self.LIBDIR[1:] / "libtsk_vdisk.so"
        whole = plugin.read_bytes()
        for length in (0, 3, 64, 4000, len(whole) // 3, len(whole) * 9 // 10, len(whole) - 1):
            with self.subTest(length=length):
                plugin.write_bytes(whole[:length])
                self.assert_inert()
        with self.subTest("a file of zeros"):
            plugin.write_bytes(bytes(len(whole)))
            self.assert_inert()
        with self.subTest("text"):
            plugin.write_text("no library\n" * 1000)
            self.assert_inert()
        with self.subTest("for another machine"):
            plugin.write_bytes(whole[:18] + b"\x08\x00" + whole[20:])
            self.assert_inert()
        plugin.unlink()
        self.assert_inert()
        self.assertIn("libtsk_vdisk.so is missing", self.trouble())
        os.mkfifo(plugin)
        self.assert_inert()
        plugin.unlink()
        plugin.mkdir()
        self.assert_inert()
        plugin.rmdir()
        plugin.write_bytes(whole)
        self.assert_reads()

    def test_a_library_that_the_plugin_needs_and_that_is_gone_breaks_no_program(self):
        self.learn_what_is_expected()
        self.switch("enable")
        needed = [path for path in self.copy_programs() if re.search(r"/lib(fmt|deflate|pugixml)\.so", path)]
        self.assertTrue(needed)
        for path in needed:
            (self.root / path[1:]).unlink()
        for command in (["fls", "-r", "-o", "2048", "/tmp/disk.raw"], ["img_stat", "/tmp/disk.raw"]):
            status, said, errors = self.inside(f"/usr/bin/{command[0]}", *command[1:])
            self.assertEqual((status, said), self.expected[command[0]], errors)
            self.assertRegex(errors, r"\Atsk-vdisk: virtual disks are not read: lib\S+\.so\S*: cannot open shared object file[^\n]*\n\Z")

    def test_proxies_that_are_gone_break_no_program(self):
        self.learn_what_is_expected()
        self.switch("enable")
        shutil.rmtree(self.root / self.LIBDIR[1:])
        self.assert_inert(told=False)
        self.assertIn("is missing", self.trouble())
        run("ldconfig", "-r", self.root)
        self.assert_inert(told=False)
        self.assertIn("not enabled", self.switch("disable"))

    def test_status_is_for_everybody(self):
        self.folder.chmod(0o755)
        self.switch("enable")
        expected = self.switch("status")
        switch = harness.for_everyone(SWITCH)
        nobody = {"user": 65534, "group": 65534, "extra_groups": []}
        self.assertEqual(run(switch, "--root", self.root, "status", env=self.environment, **nobody).decode(), expected)
        for command in ("enable", "disable"):
            status, _, said = outcome(switch, "--root", self.root, command, env=self.environment, **nobody)
            self.assertEqual((status, "it needs root" in said), (2, True), said)

    def test_the_callers_environment_does_not_reach_what_is_started(self):
        spoilt = self.folder / "spoilt"
        spoilt.mkdir()
        for name in ("ldconfig", "stat", "cp", "mv", "sed", "dd", "grep", "od", "id", "mkdir", "sync", "readlink"):
            (spoilt / name).write_text(f"#!/bin/sh\ntouch {self.folder}/was-started\nexit 1\n")
            (spoilt / name).chmod(0o755)
        environment = {**self.environment, "PATH": f"{spoilt}:{os.environ['PATH']}", "IFS": "/.:", "LC_ALL": "tr_TR.UTF-8", "GREP_OPTIONS": "-v", "POSIXLY_CORRECT": "1"}
        for command in ("enable", "status", "disable"):
            run(SWITCH, "--root", self.root, command, env=environment, umask=0)
            for path in (self.root / self.LIBDIR[1:], self.root / "etc"):
                self.assertEqual([each for each in path.rglob("*") if not each.is_symlink() and each.stat().st_mode & 0o022], [])
        self.assertFalse((self.folder / "was-started").exists())

    def test_an_enable_that_is_killed_leaves_no_half_file_under_a_name_that_counts(self):
        proxies, conf = self.root / self.LIBDIR[1:] / "proxy", self.root / "etc/ld.so.conf.d/000-tsk-vdisk.conf"
        self.switch("enable")
        whole = {path.name: path.read_bytes() for path in (conf, *proxies.iterdir())}
        for milliseconds in range(0, 400, 50):
            with subprocess.Popen([SWITCH, "--root", self.root, "enable"], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                time.sleep(milliseconds / 1000)
                process.kill()
            for path in (conf, *proxies.iterdir()):
                self.assertEqual(path.read_bytes() if not path.name.startswith(".") else b"", whole.get(path.name, b""))
            self.assert_reads()
        self.switch("enable")


if __name__ == "__main__":
    harness.main()
