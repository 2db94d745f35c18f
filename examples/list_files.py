#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lists the files of a file system on a virtual disk by pytsk3 (Debian: python3-tsk), or writes one of them out.

    list_files.py [--offset BYTES] [--type TYPE] IMAGE[#SELECTOR] [--cat PATH]

pytsk3 carries a Sleuth Kit of its own that knows no virtual disks; vdisk.tsk.Img_Info reads them through libvdisk.
"""
import argparse
import sys

import pytsk3
import vdisk


def walk(folder, prefix=""):
    """(path, entry) for everything below `folder` that has a name and is not deleted."""
    for entry in folder:
        name = entry.info.name.name.decode(errors="backslashreplace")
        if name in (".", "..") or entry.info.meta is None or entry.info.name.flags == pytsk3.TSK_FS_NAME_FLAG_UNALLOC:
            continue
        yield prefix + name, entry
        if entry.info.meta.type == pytsk3.TSK_FS_META_TYPE_DIR:
            yield from walk(entry.as_directory(), prefix + name + "/")


def write_out(file, output):
    at = 0
    while at < file.info.meta.size:
        piece = file.read_random(at, min(1 << 16, file.info.meta.size - at))
        if not piece:
            raise OSError(f"the file ends at {at}, not at {file.info.meta.size}")
        output.write(piece)
        at += len(piece)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("image", help="PATH or PATH#SELECTOR")
    arguments.add_argument("--offset", type=int, default=0, help="where the file system begins on the disk, in bytes")
    # Detection looks at places all over the disk, and pytsk3 fails if one of them can't be read: a damaged disk needs the type.
    arguments.add_argument("--type", default="", choices=["ext", "fat", "ntfs", "hfs", "iso9660", "ffs", "yaffs2"],
                           help="the file system's type, if it shall not be detected")
    arguments.add_argument("--cat", metavar="PATH", help="write this file to standard output")
    chosen = arguments.parse_args()
    try:
        kind = getattr(pytsk3, f"TSK_FS_TYPE_{chosen.type.upper()}_DETECT".replace("__", "_"))
        filesystem = pytsk3.FS_Info(vdisk.tsk.Img_Info(chosen.image), offset=chosen.offset, type=kind)
        if chosen.cat:
            write_out(filesystem.open(chosen.cat), sys.stdout.buffer)
        else:
            for path, entry in walk(filesystem.open_dir("/")):
                print(f"{entry.info.meta.addr}\t{entry.info.meta.size}\t{path}")
    except (OSError, RuntimeError) as error:  # pytsk3 turns an error of read() into a RuntimeError
        sys.exit(f"list_files.py: {error}")


if __name__ == "__main__":
    main()
