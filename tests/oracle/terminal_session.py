#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A day's work on a terminal of 80 columns: what stands on the screen after each command, whole."""
import errno
import hashlib
import os
import pty
import re
import struct
import subprocess
import termios
import fcntl

import harness
import vma_writer
from harness import BUILD, run

COLUMNS, ROWS = 80, 60
MIB = 1 << 20


class Screen:
    """What a terminal shows of the bytes that come: text, new lines, carriage returns and erased lines."""

    def __init__(self):
        self.lines, self.column = [""], 0

    def feed(self, text):
        for token in re.findall(r"\x1b\[K|\r|\n|[^\x1b\r\n]+|\x1b.?", text):
            if token == "\r":
                self.column = 0
            elif token == "\n":
                self.lines.append("")
                self.column = 0
            elif token == "\x1b[K":
                self.lines[-1] = self.lines[-1][:self.column]
            else:
                assert not token.startswith("\x1b"), repr(token)
                for character in token:
                    self.put(character)

    def put(self, character):
        if self.column == COLUMNS:
            self.lines.append("")
            self.column = 0
        line = self.lines[-1].ljust(self.column)
        self.lines[-1] = line[:self.column] + character + line[self.column + 1:]
        self.column += 1

    def text(self):
        return "\n".join(line.rstrip() for line in self.lines)


