#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mutants.py FOLDER [COUNT [SEED]]: do the tests notice when the library is wrong?

Copies the tree as it is committed into FOLDER, which must be new or of an earlier run, builds it there, and then COUNT (20) times
changes one operator, one constant or one check somewhere in lib/, builds again, and runs the unit tests and then, if these pass, the
oracle tests that know that part. A change that all of them pass is a survivor: either it makes no difference, or a test is missing.
Changes that do not compile do not count. Prints each with its verdict, and the share that was noticed. A minute for each."""
import pathlib
import random
import re
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parents[1]
PATIENCE = 400  # seconds for a test: one that takes longer has noticed
OPERATORS = {" < ": [" <= ", " > "], " > ": [" >= ", " < "], " <= ": [" < "], " >= ": [" > "], " == ": [" != "], " != ": [" == "], " + ": [" - "],
             " - ": [" + "], " && ": [" || "], " || ": [" && "], " << ": [" >> "], " % ": [" / "], " / ": [" * "], " * ": [" + "], " | ": [" & "],
             " & ": [" | "], "true": ["false"], "false": ["true"], "std::min": ["std::max"], "std::max": ["std::min"]}
# Which oracle tests know a folder; the first that fits.
KNOWN_BY = [
    (r"lib/format/(qcow2)/", ["qcow2_images", "qcow2_damaged", "qcow2_audit", "qcow2_encryption", "qcow2_bitmaps", "header_flips"]),
    (r"lib/format/pbs/", ["pbs_datastores"]), (r"lib/format/vma/", ["vma_archives", "header_flips"]),
    (r"lib/format/vbox/", ["vbox_encryption", "machines"]), (r"lib/format/(ova|ovf)/", ["ova_images", "machines"]),
    (r"lib/format/(\w+)/", ["{0}_images", "header_flips", "lost_tables", "machines"]),
    (r"lib/hyperv/", ["hyperv_files", "guest_states", "machines"]), (r"lib/io/", ["compressed_streams", "pbs_datastores", "vma_archives", "opening", "outputs"]),
    (r"lib/codec/", ["compressed_streams", "qcow2_encryption", "vbox_encryption", "qcow2_images"]),
    (r"lib/open/", ["opening", "machines", "reference_files", "ova_images", "wrong_words"]), (r"lib/capi/", ["python_example", "nbdkit_plugin"]),
    (r"lib/", ["qcow2_images", "vma_archives", "opening", "disk_maps", "disk_differences", "wrong_words", "json_interface"]),
]


def sh(*command, **keywords):
    return subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **keywords)


def places(path):
    """(start, end, replacement) for each change of a source that could be made."""
    text = path.read_text()
    found = []
    # What is no code keeps its length and has nothing to change.
    code = re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|^#[^\n]*', lambda match: " " * len(match.group()), text, flags=re.DOTALL | re.MULTILINE)
    for old, news in OPERATORS.items():
        pattern = re.escape(old) if old.startswith(" ") else rf"\b{old}\b"
        found += [(match.start(), match.end(), new) for match in re.finditer(pattern, code) for new in news]
    found += [(match.start(), match.end(), str(int(match.group()) + 1)) for match in re.finditer(r"(?<![\w.'])\d{1,9}(?![\w.'])", code)]
    found += [(match.start(1), match.end(1), ";") for match in re.finditer(r"^ +(VDISK_CHECK\([^;\n]*;|if \([^;{\n]*\) return [^;\n]*;)$", code, re.MULTILINE)]
    return text, found


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 32)
    tree, build = folder / "tree", folder / "tree" / "build"
    if folder.exists() and any(folder.iterdir()) and not (folder / "of-mutants").exists():
        sys.exit(f"{folder}: is not empty, and no folder of an earlier run")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "of-mutants").touch()
    tree.mkdir(exist_ok=True)
    subprocess.run(f"git -C '{SOURCE}' archive HEAD | tar -x -m -C '{tree}'", shell=True, check=True)
    build.mkdir(exist_ok=True)
    needed = ["vdisk", "hvconfig", "tests/unit_tests", "lib/libvdisk.la", "nbdkit/nbdkit-vdisk-plugin.la"]
    make = ["make", "-s", "-j2", *needed, "LDFLAGS=-fuse-ld=gold"]
    if not (build / "Makefile").exists():
        for command in (["./autogen.sh"], ["sh", "-c", "cd build && ../configure --quiet CXXFLAGS=-O0 --disable-hardening --disable-tsk-plugin"]):
            done = sh(*command, cwd=tree)
            if done.returncode:
                sys.exit(done.stdout)
    done = sh(*make, cwd=build)
    if done.returncode:
        sys.exit(done.stdout[-4000:])

    choose = random.Random(seed)
    sources = sorted(path for path in (tree / "lib").rglob("*.cpp") if "windows" not in path.parts)
    choices = [(path, *place) for path in sources for place in places(path)[1]]
    print(f"{len(choices)} changes could be made; seed {seed}", flush=True)
    noticed = survivors = 0
    for path, start, end, new in choose.sample(choices, len(choices)):
        if noticed + survivors == count:
            break
        text = path.read_text()
        name = path.relative_to(tree)
        line = text.count("\n", 0, start) + 1
        what = f"{name}:{line}: {text[start:end].strip()!r} -> {new.strip()!r}: {text.splitlines()[line - 1].strip()}"
        path.write_text(text[:start] + new + text[end:])
        try:
            if sh(*make, cwd=build).returncode:
                continue
            by = who_notices(str(name), build, tree)
        finally:
            path.write_text(text)
        noticed, survivors = noticed + bool(by), survivors + (not by)
        print(f"{'noticed by ' + by if by else 'SURVIVED'}: {what}", flush=True)
    sh(*make, cwd=build)
    print(f"{noticed} of {noticed + survivors} were noticed ({100 * noticed / (noticed + survivors):.0f} %)")


def who_notices(name, build, tree):
    tests = next(tests for pattern, tests in KNOWN_BY if re.match(pattern, name))
    part = re.match(r"lib/(?:format/)?(\w+)", name).group(1)
    oracles = [path for path in (tree / "tests" / "oracle" / f"{test.format(part)}.py" for test in tests) if path.exists()]
    environment = ["env", f"PATH={build}:{build}/tools:/usr/sbin:/usr/bin:/sbin:/bin", f"abs_top_srcdir={tree}", f"abs_top_builddir={build}",
                   f"PYTHONPATH={tree}/tests/support", "PYTHONDONTWRITEBYTECODE=1", "VDISK_CACHE_DIR=none"]
    commands = [("the unit tests", ["tests/unit_tests"]), *((path.stem, ["python3", path, "-f"]) for path in oracles)]
    for by, command in commands:
        try:
            if sh(*environment, *command, cwd=build, timeout=PATIENCE).returncode:
                return by
        except subprocess.TimeoutExpired:
            return f"{by}, which did not end"
    return ""


if __name__ == "__main__":
    main()
