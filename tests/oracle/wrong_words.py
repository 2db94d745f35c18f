#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is wrong on a command line: each command is given each wrong thing once, and says one thing that helps."""
import os
import re
import shutil
import subprocess
import unittest

import harness
from harness import BUILD, VDISK, outcome, run

HVCONFIG = str(BUILD / "hvconfig")

# What each command needs besides its image. A word of capitals is made by the test.
VDISK_COMMANDS = {
    "info": [], "ls": [], "hash": [], "config": [], "verify": [], "audit": [], "ref": [],
    "map": [], "report": ["-o", "OUT"], "diff": ["SAME"], "export": ["OUT"], "leaked": ["OUT"], "bitmap": ["name"],
}
HVCONFIG_COMMANDS = {
    "info": [], "dump": [], "verify": [], "disks": [], "deleted": [],
    "get": ["/configuration"], "diff": ["OTHER"], "memory": ["OUT"], "guest-state": [],
}
if b"\n  mount " in run(VDISK, "--help"):
    VDISK_COMMANDS["mount"] = ["FOLDER"]
TOOLS = {"vdisk": (VDISK, VDISK_COMMANDS), "hvconfig": (HVCONFIG, HVCONFIG_COMMANDS)}


class WrongWords(harness.FolderTest):
    def setUp(self):
        super().setUp()
        (self.folder / "empty-folder").mkdir()
        run("qemu-img", "create", "-q", "-f", "qcow2", self.folder / "disk.qcow2", "1M")
        shutil.copy(harness.FIXTURES / "hyperv" / "vm-realistic.vmcx", self.folder / "machine.vmcx")
        shutil.copy(harness.FIXTURES / "hyperv" / "runtime-openvmm.vmrs", self.folder / "state.vmrs")

    def say(self, tool, *words, **keywords):
        """(status, standard error) of a call that prints nothing else; each line begins with the program's name."""
        status, out, error = outcome(TOOLS[tool][0], *words, cwd=self.folder, **keywords)
        self.assertEqual(out, b"", words)
        self.assertTrue(error, words)
        for line in error.splitlines():
            self.assertTrue(line.startswith(f"{tool}: "), (words, line))
        return status, error

    def each_command(self):
        for tool, (_, commands) in TOOLS.items():
            for command, further in commands.items():
                further = [{"OUT": "out", "OTHER": "machine.vmcx", "SAME": "disk.qcow2", "FOLDER": "empty-folder"}.get(word, word) for word in further]
                with self.subTest(tool=tool, command=command):
                    yield tool, command, further, "machine.vmcx" if tool == "hvconfig" else "disk.qcow2"
                    self.assertFalse((self.folder / "out").exists(), "an output is left behind")

    def test_a_word_that_is_no_command(self):
        self.assertEqual(self.say("vdisk", "inof", "disk.qcow2"),
                         (2, "vdisk: 'inof' is neither a command nor a file; did you mean 'info'? ('vdisk --help' lists the commands)\n"))
        self.assertEqual(self.say("hvconfig", "dmup", "x")[1].split("; ")[1].split("?")[0], "did you mean 'dump'")
        self.assertNotIn("did you mean", self.say("vdisk", "qqqqqq")[1])
        self.assertIn("there is no option '-f' in front of a command", self.say("vdisk", "-f", "raw", "disk.qcow2")[1])
        self.assertIn("did you mean '--version'?", self.say("vdisk", "--verson")[1])
        for tool in TOOLS:
            status, error = self.say(tool)
            self.assertEqual(status, 2)
            self.assertIn("a command is missing: ", error)

    def test_help_and_version_in_every_spelling(self):
        for tool, (program, commands) in TOOLS.items():
            version = run(program, "--version")
            self.assertRegex(version, rb"^tsk-vdisk [0-9.]+\n$")
            self.assertEqual(run(program, "-V"), version)
            general = run(program, "--help")
            for words in (["-h"], ["help"]):
                self.assertEqual(run(program, *words), general)
            for command in commands:
                text = run(program, command, "--help")
                self.assertEqual(run(program, "help", command), text)
                self.assertEqual(run(program, command, "-h", "whatever", "--json"), text)
                self.assertTrue(text.startswith(f"Usage: {tool} {command} ".encode()), text)
                self.assertLessEqual(max(map(len, text.splitlines())), 80)
                self.assertIn(f"\n  {command} ".encode(), general)
            self.assertLessEqual(max(map(len, general.splitlines())), 80)
            self.assertEqual(self.say(tool, "help", "inf0")[0], 2)

    def test_help_lists_the_keys_of_selectors(self):
        for words in (["--help"], ["info", "--help"], ["export", "--help"]):
            text = run(VDISK, *words).decode()
            for key in ("device=", "snapshot=", "key-file=", "backing=", "data-file=", "parent="):
                self.assertIn(f"\n  {key}", text)

    def test_a_file_in_the_place_of_a_command(self):
        self.assertEqual(run(VDISK, "disk.qcow2", cwd=self.folder), run(VDISK, "info", "disk.qcow2", cwd=self.folder))
        self.assertEqual(run(VDISK, "disk.qcow2", "--json", cwd=self.folder), run(VDISK, "info", "--json", "disk.qcow2", cwd=self.folder))
        self.assertEqual(run(HVCONFIG, "machine.vmcx", cwd=self.folder), run(HVCONFIG, "info", "machine.vmcx", cwd=self.folder))

    def test_an_option_that_is_not_there(self):
        for tool, command, further, image in self.each_command():
            status, error = self.say(tool, command, image, *further, "--jsno", "--more")
            self.assertEqual(status, 2)
            self.assertIn("there is no option '--jsno'" + (" (" if command in ("mount", "report") else "; did you mean '--json'?"), error)
            self.assertNotIn("--more", error)
            self.assertIn("there is no option '-Q'", self.say(tool, command, "-Q", image, *further)[1])
            self.assertIn("takes no value", self.say(tool, command, {"mount": "--foreground=yes", "report": "--force=yes"}.get(command, "--json=yes"), image, *further)[1])

    def test_too_few_and_too_many_operands(self):
        several = {"info", "ls", "hash", "verify", "audit", "ref"}
        for tool, command, further, image in self.each_command():
            status, error = self.say(tool, command, *([image] if further else []))
            self.assertEqual(status, 2)
            self.assertRegex(error, rf"^{tool}: {command}: [A-Z]+ is missing \('{tool} {command} --help' tells more\)\n$")
            if command not in (several | {"config"} if tool == "vdisk" else {"disks", "info", "verify"}):
                self.assertIn("'surplus' is one argument too many", self.say(tool, command, image, *further, "surplus")[1])

    def test_values_of_options(self):
        status, error = self.say("vdisk", "info", "-f", "vhdx2", "disk.qcow2")
        self.assertEqual(status, 2)
        self.assertRegex(error, r"--format can't be 'vhdx2', it is one of: .*qcow2.*raw, rawz")
        self.assertEqual(self.say("vdisk", "info", "disk.qcow2#format=qcov2"),
                         (2, "vdisk: disk.qcow2: no format is called 'qcov2'; did you mean 'qcow2'?\n"))
        self.assertIn("-f needs a value", self.say("vdisk", "info", "disk.qcow2", "-f")[1])
        self.assertIn("--algorithm can't be 'md4'", self.say("vdisk", "hash", "-a", "md5,md4", "disk.qcow2")[1])
        self.assertIn("--given: '12' is no md5, which has 32 hexadecimal digits", self.say("vdisk", "report", "disk.qcow2", "-o", "out", "--given", "MD5=12")[1])
        self.assertIn("--given can't be 'md4=12'", self.say("vdisk", "report", "disk.qcow2", "-o", "out", "--given", "md4=12")[1])
        self.assertIn("--snapshots and --check exclude each other", self.say("vdisk", "ref", "--check", "--snapshots", "x")[1])

    def test_a_file_that_is_missing(self):
        for tool, command, further, _ in self.each_command():
            self.assertEqual(self.say(tool, command, "gone.img", *further), (2, f"{tool}: gone.img: No such file or directory\n"))

    def test_a_folder(self):
        (self.folder / "folder").mkdir()
        for tool, command, further, _ in self.each_command():
            what = "has no file that ends in .vmcx" if tool == "hvconfig" and command in ("disks", "info", "verify") else "is a directory, not an image file\n"
            status, error = self.say(tool, command, "folder", *further)
            self.assertEqual((status, error[:len(f"{tool}: folder: {what}")]), (2, f"{tool}: folder: {what}"))

    def test_a_fifo(self):
        os.mkfifo(self.folder / "fifo")
        for tool, command, further, _ in self.each_command():
            self.assertEqual(self.say(tool, command, "fifo", *further, timeout=60), (2, f"{tool}: fifo: is a FIFO, not an image file\n"))

    def test_an_empty_file(self):
        (self.folder / "empty").touch()
        for tool, command, further, _ in self.each_command():
            status, error = self.say(tool, command, "empty", *further)
            self.assertEqual(status, 2)
            self.assertRegex(error, rf"^{tool}: empty: .*\n$")

    def test_a_file_of_no_known_format(self):
        (self.folder / "text").write_text("just a text\n" * 1000)
        for tool, command, further, _ in self.each_command():
            status, error = self.say(tool, command, "text", *further)
            self.assertEqual(status, 2)
            self.assertRegex(error, rf"^{tool}: text: .*\n$")

    def test_a_file_of_the_other_tool_is_named_with_that_tool(self):
        for tool, command, further, _ in self.each_command():
            other, file = ("hvconfig", "state.vmrs") if tool == "vdisk" else ("vdisk", "disk.qcow2")
            status, error = self.say(tool, command, file, *further)
            self.assertEqual(status, 2)
            self.assertRegex(error, rf"^{tool}: {file}: .*{other}.*\n$")

    @unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")
    def test_a_file_that_may_not_be_read(self):
        try:
            subprocess.run([VDISK, "--version"], user=65534, group=65534, extra_groups=[], stdout=subprocess.DEVNULL, check=True)
        except (PermissionError, subprocess.CalledProcessError):
            self.skipTest("others may not run what was built")
        self.folder.chmod(0o777)
        (self.folder / "secret").write_text("x")
        (self.folder / "secret").chmod(0)
        for tool, command, further, _ in self.each_command():
            self.assertEqual(self.say(tool, command, "secret", *further, user=65534, group=65534, extra_groups=[]),
                             (2, f"{tool}: secret: Permission denied\n"))

    def test_a_mistyped_key_is_no_name(self):
        status, error = self.say("vdisk", "hash", "disk.qcow2#keyfile=secret")
        self.assertEqual(status, 2)
        self.assertIn("a selector has no key 'keyfile'; did you mean 'key-file'?", error)
        self.assertIn("device=, snapshot=, key-file=, passphrase-file=, backing=, data-file=, parent=", error)
        self.assertTrue(error.startswith("vdisk: disk.qcow2#keyfile=secret: "), error)

    def test_a_name_with_a_comma_is_told_to_escape_it(self):
        self.assertIn(r"a comma in a value is written '\,'", self.say("vdisk", "info", "disk.qcow2#before, update")[1])

    def test_a_mistyped_path_is_shown_as_it_was_typed(self):
        for path in ("case#12/disk.qcow2", "gone.qcow2#keyfile=x", "gone#1#2"):
            status, error = self.say("vdisk", "info", path)
            self.assertEqual(status, 2)
            self.assertEqual(error, f"vdisk: {path}: No such file or directory, nor is there a file '{path.split('#')[0]}'\n")

    def test_what_is_to_be_typed_can_be_pasted(self):
        image = self.folder / "it's a disk.qcow2"
        (self.folder / "disk.qcow2").rename(image)
        for name in ("one $HOME, two", "plain"):
            run("qemu-img", "snapshot", "-c", name, image)
        error = self.say("vdisk", "hash", f"{image.name}#none")[1]
        offered = re.findall(r"snapshot  1 MiB  (.*)", error)
        self.assertEqual(len(offered), 2, error)
        for words in offered:
            facts = run("sh", "-c", f"{VDISK} info --json {words}", cwd=self.folder)
            self.assertIn(b'"selected"', facts)


