#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What bash offers at a press of the tabulator key."""
import os
import shlex

import harness
from harness import run

COMPLETIONS = harness.SOURCE / "completions"


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
        path = f"{harness.BUILD}:{harness.SOURCE / 'contrib/slurm'}:{os.environ['PATH']}"
        return set(run("bash", "-c", script, env=dict(os.environ, PATH=path), cwd=self.folder).decode().split("\n")) - {""}

    def test_commands(self):
        self.assertLessEqual({"info", "export"}, self.offered("vdisk", ""))
        self.assertEqual(self.offered("vdisk", "inf"), {"info"})
        self.assertEqual(self.offered("tsk-vdisk", "en"), {"enable"})

    def test_options_of_a_command_and_their_values(self):
        self.assertLessEqual({"--format", "--force", "--help"}, self.offered("vdisk", "export", "--"))
        self.assertEqual(self.offered("vdisk", "export", "--format", "qc"), {"qcow2"})
        self.assertEqual(self.offered("vdisk", "export", "--format", "=", "ra"), {"raw"})
        self.assertEqual(self.offered("vdisk", "export", "--force", "x"), set())

    def test_triage(self):
        self.assertEqual(self.offered("vdisk-triage", ""), {"run", "plan", "task", "merge"})
        self.assertEqual(self.offered("vdisk-triage", "run", "--l"), {"--local", "--loaddb"})
        self.assertEqual(self.offered("vdisk-triage", "plan", "--body", "t"), {"tsk_gettimes"})

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
