# SPDX-License-Identifier: Apache-2.0
"""The programs and libraries for Windows under Wine, beside the same of this machine."""
import json
import os
import pathlib
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

SOURCE = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(os.environ.get("abs_top_builddir", SOURCE / "build-test"))
FIXTURES = SOURCE / "tests" / "fixtures"
FOLDER = pathlib.Path(os.environ["VDISK_WINDOWS_FOLDER"])
MADE = FOLDER / "64" / "tsk-vdisk"
VDISK = HERE / "vdisk"
# What every Windows has.
SYSTEM = {"kernel32.dll", "msvcrt.dll", "advapi32.dll", "shell32.dll", "user32.dll", "ws2_32.dll", "crypt32.dll", "bcrypt.dll"}
FORMATS = {".vma", ".zst", ".gz", ".qcow2", ".vhd", ".vhdx", ".avhd", ".avhdx", ".vdi", ".vmdk", ".qed", ".qcow", ".hdd", ".hds", ".ova"}
MOST = 64 << 20  # bytes of a disk that is hashed here


class Wine(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Kept: Wine takes seconds to make one.
        cls.environment = {**os.environ, "WINEPREFIX": str(FOLDER / "wine"), "WINEDEBUG": "-all", "VDISK_CACHE_DIR": "none"}
        subprocess.run(["wine64", "wineboot", "-i"], env=cls.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=120)
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="vdisk-windows-"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def outcome(self, program, *words, folder=None, patience=300, **environment):
        """(status, standard output as bytes, standard error as text)"""
        command = [program] if not str(program).endswith(".exe") else ["wine64", program]
        done = subprocess.run([str(word) for word in [*command, *words]], cwd=folder or self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env={**self.environment, **environment}, timeout=patience)
        return done.returncode, done.stdout, done.stderr.decode(errors="replace")

    def vdisk(self, *words, status=0, **keywords):
        got = self.outcome(MADE / "vdisk.exe", *words, **keywords)
        self.assertEqual(got[0], status, got)
        return got[1].decode()

    @staticmethod
    def name(path):
        """As Windows has it: Wine's drive Z: is the root."""
        return "Z:" + str(path).replace("/", "\\")

    def chain(self, folder):
        """A qcow2 over another, whose name it has as Windows would write it; and what is on it."""
        folder.mkdir(exist_ok=True)
        base, top = folder / "base.qcow2", folder / "top.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", base, "1M"], check=True)
        subprocess.run(["qemu-io", "-c", "write -q -P 7 0 64k", base], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top], check=True)
        subprocess.run(["qemu-io", "-c", "write -q -P 9 128k 64k", top], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["qemu-img", "rebase", "-u", "-F", "qcow2", "-b", self.name(base), top], check=True)
        piece = 64 << 10
        return top, b"\7" * piece + bytes(piece) + b"\x09" * piece + bytes((1 << 20) - 3 * piece)


