# SPDX-License-Identifier: Apache-2.0
"""Disks for pytsk3 (Debian: python3-tsk), which carries a Sleuth Kit of its own that knows no virtual disks.

    filesystem = pytsk3.FS_Info(vdisk.tsk.Img_Info("disk.qcow2#s1"), offset=2048 * 512)

pytsk3 is imported when Img_Info is first asked for.
"""
from typing import Any


def _make_img_info() -> Any:
    import pytsk3

    import vdisk

    class Img_Info(pytsk3.Img_Info):  # pylint: disable=invalid-name # pytsk3's name
        """A disk as pytsk3 wants an image. What can't be read is an OSError of pytsk3's."""

        def __init__(self, image: Any, **how: Any) -> None:
            """`image` is PATH, PATH#SELECTOR, a file object, or a vdisk.Disk, which is then closed with this; `how` as
            vdisk.open()'s."""
            self._disk = image if isinstance(image, vdisk.Disk) else vdisk.open(image, **how)
            super().__init__(url="", type=pytsk3.TSK_IMG_TYPE_EXTERNAL)

        def close(self) -> None:
            self._disk.close()

        def read(self, offset: int, size: int) -> bytes:
            return self._disk.read_at(offset, size)

        def get_size(self) -> int:
            return self._disk.size

    return Img_Info


def __getattr__(name: str) -> Any:
    if name != "Img_Info":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = _make_img_info()
    return globals()[name]
