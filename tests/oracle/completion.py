#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What bash offers at a press of the tabulator key."""
import os
import re
import shlex

import harness
from harness import run

COMPLETIONS = harness.SOURCE / "completions"


PATH = f"{harness.BUILD}:{harness.BUILD / 'tools'}:{harness.SOURCE / 'contrib/slurm'}:{os.environ['PATH']}"


def help_of(*command):
    return run(*command, "--help", env=dict(os.environ, PATH=PATH, COLUMNS="200")).decode()


def commands_in(text):
    """What a help text shows below its heading of commands, two or four columns in."""
    section = re.search(r"^(?:Commands:|  COMMAND)\n(.*?)(?:^\S|^$|\Z)", text, re.MULTILINE | re.DOTALL).group(1)
    return set(re.findall(r"^ {2,4}([a-z-]+) ", section, re.MULTILINE))


def options_in(text):
    """The long options that a help text has a line for."""
    return set(re.findall(r"^(?:  |      )(?:-\w(?: \w+)?, ?)?(--[a-z][a-z-]*)", text, re.MULTILINE))


class Completion(harness.FolderTest):
    def offered(self, *words):
        """The candidates for the last of `words`, which bash has split as it splits a command line."""
        tool = words[0]
        script = f"""
            . {shlex.quote(str(COMPLETIONS / tool))}
            COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}
            spec=$(complete -p {tool}); function=${{spec##*-F }}
            "${{function%% *}}" {shlex.join([tool, words[-1], words[-2]])}
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        return set(run("bash", "-c", script, env=dict(os.environ, PATH=PATH), cwd=self.folder).decode().split("\n")) - {""}

    def test_every_command_and_option_that_the_help_tells(self):
        for tool, least in (("vdisk", 9), ("hvconfig", 9), ("vdisk-triage", 4)):
            commands = commands_in(help_of(tool))
            self.assertGreaterEqual(len(commands), least)
            self.assertEqual(self.offered(tool, ""), commands)
            self.assertEqual(self.offered(tool, "--"), options_in(help_of(tool)))
            for command in commands:
                with self.subTest(tool=tool, command=command):
                    options = options_in(help_of(tool, command))
                    self.assertIn("--help", options)
                    self.assertEqual(self.offered(tool, command, "--"), options)

    def test_every_word_of_the_switch(self):
        usage = re.findall(r"(?m)^(?:usage:)? +tsk-vdisk (.*)$", help_of("tsk-vdisk"))
        words = set(re.findall(r"--[a-z]+|\b[a-z]+\b", " ".join(usage)))
        self.assertGreater(len(words), 4)
        self.assertEqual(self.offered("tsk-vdisk", ""), words | {"--help", "--version"})
        self.assertEqual(self.offered("tsk-vdisk", "--root", "/", "en"), {"enable"})
        (self.folder / "system").mkdir()
        self.assertEqual(self.offered("tsk-vdisk", "--root", "sys"), {"system"})

    def test_commands(self):
        self.assertLessEqual({"info", "export"}, self.offered("vdisk", ""))
        self.assertEqual(self.offered("vdisk", "inf"), {"info"})
        self.assertEqual(self.offered("tsk-vdisk", "en"), {"enable"})

    def test_options_of_a_command_and_their_values(self):
        self.assertLessEqual({"--format", "--force", "--help"}, self.offered("vdisk", "export", "--"))
        self.assertEqual(self.offered("vdisk", "export", "--format", "qc"), {"qcow", "qcow2"})
        self.assertEqual(self.offered("vdisk", "export", "--format", "=", "ra"), {"raw", "rawz"})
        self.assertEqual(self.offered("vdisk", "export", "--force", "x"), set())
        self.assertEqual(self.offered("vdisk", "info", "-f", "qc"), {"qcow", "qcow2"})
        self.assertEqual(self.offered("vdisk", "hash", "-a", "sha2"), {"sha256"})
        self.assertEqual(self.offered("vdisk", "hash", "-a", "md5,sha2"), {"md5,sha256"})
        self.assertEqual(self.offered("hvconfig", "dump", "-O", ""), {"tree", "flat", "json"})
        self.assertEqual(self.offered("vdisk", "help", "aud"), {"audit"})

    def test_configurations_and_bitmaps(self):
        archive = harness.FIXTURES / "vma" / "01-single.vma"
        self.assertEqual(self.offered("vdisk", "config", str(archive), "q"), {"qemu-server.conf"})
        run("qemu-img", "create", "-q", "-f", "qcow2", self.folder / "disk.qcow2", "1M")
        for name in ("since monday", "weekly"):
            run("qemu-img", "bitmap", "--add", self.folder / "disk.qcow2", name)
        self.assertEqual(self.offered("vdisk", "bitmap", "disk.qcow2", ""), {"since\\ monday", "weekly"})
        self.assertEqual(self.offered("vdisk", "bitmap", "disk.qcow2", "w"), {"weekly"})

    def test_triage(self):
        self.assertEqual(self.offered("vdisk-triage", ""), {"run", "plan", "task", "merge", "help"})
        self.assertEqual(self.offered("vdisk-triage", "run", "--l"), {"--local", "--loaddb"})
        self.assertEqual(self.offered("vdisk-triage", "plan", "--body", "t"), {"tsk_gettimes"})

    def test_what_changed_in_files(self):
        if not (harness.BUILD / "vdisk-diff-files").exists():
            self.skipTest("built without libtsk")
        self.assertEqual(self.offered("vdisk-diff-files", "--"), options_in(help_of("vdisk-diff-files")))
        self.assertEqual(self.offered("vdisk-diff-files", "-f", "qc"), {"qcow", "qcow2"})

    def test_a_folder_to_mount_on(self):
        (self.folder / "dir").mkdir()
        (self.folder / "disk.qcow2").touch()
        self.assertEqual(self.offered("vdisk", "mount", "disk.qcow2", ""), {"dir"})

    def test_programs_behind_run(self):
        self.assertIn("bash", self.offered("tsk-vdisk", "run", "bas"))

    def test_references(self):
        for name in ("disk.qcow2", "disk.vdisk", "other.vdisk"):
            (self.folder / name).touch()
        (self.folder / "dir").mkdir()
        self.assertLessEqual({"--check", "--snapshots", "--directory"}, self.offered("vdisk", "ref", "--"))
        self.assertEqual(self.offered("vdisk", "ref", "--check", "d"), {"disk.vdisk", "dir/"})
        self.assertEqual(self.offered("vdisk", "ref", "-d", ""), {"dir"})
        self.assertEqual(self.offered("vdisk", "ref", "--directory", "di"), {"dir"})

    def test_disks_inside_a_file(self):
        run("qemu-img", "create", "-q", "-f", "qcow2", self.folder / "disk.qcow2", "1M")
        for snapshot in ("before, update", "after"):
            run("qemu-img", "snapshot", "-c", snapshot, self.folder / "disk.qcow2")
        self.assertEqual(self.offered("vdisk", "info", "disk.qcow2#"), {"disk.qcow2#before\\\\\\,\\ update", "disk.qcow2#after"})
        self.assertEqual(self.offered("vdisk", "info", "disk.qcow2#a"), {"disk.qcow2#after"})
        self.assertEqual(self.offered("vdisk", "info", "disk"), set())


if __name__ == "__main__":
    harness.main()