class Session(harness.FolderTest):
    def on_terminal(self, command, status=0):
        """The screen after `command`, run by a shell on a terminal of its own."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        environment = dict(os.environ, PATH=f"{BUILD}:{os.environ['PATH']}", VDISK_CACHE_DIR=str(self.folder / "cache"), TERM="xterm", TZ="UTC")
        process = subprocess.Popen(["bash", "-c", command], cwd=self.folder, stdin=slave, stdout=slave, stderr=slave,
                                   env=environment, start_new_session=True)
        os.close(slave)
        shown = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError as error:  # Linux: all ends of the terminal are closed
                if error.errno != errno.EIO:
                    raise
                piece = b""
            if not piece:
                break
            shown += piece
        os.close(master)
        self.assertEqual(process.wait(100), status, shown)
        screen = Screen()
        screen.feed(shown.decode())
        return screen.text()

    def expect(self, command, screen, status=0):
        lines = "\n".join(line[8:] if line.startswith(" " * 8) else line for line in screen.strip("\n").rstrip(" ").splitlines())
        with self.subTest(command=command):
            self.assertEqual(self.on_terminal(command, status), lines + "\n")

    def snapshot(self, name, tick):
        """A snapshot whose date is known: `tick` seconds behind the year's first."""
        run("qemu-img", "snapshot", "-c", name, self.folder / "disk.qcow2")
        image = (self.folder / "disk.qcow2").read_bytes()
        count, table = struct.unpack(">IQ", image[60:72])
        at = table
        for _ in range(count - 1):
            id_size, name_size, extra = struct.unpack(">HH", image[at + 12:at + 16]) + struct.unpack(">I", image[at + 36:at + 40])
            at += -(-(40 + extra + id_size + name_size) // 8) * 8
        with open(self.folder / "disk.qcow2", "r+b") as file:
            file.seek(at + 16)
            file.write(struct.pack(">II", 1704067200 + tick, 0))

    def test_a_days_work(self):
        disk = self.folder / "disk.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", disk, MIB)
        run("qemu-io", "-c", "write -q -P 1 0 64k", disk)
        self.snapshot("before-update", 60)
        self.snapshot("a name that somebody gave who wanted to tell a story about the machine, all of it", 3600)
        vma_writer.write(self.folder / "backup.vma", [("drive-scsi0", self.raw("one", 2)), ("drive-virtio1", self.raw("two", 1))])
        run("zstd", "-q", "--rm", self.folder / "backup.vma")

        self.expect("vdisk dsk.qcow2", """
        vdisk: 'dsk.qcow2' is neither a command nor a file ('vdisk --help' lists the com
        mands)
        """, 2)
        self.expect("vdisk disk.qcow2 | head -4", """
        file: disk.qcow2
        format: qcow2
        virtual size: 1048576 bytes (1 MiB)
        file size: 524288 bytes (512 KiB)
        """.replace("524288 bytes (512 KiB)", self.size_of(disk)))
        self.expect("vdisk ls disk.qcow2", """
        KIND      NAME                                   ID  SIZE   DATE
        active    -                                      -   1 MiB  -
        snapshot  before-update                          1   1 MiB  2024-01-01T00:01:00Z
        snapshot  a name that somebody gave who want...  2   1 MiB  2024-01-01T01:00:00Z
          'disk.qcow2#a name that somebody gave who wanted to tell a story about the mac
        hine\\, all of it'
        open one as disk.qcow2#NAME (by its NAME or ID)
        """)
        self.expect("vdisk ls backup.vma.zst", """
        uuid: """ + self.uuid("backup.vma.zst") + """
        created: """ + self.created("backup.vma.zst") + """
        configurations:
          - name: qemu-server.conf
            size: 13 bytes
        KIND    NAME           ID  SIZE   DATE
        device  drive-scsi0    1   2 MiB  -
        device  drive-virtio1  2   1 MiB  -
        open one as backup.vma.zst#NAME (by its NAME or ID)
        """)
        self.expect("vdisk hash -a sha256 backup.vma.zst", """
        vdisk: backup.vma.zst: holds 2 disks, say which, or make reference files of them
         with 'vdisk ref':
        vdisk:   device  2 MiB  backup.vma.zst#drive-scsi0
        vdisk:   device  1 MiB  backup.vma.zst#drive-virtio1
        """, 2)
        digest = hashlib.sha1((self.folder / "two.raw").read_bytes()).hexdigest()
        self.expect("vdisk hash -a sha1 backup.vma.zst#drive-virtio1 | tee case", f"""
        SHA1 (virtual disk of backup.vma.zst#drive-virtio1) = {digest[:26]}
        {digest[26:]}
        """)
        self.expect("vdisk hash --check case", """
        virtual disk of backup.vma.zst#drive-virtio1 (sha1): OK
        """)
        self.expect("vdisk ref -d refs backup.vma.zst", """
        refs/backup.drive-scsi0.vdisk
        refs/backup.drive-virtio1.vdisk
        """)
        self.expect("vdisk verify disk.qcow2", """
        file: disk.qcow2
        format: qcow2
        disks read: 1
        note: no-checksums: format 'qcow2' has no checksums over its data: what is check
        ed is that they can be read; 'vdisk audit' checks the bookkeeping
        no-checksums: 1 found
        no faults
        """)
        self.expect("vdisk export --hash md5 disk.qcow2#before-update before.raw", f"""
        MD5 (before.raw) = {hashlib.md5(bytes([1]) * 65536 + bytes(MIB - 65536)).hexdigest()}
        """)

    def raw(self, name, mebibytes):
        path = self.folder / f"{name}.raw"
        path.write_bytes(self.random_bytes(mebibytes * MIB))
        return path

    def size_of(self, path):
        size = path.stat().st_size
        kib = size / 1024
        return f"{size} bytes ({kib:.0f} KiB)" if kib == int(kib) else f"{size} bytes ({kib:.2f} KiB)"

    def told(self, path, key):
        return re.search(rf'"{key}": "(.*?)"', run(BUILD / "vdisk", "ls", "--json", self.folder / path).decode()).group(1)

    def uuid(self, path):
        return self.told(path, "uuid")

    def created(self, path):
        return self.told(path, "created")

    def test_help_fits(self):
        for tool in ("vdisk", "hvconfig"):
            commands = re.findall(r"^  ([a-z]+) ", self.on_terminal(f"{tool} --help").split("Options:")[0], re.MULTILINE)
            self.assertGreater(len(commands), 6)
            for command in commands:
                self.assertLessEqual(max(map(len, self.on_terminal(f"{tool} help {command}; true").splitlines())), COLUMNS)


if __name__ == "__main__":
    harness.main()
