# SPDX-License-Identifier: Apache-2.0
"""Virtual disks of hypervisors (qcow2, VDI, VHDX, VMDK, VMA, ...) as read-only file objects.

    import vdisk

    with vdisk.open("backup.vma.zst#drive-scsi0") as disk:
        boot_sector = disk.read(512)
        disk.seek(1 << 20)

    vdisk.ls("backup.vma.zst")          # what disks and snapshots there are
    vdisk.identify("disk.img")          # "qcow2"; None: of no known format
    vdisk.tsk.Img_Info("disk.qcow2#s1") # for pytsk3
    vdisk.open(file_object)             # an image inside of another one, an E01 by pyewf, ...

What can't be read is an Error for exactly its range, never zeros and never other bytes. Nothing is ever written to an image.
libvdisk (its C interface is vdisk.h) does the work.
"""
import ctypes
import io
import os
import threading
from typing import Any, BinaryIO, Iterator, List, NamedTuple, Optional, Union

from . import _library, tsk

__all__ = ["Disk", "DiskInfo", "Error", "Extent", "File", "identify", "ls", "open", "tsk", "version",
           "STORED", "PACKED", "ZERO", "UNREADABLE", "ACTIVE", "SNAPSHOT", "DEVICE", "MEMORY"]

STORED, PACKED, ZERO, UNREADABLE = range(4)  # Extent.kind: bytes in a file; compressed ones; none, so zeros; damaged metadata
ACTIVE, SNAPSHOT, DEVICE, MEMORY = range(4)  # DiskInfo.kind: the state seen last; an earlier one; one of several; a saved state

Image = Union[str, bytes, "os.PathLike[str]", BinaryIO]


class Error(OSError):
    """What libvdisk said: one line that names file, field and value. Of a file object that failed, its exception is the cause."""


class DiskInfo(NamedTuple):
    """A disk or a snapshot in a file."""
    kind: int         # ACTIVE, SNAPSHOT, DEVICE, MEMORY; an unknown one: treat it as DEVICE
    name: str         # "" for the active state
    id: str           # a second name; may be ""
    description: str  # one line for people
    size: int         # bytes


class Extent(NamedTuple):
    """Where a run of a disk's bytes comes from."""
    kind: int    # STORED, PACKED, ZERO, UNREADABLE; an unknown one: treat it as STORED
    depth: int   # the layer it was found in: 0 the disk itself, 1 its parent, ...
    offset: int  # on the disk
    length: int  # bytes


class _Source:
    """A file object as libvdisk reads it: several threads may ask at once, so that its position is one's at a time."""

    def __init__(self, file: BinaryIO, name: Optional[str]) -> None:
        self._file, self._lock = file, threading.Lock()
        self.error: Optional[BaseException] = None  # the last that the file object raised
        with self._lock:
            size = file.seek(0, os.SEEK_END)
        if size is None:  # as some file objects answer
            size = file.tell()
        called = name or getattr(file, "name", None)
        shown = called if isinstance(called, str) else type(file).__name__
        self._read = _library.Read(self._fill)  # referred to by `structure`
        self.structure = _library.Source(ctypes.sizeof(_library.Source), shown.encode(errors="surrogateescape"), size, self._read, None, None)

    def _fill(self, _: Any, buffer: int, count: int, offset: int) -> int:
        done = 0
        try:
            with self._lock:
                self._file.seek(offset)
                while done < count:
                    piece = self._file.read(count - done)
                    if not piece:
                        break
                    ctypes.memmove(buffer + done, bytes(piece), len(piece))
                    done += len(piece)
        except BaseException as error:  # whatever it is, it can't pass through C
            self.error = error
            return -1
        return done


def _is_file_object(image: Any) -> bool:
    return hasattr(image, "read") and hasattr(image, "seek")


def _checked(result: Any, failed: Any, source: Optional[_Source] = None) -> Any:
    if result == failed:
        raise Error(_library.last_error().decode()) from (source.error if source else None)
    return result