class Files(Wine):
    HOST, BITS = "x86_64-w64-mingw32", "64"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.made = FOLDER / cls.BITS / "tsk-vdisk"

    def headers(self, name):
        return subprocess.run([f"{self.HOST}-objdump", "-p", self.made / name], check=True, stdout=subprocess.PIPE).stdout.decode()

    def exported(self, name):
        table = self.headers(name).split("[Ordinal/Name Pointer] Table")[1].split("\n\n")[0]
        return set(re.findall(r"\[ *\d+\].*?(\S+)$", table, re.M))

    def test_each_needs_nothing_but_windows(self):
        for name in ("vdisk.exe", "hvconfig.exe", "vdisk.dll", "libvhdi.dll"):
            needed = {line.split()[-1].lower() for line in self.headers(name).splitlines() if "DLL Name:" in line}
            self.assertIn("kernel32.dll", needed)
            self.assertEqual(needed - SYSTEM, set(), name)

    def test_the_libraries_export_what_their_headers_declare(self):
        for name, prefix, headers in (("vdisk.dll", "vdisk_", ["lib/capi/vdisk.h"]), ("libvhdi.dll", "libvhdi_", ["vhdi_door/exports.h", "vhdi_door/wide.h"])):
            declared = {each for header in headers for each in re.findall(rf"\b({prefix}\w+)\(", (SOURCE / header).read_text())}
            self.assertGreater(len(declared), 10)
            self.assertEqual(self.exported(name), declared)

    def test_libvhdi_has_the_functions_that_libtsk_calls(self):
        called = "check_file_signature_wide error_backtrace_sprint error_free file_close file_free file_get_media_size file_initialize file_open_wide " \
            "file_read_buffer_at_offset notify_set_stream notify_set_verbose"
        self.assertLessEqual({f"libvhdi_{name}" for name in called.split()}, self.exported("libvhdi.dll"))

    def test_each_is_for_the_processor_that_it_is_for(self):
        for name in ("vdisk.exe", "hvconfig.exe", "vdisk.dll", "libvhdi.dll"):
            self.assertIn({"64": "pei-x86-64", "32": "pei-i386"}[self.BITS], self.headers(name))

    def test_the_folder_has_what_its_text_names(self):
        text = (self.made / "README.txt").read_text()
        self.assertIn("\n", text)
        for name in ("libvhdi.dll", "vdisk.exe", "hvconfig.exe", "vdisk.dll", "vdisk.h", "LICENSES.txt"):
            self.assertIn(name, text)
            self.assertTrue((self.made / name).exists(), name)

    def test_no_library_of_the_zip_is_under_the_gpl(self):
        text = (self.made / "LICENSES.txt").read_text()
        for name in ("Apache-2.0", "libcrypto", "zlib", "libzstd", "libdeflate", "pugixml", "winpthreads", "==== openssl ===="):
            self.assertIn(name, text)
        self.assertNotIn("lzo", text.lower())
        self.assertNotIn(b"lzo1x", (self.made / "vdisk.exe").read_bytes())


@unittest.skipUnless(os.environ.get("VDISK_WINDOWS_32"), "VDISK_WINDOWS_32 is not set")
class Files32(Files):
    HOST, BITS = "i686-w64-mingw32", "32"


class Library(Wine):
    # They take as long as all others together, and say nothing of the system.
    LONG = ["sequences_of_every_level_copy_the_bytes_that_libzstd_makes", "a_kept_index_with_any_byte_altered_gives_no_wrong_one",
            "every_changed_byte_of_an_index_is_an_error_a_doubt_or_changes_no_byte", "every_changed_byte_of_a_chunk_file_is_noticed",
            "every_changed_byte_of_an_encrypted_chunk_file_is_noticed", "an_index_that_contradicts_the_archive_is_not_used"]

    def test_its_unit_tests(self):
        status, out, told = self.outcome(FOLDER / "64" / "build" / "tests" / "unit_tests.exe", *[f"--run_test=!*/{name}" for name in self.LONG],
                                         patience=1200, abs_top_srcdir=str(SOURCE))
        said = out.decode(errors="replace") + told
        self.assertEqual(status, 0, said[-6000:])
        ran = int(re.search(r"Running (\d+) test cases", said)[1])
        print(f"{ran} unit tests", end=" ", flush=True)
        self.assertGreater(ran, 300)