class Passphrases(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.image = self.folder / "disk.qcow2"
        self.write("key", b"secret")
        run("qemu-img", "create", "-q", "-f", "qcow2", "--object", f"secret,id=s,file={self.folder}/key",
            "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", self.image, "1M")

    def write(self, name, content):
        (self.folder / name).write_bytes(content)
        return name

    def open(self, key, status=0, **keywords):
        """Standard error of opening the image with a key file."""
        done = outcome(VDISK, "hash", "-a", "md5", f"disk.qcow2#key-file={key}", cwd=self.folder, timeout=100, **keywords)
        self.assertEqual(done[0], status, done[2])
        return done[2]

    def test_by_a_pipe(self):
        for words in ("printf secret | {0} hash -a md5 'disk.qcow2#key-file=/dev/stdin'",
                      "{0} hash -a md5 disk.qcow2#key-file=<(printf secret)",
                      "VDISK_KEY_FILE=<(printf secret) {0} hash -a md5 disk.qcow2",
                      "{0} hash -a md5 'disk.qcow2#key-file=/dev/stdin' 'disk.qcow2#key-file=/dev/stdin' < <(printf secret)"):
            run("bash", "-c", words.format(VDISK), cwd=self.folder, timeout=100)

    def test_a_fifo_for_one_who_typed_it_and_for_no_reference_file(self):
        os.mkfifo(self.folder / "fifo")
        writer = subprocess.Popen(["bash", "-c", "printf secret >fifo"], cwd=self.folder)
        self.open("fifo")
        self.assertEqual(writer.wait(60), 0)
        (self.folder / "r.vdisk").write_text("vdisk-reference 1\nimage = disk.qcow2\nkey-file = fifo\n")
        status, _, error = outcome(VDISK, "hash", "r.vdisk", cwd=self.folder, timeout=60)
        self.assertEqual(status, 2)
        self.assertIn("is a FIFO", error)

    def test_line_ends_and_what_is_wrong_with_a_key_file(self):
        for content in (b"secret\n", b"secret\r\n"):
            self.open(self.write("key", content))
        for content, told in ((b"wrong", "opens none of the LUKS key slots\n"), (b"", "it is empty"), (b"\xef\xbb\xbfsecret", "a byte order mark"),
                              ("secret".encode("utf-16"), "it is UTF-16"), (b"wrong\r\n", "without the newline or the CR LF at its end")):
            error = self.open(self.write("key", content), status=2)
            self.assertIn("key file 'key'", error)
            self.assertIn(told, error)
        self.assertIn("key file 'gone'", self.open("gone", status=2))

    def test_what_to_do_is_said_for_programs_that_take_no_selector(self):
        status, _, error = outcome(VDISK, "hash", "disk.qcow2", cwd=self.folder)
        self.assertEqual(status, 2)
        self.assertIn("#key-file=FILE", error)
        self.assertIn("make a reference file that does with 'vdisk ref'", error)


if __name__ == "__main__":
    harness.main()