class File:
    """A file of a known format and the disks in it. Its disks live on when it is closed."""

    def __init__(self, image: Image, format: Optional[str] = None, selector: Optional[str] = None, name: Optional[str] = None) -> None:
        """`image` is PATH, PATH#SELECTOR, or a binary file object that can seek; of that `selector` says what would stand behind
        '#', and `name` what messages call it. The file object must not be used by others until all is closed."""
        self._handle = None
        self._source: Optional[_Source] = None
        options = _library.Options(ctypes.sizeof(_library.Options), format.encode() if format else None, None, None)
        if _is_file_object(image):
            self._source = _Source(image, name)  # type: ignore[arg-type]
            words = selector.encode(errors="surrogateescape") if selector else None
            handle = _library.file_open_source(self._source.structure, words, options)
        else:
            path = os.fsencode(image)  # type: ignore[arg-type]
            handle = _library.file_open(path + (b"#" + os.fsencode(selector) if selector else b""), options)
        self._handle = _checked(handle, None, self._source)

    def _open(self) -> int:
        if self._handle is None:
            raise ValueError("the file is closed")
        return self._handle

    @property
    def format(self) -> str:
        """The format's name, such as "qcow2"."""
        return _library.file_format(self._open()).decode()

    @property
    def disks(self) -> List[DiskInfo]:
        """Every disk and snapshot, in their order."""
        found = []
        for index in range(_library.file_disk_count(self._open())):
            info = _library.DiskInfo()
            _checked(_library.file_disk_info(self._handle, index, info), -1)
            found.append(DiskInfo(info.kind, info.name.decode(), info.id.decode(), info.description.decode(), info.size))
        return found

    @property
    def selected(self) -> int:
        """The number of the disk that the selector names; without one, of the disk that is meant then. Error if there is none, or
        more than one: it lists what there is."""
        return _checked(_library.file_selected(self._open()), -1)

    def open_disk(self, index: int) -> "Disk":
        """Disk number `index` with its chain of parents."""
        return Disk(_checked(_library.file_open_disk(self._open(), index), None, self._source), self._source)

    def close(self) -> None:
        """May be called more than once."""
        handle, self._handle = self._handle, None
        if handle is not None:
            _library.file_close(handle)

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.close()


class Disk(io.RawIOBase):
    """A disk as a read-only binary file object, unbuffered; io.BufferedReader(disk) buffers it. read_at() may be called by several
    threads at once; the position, and what uses it, is for one thread at a time, and closing must be the last use."""

    def __init__(self, handle: int, source: Optional[_Source] = None) -> None:
        """Not for programs: open() and File.open_disk() make disks."""
        self._handle: Optional[int] = handle
        self._source = source  # lives as long as what reads from it
        self._position = 0

    def _open(self) -> int:
        if self._handle is None:
            raise ValueError("the disk is closed")
        return self._handle

    @property
    def size(self) -> int:
        """Bytes."""
        return _library.size(self._open())

    @property
    def remarks(self) -> List[str]:
        """What has to be said of how the disk came together. Lines that begin with "warning: " mean that bytes may be others than
        those that the guest saw."""
        return _library.remarks(self._open()).decode().splitlines()

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`, fewer only at the end of the disk. Error if a single one can't be read."""
        if offset < 0 or count < 0:
            raise ValueError(f"{count} bytes at offset {offset}")
        buffer = bytearray(max(0, min(count, self.size - offset)))
        del buffer[self._read_into(offset, buffer):]
        return bytes(buffer)

    def _read_into(self, offset: int, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if len(view) == 0:
            return 0
        return _checked(_library.read(self._open(), (ctypes.c_char * len(view)).from_buffer(view), len(view), offset), -1, self._source)

    def extents(self, offset: int = 0) -> Iterator[Extent]:
        """Where the bytes from `offset` to the end of the disk come from, a run after the other."""
        while offset < self.size:
            extent = _library.Extent()
            _checked(_library.extent_at(self._open(), offset, self.size - offset, extent), -1, self._source)
            yield Extent(extent.kind, extent.depth, extent.offset, extent.length)
            offset += extent.length

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        got = self._read_into(self._position, buffer)
        self._position += got
        return got

    def readall(self) -> bytes:
        data = self.read_at(self._position, max(0, self.size - self._position))
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}.get(whence)
        if start is None or start + offset < 0:
            raise ValueError(f"no such place: {offset}, {whence}")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        self._open()
        return self._position

    def close(self) -> None:
        super().close()
        handle, self._handle = getattr(self, "_handle", None), None
        if handle is not None:
            _library.close(handle)


def open(image: Image, format: Optional[str] = None, selector: Optional[str] = None, name: Optional[str] = None) -> Disk:
    """The disk that PATH or PATH#SELECTOR names, or that is in a file object; arguments as File's."""
    with File(image, format, selector, name) as file:
        return file.open_disk(file.selected)


def ls(image: Image, format: Optional[str] = None) -> List[DiskInfo]:
    """Every disk and snapshot in a file."""
    with File(image, format) as file:
        return file.disks


def identify(image: Image) -> Optional[str]:
    """The format that the file surely has, whether or not it can be opened; None if it has none, as a raw disk. "reference" for a
    reference file. Error if it can't be read, or two formats are sure."""
    source = _Source(image, None) if _is_file_object(image) else None  # type: ignore[arg-type]
    found = _library.identify_source(source.structure) if source else _library.identify(os.fsencode(image))  # type: ignore[arg-type]
    return _checked(found, None, source).decode() or None


def version() -> str:
    """The library's version."""
    return _library.version().decode()