class Interrupted(Wine):
    def interrupt_export(self, *words):
        """Presses Ctrl-C once something is written; returns what is printed, of the status too."""
        console, terminal = pty.openpty()
        command = " ".join(["vdisk.exe", "export", *words, "-f", "raw", "large.raw", "out.raw"])
        shutil.copy(MADE / "vdisk.exe", self.folder)
        with subprocess.Popen(["wine64", FOLDER / "interrupt.exe", "out.raw.*.partial", command], cwd=self.folder, env=self.environment,
                              stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
            os.close(terminal)
            said = process.communicate(timeout=120)
        os.close(console)
        return said

    def test_an_export_leaves_nothing(self):
        with open(self.folder / "large.raw", "wb") as file:
            file.write(b"x" * (1 << 20))
            file.truncate(64 << 30)
        before = {path.name for path in self.folder.iterdir()} | {"vdisk.exe"}
        ended = (b"status c000013a\r\n", b"")  # as Ctrl-C ends any program of Windows
        self.assertEqual(self.interrupt_export(), ended)
        self.assertEqual({path.name for path in self.folder.iterdir()}, before)
        (self.folder / "out.raw").write_bytes(b"an earlier result")
        self.assertEqual(self.interrupt_export("--force"), ended)
        self.assertEqual((self.folder / "out.raw").read_bytes(), b"an earlier result")
        self.assertEqual({path.name for path in self.folder.iterdir()}, before | {"out.raw"})


class Hashes(Wine):
    def unpacked(self):
        """Fixtures that are files of their own, and those that are kept compressed, in a folder each; what is too large for a test is left out."""
        folder = self.folder / "fixtures"
        for path in sorted((FIXTURES / "disks").rglob("*.zst")) + sorted((FIXTURES / "vmdk").rglob("*.zst")):
            to = folder / path.relative_to(FIXTURES).with_suffix("")
            to.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["zstd", "-dqf", path, "-o", to], check=True)
        for name in ("vma", "qcow2"):
            shutil.copytree(FIXTURES / name, folder / name, dirs_exist_ok=True)
        return folder

    def test_all_fixtures_have_the_hashes_of_linux(self):
        folder = self.unpacked()
        images = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix in FORMATS)
        # By how much disk there is: of each disk here, and of none that is larger than MOST.
        small = []
        for image in images:
            status, out, _ = self.outcome(VDISK, "info", "--json", image, folder=folder)
            if status == 2 or json.loads(out).get("virtual_size", 0) <= MOST:
                small.append(image)
        self.assertGreater(len(small), 100)
        here = self.outcome(VDISK, "hash", "-a", "md5", *small, folder=folder)
        there = self.outcome(MADE / "vdisk.exe", "hash", "-a", "md5", *small, folder=folder)
        self.assertGreater(here[1].count(b"MD5"), 60)
        self.assertEqual(there[1].decode().splitlines(), here[1].decode().splitlines())
        self.assertEqual(there[0], here[0])
        self.assertEqual(len(there[2].splitlines()), len(here[2].splitlines()))

    def test_a_hyper_v_file_is_told_as_on_linux(self):
        for path in sorted((FIXTURES / "hyperv").glob("*.vmcx"))[:5]:
            there = self.outcome(MADE / "hvconfig.exe", "dump", "--json", path.name, folder=path.parent)
            here = self.outcome(HERE / "hvconfig", "dump", "--json", path.name, folder=path.parent)
            self.assertEqual(there[:2], here[:2])


class Names(Wine):
    def test_a_chain_whose_names_begin_with_a_drive(self):
        top, content = self.chain(self.folder / "chain")
        out = self.folder / "chain.raw"
        self.vdisk("export", self.name(top), self.name(out))
        self.assertEqual(out.read_bytes(), content)

    def test_names_in_any_script(self):
        top, content = self.chain(self.folder / "Beweis \u00e9\u20ac \u0416\u4e2d \U0001f600")
        out = self.folder / "\u00dcberblick \U0001f600.raw"
        self.vdisk("export", self.name(top), self.name(out))
        self.assertEqual(out.read_bytes(), content)
        told = json.loads(self.vdisk("info", "--json", self.name(top)))
        self.assertIn("Beweis \u00e9\u20ac \u0416\u4e2d \U0001f600", told["file"])

    def test_names_longer_than_260_characters(self):
        deep = self.folder
        while len(str(deep)) < 300:
            deep = deep / ("f" * 60)
        deep.mkdir(parents=True)
        shutil.copy(FIXTURES / "qcow2" / "demo.qcow2", deep)
        self.assertIn("qcow2", self.vdisk("info", self.name(deep / "demo.qcow2")))

    def test_a_missing_file_is_one_line_and_status_2(self):
        status, out, told = self.outcome(MADE / "vdisk.exe", "info", "C:\\nowhere\\gone.qcow2")
        self.assertEqual((status, out), (2, b""))
        self.assertEqual(len(told.splitlines()), 1)
        self.assertTrue(told.startswith("vdisk: C:\\nowhere\\gone.qcow2: "), told)
        self.assertRegex(told, "not found|No such file")

    def test_nothing_is_written_onto_what_is_read(self):
        image = self.folder / "own.qcow2"
        shutil.copy(FIXTURES / "qcow2" / "demo.qcow2", image)
        before = image.read_bytes()
        self.vdisk("export", "--force", self.name(image), self.name(image).upper().replace("OWN.QCOW2", "own.qcow2"), status=2)
        self.assertEqual(image.read_bytes(), before)

    def test_drives_are_never_written_to(self):
        status, _, told = self.outcome(MADE / "vdisk.exe", "export", "--force", FIXTURES / "qcow2" / "demo.qcow2", "\\\\.\\PhysicalDrive9")
        self.assertEqual(status, 2, told)

    def test_what_is_not_built_in_is_said(self):
        image = FIXTURES / "vma" / "15-small.vma.lzo"
        status, _, told = self.outcome(MADE / "vdisk.exe", "info", self.name(image))
        self.assertEqual((status, len(told.splitlines())), (2, 1), told)
        self.assertIn("made without liblzo2", told)


