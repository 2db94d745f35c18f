# SPDX-License-Identifier: Apache-2.0
"""libvdisk from Python: vdisk.h by ctypes, nothing to compile.

    with vdisk.open("backup.vma.zst#drive-scsi0") as disk:
        boot_sector = disk.read(0, 512)
"""
import ctypes

_library = ctypes.CDLL("libvdisk.so.1")

STORED, PACKED, ZERO, UNREADABLE = range(4)  # Extent.kind
ACTIVE, SNAPSHOT, DEVICE, MEMORY = range(4)  # DiskInfo.kind


class Error(OSError):
    """What libvdisk said: one line that names file, field and value."""


class DiskInfo(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("_name", ctypes.c_char_p), ("_id", ctypes.c_char_p),
                ("_description", ctypes.c_char_p), ("size", ctypes.c_uint64)]
    name = property(lambda self: self._name.decode())
    id = property(lambda self: self._id.decode())
    description = property(lambda self: self._description.decode())


class Extent(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("depth", ctypes.c_uint32), ("offset", ctypes.c_uint64), ("length", ctypes.c_uint64)]


class _Options(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("format", ctypes.c_char_p), ("progress", ctypes.c_void_p),
                ("progress_data", ctypes.c_void_p)]


def _declare(name, result, *arguments):
    function = getattr(_library, name)
    function.restype, function.argtypes = result, arguments
    return function


_handle, _text, _u64 = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64
_last_error = _declare("vdisk_last_error", _text)
_version = _declare("vdisk_version", _text)
_file_open = _declare("vdisk_file_open", _handle, _text, ctypes.POINTER(_Options))
_file_close = _declare("vdisk_file_close", None, _handle)
_file_format = _declare("vdisk_file_format", _text, _handle)
_file_disk_count = _declare("vdisk_file_disk_count", ctypes.c_size_t, _handle)
_file_disk_info = _declare("vdisk_file_disk_info", ctypes.c_int, _handle, ctypes.c_size_t, ctypes.POINTER(DiskInfo))
_file_selected = _declare("vdisk_file_selected", ctypes.c_int64, _handle)
_file_open_disk = _declare("vdisk_file_open_disk", _handle, _handle, ctypes.c_size_t)
_close = _declare("vdisk_close", None, _handle)
_size = _declare("vdisk_size", _u64, _handle)
_read = _declare("vdisk_read", ctypes.c_int64, _handle, ctypes.c_void_p, ctypes.c_size_t, _u64)
_extent_at = _declare("vdisk_extent_at", ctypes.c_int, _handle, _u64, _u64, ctypes.POINTER(Extent))


def _checked(result, failed):
    if result == failed:
        raise Error(_last_error().decode())
    return result


class _Handle:
    """Closes what it holds when it is left, closed or collected."""

    def __init__(self, handle, close):
        self._handle, self._close_handle = handle, close

    def close(self):
        handle, self._handle = self._handle, None
        self._close_handle(handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        self.close()


class Disk(_Handle):
    def __init__(self, handle):
        super().__init__(handle, _close)

    @property
    def size(self):
        return _size(self._handle)

    def read(self, offset, count):
        """Up to `count` bytes, fewer only at the end of the disk. Raises Error if a single one can't be read."""
        buffer = ctypes.create_string_buffer(max(0, min(count, self.size - offset)))
        got = _checked(_read(self._handle, buffer, len(buffer), offset), -1)
        return buffer.raw[:got]

    def extents(self, offset=0):
        """The Extents from `offset` to the end of the disk."""
        while offset < self.size:
            extent = Extent()
            _checked(_extent_at(self._handle, offset, self.size - offset, extent), -1)
            yield extent
            offset += extent.length


class File(_Handle):
    def __init__(self, path, format=None):
        options = _Options(ctypes.sizeof(_Options), format.encode() if format else None, None, None)
        super().__init__(None, _file_close)
        self._handle = _checked(_file_open(path.encode(errors="surrogateescape"), options), None)

    @property
    def format(self):
        return _file_format(self._handle).decode()

    @property
    def disks(self):
        """A DiskInfo for each disk in the file; valid until the file is closed."""
        infos = [DiskInfo() for _ in range(_file_disk_count(self._handle))]
        for index, info in enumerate(infos):
            _checked(_file_disk_info(self._handle, index, info), -1)
        return infos

    @property
    def selected(self):
        """The number of the disk that the path names."""
        return _checked(_file_selected(self._handle), -1)

    def open_disk(self, index):
        return Disk(_checked(_file_open_disk(self._handle, index), None))


def open(path, format=None):
    """The disk that PATH or PATH#SELECTOR names."""
    with File(path, format) as file:
        return file.open_disk(file.selected)


def version():
    return _version().decode()
