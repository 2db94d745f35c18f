# SPDX-License-Identifier: Apache-2.0
"""A case of many small images for vdisk-triage, and what its results are without what differs from run to run."""
import gzip
import os
import shutil
import sqlite3

import harness
import tsk
import vdi_builder
import vma_writer
from harness import FIXTURES, run

DRIVER = harness.SOURCE / "contrib" / "slurm" / "vdisk-triage"
MIB = 1 << 20


def environment(folder):
    """With this build's tools, its plugin and an index cache of the test's own."""
    libraries = folder / "libraries"
    libraries.mkdir(exist_ok=True)
    for library in (tsk.PLUGIN, tsk.DOOR):
        shutil.copy(library, libraries)
    path = f"{DRIVER.parent}:{harness.BUILD}:{harness.BUILD / 'tools'}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "TSK_VDISK_LIBDIR": str(libraries), "VDISK_CACHE_DIR": str(folder / "cache"), "TZ": "UTC"}


def make_raw(folder, number, random):
    """A small disk: one ext4 partition, or a file system alone."""
    tree, part, disk = folder / f"tree{number}", folder / f"part{number}", folder / f"disk{number}.raw"
    tsk.make_tree(tree, 6 + number % 5, random)
    (tree / f"a|b\t{number}").write_text("a name with a bar")
    tsk.make_ext4(part, 4 * MIB, tree)
    shutil.rmtree(tree)
    if number % 4 == 3:
        return part.rename(disk)
    tsk.make_disk(disk, [part])
    part.unlink()
    return disk


def make_image(folder, number, random):
    """One image of each kind in turn; returns its file name."""
    raw = make_raw(folder, number, random)
    name = f"image {number}"
    kind = number % 6
    if kind == 0:
        run("qemu-img", "convert", "-O", "qcow2", raw, folder / f"{name}.qcow2")
    elif kind == 1:
        run("qemu-img", "convert", "-c", "-O", "qcow2", raw, folder / f"{name}.qcow2")
    elif kind == 2:
        data = raw.read_bytes()
        image = vdi_builder.Vdi(len(data))
        image.write_disk(data)
        image.save(folder / f"{name}.vdi")
    else:
        vma_writer.write(folder / f"{name}.vma", [("drive-scsi0", raw)])
    raw.unlink()
    if kind == 4:
        run("zstd", "-q", "--rm", folder / f"{name}.vma")
    elif kind == 5:
        (folder / f"{name}.vma.gz").write_bytes(gzip.compress((folder / f"{name}.vma").read_bytes()))
        (folder / f"{name}.vma").unlink()
    return name + (".qcow2", ".qcow2", ".vdi", ".vma", ".vma.zst", ".vma.gz")[kind]


def make_manifest(folder, count, random):
    """A manifest of `count` images, every fifth of them a machine of Hyper-V."""
    machines = sorted((FIXTURES / "hyperv").glob("vm-*.vmcx"))
    names = []
    for number in range(count):
        if number % 5 == 4:
            names.append(f"machine {number}.vmcx")
            shutil.copy(machines[number // 5 % len(machines)], folder / names[-1])
        else:
            names.append(make_image(folder, number, random))
    manifest = folder / "manifest"
    manifest.write_text("# a case\n\n" + "".join(f"{name}\n" for name in names))
    return manifest


def content(results):
    """{path: content} of the results, without what tells of one run, and with the database as its rows."""
    found = {}
    for path in sorted(results.rglob("*")):
        name = str(path.relative_to(results))
        if path.is_dir() or name.startswith("log/") or path.name in ("run.json", "tsk.db"):
            continue
        if path.suffix == ".sqlite":
            database = sqlite3.connect(path)
            found[name] = list(database.iterdump())
            database.close()
        else:
            found[name] = path.read_bytes()
    return found