class Cache(Wine):
    def test_an_index_is_kept_and_found_again(self):
        image = self.folder / "kept.vma.zst"
        shutil.copy(FIXTURES / "vma" / "05-guest-writes.vma.zst", image)
        os.utime(image, (1600000000, 1600000000))
        time.sleep(2)  # what has changed just now is not indexed
        environment = {**self.environment}
        environment.pop("VDISK_CACHE_DIR")
        # Wine says itself where %LOCALAPPDATA% is.
        local = subprocess.run(["wine64", "cmd", "/c", "echo %LOCALAPPDATA%"], env=environment, stdout=subprocess.PIPE, check=True).stdout.decode().strip()
        kept = pathlib.Path(self.environment["WINEPREFIX"], "drive_c", *local.split("\\")[1:])
        shutil.rmtree(kept / "tsk-vdisk", ignore_errors=True)
        told = [subprocess.run(["wine64", MADE / "vdisk.exe", "ls", self.name(image)], env=environment, stdout=subprocess.PIPE, check=True).stdout
                for _ in range(2)]
        self.assertEqual(told[0], told[1])
        indexes = list((kept / "tsk-vdisk").glob("*.index"))
        self.assertTrue(indexes)
        self.assertEqual([], list((kept / "tsk-vdisk").glob("unfinished-*")))
        self.assertTrue((kept / "tsk-vdisk" / "CACHEDIR.TAG").exists())


class Door(Wine):
    def read(self, image):
        folder = self.folder / "door"
        folder.mkdir(exist_ok=True)
        for file in (MADE / "libvhdi.dll", FOLDER / "load_door.exe"):
            shutil.copy(file, folder)
        status, out, told = self.outcome(folder / "load_door.exe", image, folder=folder)
        return status, out.decode().strip(), told

    @staticmethod
    def expected(content):
        piece = 64 << 10
        sums = b"".join(zlib.crc32(content[at:at + piece]).to_bytes(4, "little") for at in range(0, len(content), piece))
        return f"{len(content)} {zlib.crc32(sums):08x}"

    def test_a_chain_is_read_by_two_threads(self):
        top, content = self.chain(self.folder / "Disk \u20ac")
        self.assertEqual(self.read(self.name(top)), (0, self.expected(content), ""))

    def test_a_vhd_and_a_backup_are_read(self):
        plain = self.folder / "disk.raw"
        plain.write_bytes(os.urandom(300 << 10) + bytes(212 << 10))
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "force_size", plain, self.folder / "disk.vhd"], check=True)
        self.assertEqual(self.read(self.name(self.folder / "disk.vhd")), (0, self.expected(plain.read_bytes()), ""))
        backup = FIXTURES / "vma" / "01-single.vma"
        out = self.folder / "backup.raw"
        subprocess.run([VDISK, "export", backup, out], check=True, stderr=subprocess.DEVNULL)
        self.assertEqual(self.read(self.name(backup)), (0, self.expected(out.read_bytes()), ""))

    def test_what_is_no_disk_is_left_to_others(self):
        text = self.folder / "text.txt"
        text.write_text("no disk\n" * 1000)
        self.assertEqual(self.read(self.name(text))[:2], (2, "not ours"))

    def test_a_disk_that_can_not_be_read_opens_and_says_why(self):
        top, _ = self.chain(self.folder / "broken")
        (self.folder / "broken" / "base.qcow2").unlink()
        status, out, _ = self.read(self.name(top))
        self.assertEqual(status, 1)
        self.assertTrue(out.startswith("read: "), out)
        self.assertIn("base.qcow2", out)


if __name__ == "__main__":
    begun = time.time()
    program = unittest.main(exit=False, verbosity=2)
    print(f"{time.time() - begun:.0f} s  tests under Wine")
    print(f"Ran {program.result.testsRun} tests")
    sys.exit(not program.result.wasSuccessful())
