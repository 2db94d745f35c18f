# SPDX-License-Identifier: Apache-2.0
"""vdisk.h by ctypes: declarations and nothing else."""
import ctypes
from typing import Any

try:
    _library = ctypes.CDLL("libvdisk.so.1")
except OSError as error:
    raise ImportError(f"libvdisk is needed (Debian: libvdisk1; elsewhere LD_LIBRARY_PATH may have to name its folder): {error}") from error


class DiskInfo(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("name", ctypes.c_char_p), ("id", ctypes.c_char_p), ("description", ctypes.c_char_p),
                ("size", ctypes.c_uint64)]


class Extent(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("depth", ctypes.c_uint32), ("offset", ctypes.c_uint64), ("length", ctypes.c_uint64)]


class Options(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("format", ctypes.c_char_p), ("progress", ctypes.c_void_p),
                ("progress_data", ctypes.c_void_p)]


Read = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint64)


class Source(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("name", ctypes.c_char_p), ("size", ctypes.c_uint64), ("read", Read),
                ("close", ctypes.c_void_p), ("data", ctypes.c_void_p)]


def _declare(name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(_library, name)
    function.restype, function.argtypes = result, arguments
    return function


_handle, _text, _u64, _size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_size_t
_options, _source = ctypes.POINTER(Options), ctypes.POINTER(Source)
version = _declare("vdisk_version", _text)
last_error = _declare("vdisk_last_error", _text)
file_open = _declare("vdisk_file_open", _handle, _text, _options)
file_open_source = _declare("vdisk_file_open_source", _handle, _source, _text, _options)
file_close = _declare("vdisk_file_close", None, _handle)
file_format = _declare("vdisk_file_format", _text, _handle)
file_disk_count = _declare("vdisk_file_disk_count", _size, _handle)
file_disk_info = _declare("vdisk_file_disk_info", ctypes.c_int, _handle, _size, ctypes.POINTER(DiskInfo))
file_selected = _declare("vdisk_file_selected", ctypes.c_int64, _handle)
file_open_disk = _declare("vdisk_file_open_disk", _handle, _handle, _size)
identify = _declare("vdisk_identify", _text, _text)
identify_source = _declare("vdisk_identify_source", _text, _source)
remarks = _declare("vdisk_remarks", _text, _handle)
close = _declare("vdisk_close", None, _handle)
size = _declare("vdisk_size", _u64, _handle)
read = _declare("vdisk_read", ctypes.c_int64, _handle, ctypes.c_void_p, _size, _u64)
extent_at = _declare("vdisk_extent_at", ctypes.c_int, _handle, _u64, _u64, ctypes.POINTER(Extent))
