# SPDX-License-Identifier: Apache-2.0
"""What QEMU reads of many images, by one qemu-io process: an image takes it some hundred microseconds for each piece."""
import os
import re
import select
import subprocess


class Died(Exception):
    """qemu-io ended, or has said nothing for too long."""


class QemuReader:
    """qemu-io, started anew whenever an image kills it."""

    def __init__(self, patience=30):
        self._patience, self._process, self.deaths = patience, None, 0

    def _ask(self, command):
        """What it prints for a command. One by one: of lines that come together it sees the first."""
        try:
            if self._process is None:
                self._process = subprocess.Popen(["qemu-io"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
                self._answer()
            self._process.stdin.write(f"{command}\n".encode())
            return self._answer()
        except (Died, BrokenPipeError) as error:
            self.close()
            self.deaths += 1
            raise Died(str(error)) from error

    def _answer(self):
        """What comes before the next prompt."""
        said = b""
        while not said.endswith(b"qemu-io> "):
            if not select.select([self._process.stdout], [], [], self._patience)[0]:
                raise Died("it hangs")
            piece = os.read(self._process.stdout.fileno(), 1 << 20)
            if not piece:
                raise Died(said[-300:].decode(errors="replace"))
            said += piece
        return said[:-9].decode(errors="replace").strip()

    def open(self, words):
        """Opens an image by the words behind `open`; "" or why that could not be."""
        return self._ask(f"open {words}")

    def close_image(self):
        self._ask("close")

    def matches(self, runs):
        """Of runs (offset, length, byte): "same", "other" or an error's text for each, by whether the disk has that byte all over."""
        answers = [self._ask(f"read -q -P {byte} {offset} {length}") for offset, length, byte in runs]
        return ["other" if "Pattern verification failed" in said else said or "same" for said in answers]

    def read(self, offset, length):
        """The bytes, or None if they can't be read."""
        said = self._ask(f"read -v {offset} {length}")
        rows = re.findall(r"^[0-9a-f]{8,}:  ((?:[0-9a-f]{2} )+)", said, re.MULTILINE)
        data = bytes.fromhex("".join(rows))
        return data if len(data) == length else None

    def close(self):
        process, self._process = self._process, None
        if process:
            process.kill()
            process.communicate()
