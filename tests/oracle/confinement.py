#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a codec that a hostile image took over can do: a library stands in for libdeflate, and tries."""
import ctypes
import errno
import os
import platform
import subprocess
import unittest

import harness
from harness import BUILD, VDISK, outcome, run

# Tells one line for each attempt: what, and the error's number, 0 if it worked.
TAKEN_OVER = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/landlock.h>
#include <unistd.h>

#define TRY(name, call) do { errno = 0; long done = (call); fprintf(out, "%s %d\n", name, done < 0 ? errno : 0); } while (0)

static int start(void) {
    int status = 0;
    pid_t child = vfork();
    if (child == 0) { execl("/bin/true", "true", (char*)0); _exit(errno); }
    waitpid(child, &status, 0);
    errno = WEXITSTATUS(status);
    return errno ? -1 : 0;
}

int libdeflate_zlib_decompress_ex(void) {
    static int once;
    if (once++) return 1;
    FILE* out = fdopen(dup(2), "w");
    const char* evidence = getenv("EVIDENCE");
    const char* made = getenv("MADE");
    TRY("landlock", syscall(SYS_landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_VERSION));
    TRY("read", open(evidence, O_RDONLY));
    TRY("write", open(evidence, O_WRONLY));
    TRY("append", open(evidence, O_RDWR | O_APPEND));
    TRY("truncate", truncate(evidence, 0));
    TRY("make", open(made, O_WRONLY | O_CREAT, 0600));
    TRY("link", symlink(evidence, made));
    TRY("folder", mkdir(made, 0700));
    TRY("rename", rename(evidence, made));
    TRY("remove", unlink(evidence));
    TRY("mode", chmod(evidence, 0777));
    TRY("connect", socket(AF_INET, SOCK_STREAM, 0));
    TRY("talk", socket(AF_UNIX, SOCK_STREAM, 0));
    TRY("start", start());
    TRY("trace", ptrace(PTRACE_TRACEME, 0, 0, 0));
    TRY("output", open(getenv("OUTPUT"), O_RDWR | O_CREAT, 0600));
    fflush(out);
    return 1;
}
int libdeflate_deflate_decompress_ex(void) { return libdeflate_zlib_decompress_ex(); }
"""
WRITING = {"write", "append", "truncate", "make", "link", "folder", "rename", "remove"}
CALLS = {"mode", "connect", "talk", "start", "trace"}


def filters_calls():
    """Whether this kernel has seccomp filters: it looks for one where there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.prctl(22, 2, 0, 0, 0) < 0 and ctypes.get_errno() == errno.EFAULT


@unittest.skipUnless(filters_calls(), "the kernel has no seccomp filters")
@unittest.skipUnless(platform.machine() in ("x86_64", "aarch64"), "calls are not filtered here")
@unittest.skipIf(harness.preloaded_sanitizers(BUILD / "vdisk"), "sanitizers come first, and start programs")
class Confinement(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.image, self.victim, self.out = self.folder / "disk.qcow2", self.folder / "evidence" / "victim", self.folder / "out"
        self.victim.parent.mkdir()
        self.out.mkdir()
        raw = self.folder / "raw"
        raw.write_bytes(bytes(range(256)) * 4096)
        run("qemu-img", "convert", "-c", "-O", "qcow2", raw, self.image)
        library = self.folder / "taken_over.so"
        subprocess.run(["gcc", "-xc", "-shared", "-fPIC", "-w", "-o", library, "-"], input=TAKEN_OVER.encode(), check=True)
        self.environment = dict(os.environ, LD_PRELOAD=str(library), EVIDENCE=str(self.victim), MADE=str(self.victim.parent / "made"),
                                OUTPUT=str(self.out / "made"), TMPDIR=str(self.scratch()), VDISK_THREADS="1")

    def scratch(self):
        path = self.folder / "tmp"
        path.mkdir(exist_ok=True)
        return path

    def attempts(self, *words, **environment):
        """What each attempt of the codec came to, in `words` of vdisk."""
        for path in (self.victim.parent / "made", self.out / "made"):
            if path.is_dir():
                path.rmdir()
            path.unlink(missing_ok=True)
        self.victim.write_text("evidence")
        _, _, said = outcome(VDISK, *words, env=dict(self.environment, **environment))
        told = dict(line.split() for line in said.splitlines() if len(line.split()) == 2 and line.split()[1].isdigit())
        self.assertEqual(set(told), {"landlock", "read", "output"} | WRITING | CALLS, said)
        return {name: int(error) for name, error in told.items()}

    def test_a_codec_can_neither_write_nor_connect_nor_start_anything(self):
        for words in (["hash", self.image], ["export", self.image, self.out / "disk.raw"], ["verify", self.image], ["export", self.image, "-"],
                      ["diff", "--content", self.image, f"{self.folder}/raw#format=raw"]):
            with self.subTest(words=words):
                told = self.attempts(*words)
                self.assertEqual({name: told[name] != 0 for name in CALLS}, dict.fromkeys(CALLS, True))
                self.assertEqual(told["read"], 0)
                if told["landlock"] == 0:
                    self.assertEqual({name: told[name] != 0 for name in WRITING}, dict.fromkeys(WRITING, True))
                    self.assertEqual(self.victim.read_text(), "evidence")
                    self.assertEqual(sorted(os.listdir(self.victim.parent)), ["victim"])
                    # Where the output is made others may be, too.
                    self.assertEqual(told["output"] == 0, words[0] == "export" and words[-1] != "-")
                (self.out / "disk.raw").unlink(missing_ok=True)

    def test_without_confinement_it_could(self):
        """What makes the test above one."""
        told = self.attempts("hash", self.image, VDISK_SANDBOX="off")
        self.assertEqual({name for name, error in told.items() if error and name not in ("landlock", "link", "folder", "mode", "remove")}, set())

    def test_other_programs_of_a_report_are_confined_too(self):
        script = self.folder / "bin" / "tsk-vdisk"
        script.parent.mkdir()
        script.write_text("#!/bin/sh\n(echo x > \"$EVIDENCE\") 2>/dev/null && echo written\necho '000:  Meta 0 0 1 tried'\n")
        script.chmod(0o755)
        self.victim.write_text("evidence")
        page = self.out / "report.html"
        environment = dict(self.environment, PATH=f"{script.parent}:{os.environ['PATH']}", LD_PRELOAD="")
        outcome(VDISK, "report", self.image, "-o", page, env=environment)
        self.assertIn("tried", page.read_text())
        landlock = self.attempts("hash", self.image)["landlock"] == 0
        self.victim.write_text("evidence")
        outcome(VDISK, "report", "--force", self.image, "-o", page, env=environment)
        self.assertEqual(self.victim.read_text() == "evidence", landlock)


if __name__ == "__main__":
    harness.main()
