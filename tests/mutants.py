#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mutants.py FOLDER [COUNT [SEED]]: do the tests notice when the library is wrong?

Copies the tree as it is committed into FOLDER, which must be new or of an earlier run, builds it there, and then changes one operator,
one constant or one check somewhere in lib/ after the other, COUNT (20) times, and each time runs the suites of unit tests that know that
part. A change that all of them pass is a survivor: either it makes no difference, or a test is missing. Changes that do not compile do
not count. Some five seconds of processor time for each.

FOLDER/changes has all changes in the order in which they are made, and FOLDER/results what became of them, so the next run goes on
where this one ended. Survivors are looked at again by
    mutants.py FOLDER unit      the other unit tests,
    mutants.py FOLDER others    the oracle tests that know that part, and those of limits and faults: minutes for each,
    mutants.py FOLDER again     the suites that know that part, with tests and library as they are committed now;
the numbers of some may follow."""
import fnmatch
import io
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import threading

SOURCE = pathlib.Path(__file__).resolve().parents[1]
# What a test may take: seconds, seconds of processor time, bytes of addresses. One that takes more has noticed.
PATIENCE, PROCESSOR, MEMORY = 400, 75, 8 << 30
OPERATORS = {" < ": [" <= ", " > "], " > ": [" >= ", " < "], " <= ": [" < "], " >= ": [" > "], " == ": [" != "], " != ": [" == "], " + ": [" - "],
             " - ": [" + "], " && ": [" || "], " || ": [" && "], " << ": [" >> "], " % ": [" / "], " / ": [" * "], " * ": [" + "], " | ": [" & "],
             " & ": [" | "], "true": ["false"], "false": ["true"], "std::min": ["std::max"], "std::max": ["std::min"]}
# The suites of unit tests that know a folder, the first that fits; those to be left out there, because they take long and know nothing of it.
OF_STREAMS = ["streams*", "stream_*", "zstd_starts"]
SUITES = [
    (r"lib/base/", ["base", "number_of_threads", "io", "selector", "input_files", "command_line", "gate"], []),
    (r"lib/codec/", ["encryption", "key_store", "pbs", "image", "qcow2_*"], []),
    (r"lib/image/", ["image", "disk_map", "encryption", "readers"], []),
    (r"lib/io/stream", ["streams", *OF_STREAMS], []),
    (r"lib/io/", ["io", "input_files", "parts", "index_cache", "expanded_blocks", "gate", "disk_map"], []),
    (r"lib/disk/", ["selector", "references", "gate", "claims", "qed", "qcow", "machine", "encryption", "key_store"], OF_STREAMS),
    (r"lib/open/", ["opening", "machine", "parts", "registry", "reference*", "bookkeeping", "ova_format", "vdi*"], OF_STREAMS),
    (r"lib/hyperv/", ["hyperv", "guest_state", "machine"], [*OF_STREAMS, "vma_format", "index_cache"]),
    (r"lib/capi/", ["capi_boundary"], OF_STREAMS),
    (r"lib/format/vma/", ["vma_format", "index_cache"], OF_STREAMS),
    (r"lib/format/qcow2/", ["qcow2*", "encryption", "readers"], [*OF_STREAMS, "vma_format", "hyperv", "vhdx"]),
    (r"lib/format/(ova|vbox)/", ["{0}*", "ova_format", "key_store", "machine", "vdi*"], [*OF_STREAMS, "vma_format", "hyperv", "vhdx"]),
    (r"lib/format/(libvirt|proxmox|utm|vmx)/", ["machine", "opening"], [*OF_STREAMS, "vma_format", "hyperv", "vhdx"]),
    (r"lib/format/(\w+)/", ["{0}*", "readers"], [*OF_STREAMS, "vma_format", "hyperv"]),
]
# The same for the oracle tests.
ORACLES = [
    (r"lib/format/qcow2/", ["qcow2_images", "qcow2_damaged", "qcow2_audit", "qcow2_encryption", "qcow2_bitmaps", "corrupted_fields", "header_flips"]),
    (r"lib/format/pbs/", ["pbs_datastores"]), (r"lib/format/vma/", ["vma_archives", "header_flips"]),
    (r"lib/format/vbox/", ["vbox_encryption", "machines"]), (r"lib/format/(ova|ovf)/", ["ova_images", "machines"]),
    (r"lib/format/(\w+)/", ["{0}_images", "corrupted_fields", "header_flips", "lost_tables", "machines"]),
    (r"lib/hyperv/", ["hyperv_files", "guest_states", "machines"]), (r"lib/io/", ["compressed_streams", "pbs_datastores", "vma_archives", "opening", "outputs"]),
    (r"lib/codec/", ["compressed_streams", "qcow2_encryption", "vbox_encryption", "qcow2_images"]),
    (r"lib/open/", ["opening", "machines", "reference_files", "ova_images", "wrong_words"]),
    (r"lib/base/system/", ["terminal_session", "opening", "outputs"]),
    (r"lib/", ["qcow2_images", "vma_archives", "opening", "disk_maps", "disk_differences", "wrong_words", "json_interface"]),
]
OTHERS = ["vdisk", "hvconfig", "tests/support/make_hyperv", "tests/limits_test", "tests/read_faults_test"]
PROGRAMS = [one for one in OTHERS if one.endswith("_test")]


def sh(*command, **keywords):
    return subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **keywords)


def places(text):
    """(start, end, replacement) for each change of a source that could be made."""
    found = []
    # What is no code keeps its length and has nothing to change.
    code = re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|^#[^\n]*', lambda match: " " * len(match.group()), text, flags=re.DOTALL | re.MULTILINE)
    for old, news in OPERATORS.items():
        pattern = re.escape(old) if old.startswith(" ") else rf"\b{old}\b"
        found += [(match.start(), match.end(), new) for match in re.finditer(pattern, code) for new in news]
    found += [(match.start(), match.end(), str(int(match.group()) + 1)) for match in re.finditer(r"(?<![\w.'])\d{1,9}(?![\w.'])", code)]
    found += [(match.start(1), match.end(1), ";") for match in re.finditer(r"^ +(VDISK_CHECK\([^;\n]*;|if \([^;{\n]*\) return [^;\n]*;)$", code, re.MULTILINE)]
    return found


def choose(tree, seed):
    """All changes, in an order that the seed gives. One is found again by its line's text, wherever that has moved to."""
    changes = []
    for path in sorted(path for path in (tree / "lib").rglob("*.cpp") if not {"windows", "batch"} & {*path.parts, path.name[:5]}):
        text = path.read_text()
        for start, end, new in places(text):
            begin = text.rfind("\n", 0, start) + 1
            changes.append({"file": str(path.relative_to(tree)), "line": text.count("\n", 0, start) + 1, "column": start - begin, "old": text[start:end],
                            "new": new, "text": text[begin:text.index("\n", start)]})
    random.Random(seed).shuffle(changes)
    return [{"number": number, **change} for number, change in enumerate(changes)]


def changed(text, change):
    """The source with the change, or None where its line is gone."""
    lines = text.split("\n")
    same = [at for at, line in enumerate(lines) if line == change["text"]]
    if not same:
        return None
    at = min(same, key=lambda at: abs(at + 1 - change["line"]))
    line, column = lines[at], change["column"]
    lines[at] = line[:column] + change["new"] + line[column + len(change["old"]):]
    return "\n".join(lines)


def described(change):
    return f"{change['number']}: {change['file']}:{change['line']}: {change['old'].strip()!r} -> {change['new'].strip()!r}: {change['text'].strip()}"


class Tree:
    """A copy of the tree, its build, and its tests."""

    def __init__(self, folder):
        self.path, self.build, self.temporary = folder / "tree", folder / "tree" / "build", folder / "tmp"
        self.library, self.clean = self.build / "lib" / ".libs" / "libvdisk_all.so", folder / "libvdisk_all.so"
        self.sound = set()  # commands that pass as long as nothing is changed
        self.environment = {**os.environ, "PATH": f"{self.build}:{self.build}/tools:/usr/sbin:/usr/bin:/sbin:/bin", "abs_top_srcdir": str(self.path),
                            "abs_top_builddir": str(self.build), "PYTHONPATH": f"{self.path}/tests/support", "PYTHONDONTWRITEBYTECODE": "1",
                            "VDISK_CACHE_DIR": "none", "TMPDIR": str(self.temporary)}

    def take_commit(self):
        """Makes the sources those of the last commit; what is the same keeps its time, so that little is compiled."""
        archive = subprocess.run(["git", "-C", SOURCE, "archive", "HEAD"], stdout=subprocess.PIPE, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            for member in files:
                path = self.path / member.name
                if not (member.isfile() and path.is_file() and path.read_bytes() == files.extractfile(member).read()):
                    files.extract(member, self.path)
                    if member.isfile():
                        os.utime(path)

    def prepare(self):
        self.build.mkdir(exist_ok=True)
        if not (self.build / "Makefile").exists():
            # clang compiles in half the time, but names some functions of {fmt} as g++ does not, with which libfmt was made.
            for command in ("./autogen.sh", "cd build && ../configure --quiet --enable-batches CXX=clang++ CXXFLAGS='-O0 -w -DFMT_HEADER_ONLY' --disable-hardening --disable-tsk-plugin"):
                done = sh("sh", "-c", command, cwd=self.path)
                if done.returncode:
                    sys.exit(done.stdout)
        # Tests and tools in batches, which are compiled once; the library a source at a time, because one of them changes, and shared,
        # so that nothing else has to be linked again.
        self.sources = [name for name in self.variable("vdisk_sources") if name.endswith(".cpp")]
        self.libraries = self.variable("lib_libvdisk_all_la_LIBADD")
        self.make("lib/libvdisk_all.la", "tests/unit_tests")
        shutil.copy2(self.library, self.clean)
        listed = sh("tests/unit_tests", "--list_content", cwd=self.build).stdout
        self.suites = re.findall(r"^(\w+)\*?$", listed, re.MULTILINE)

    def variable(self, name):
        return sh("make", "-s", f"--eval=value: ; @echo $({name})", "value", cwd=self.build).stdout.split()

    def make(self, *targets):
        self.restore()
        objects, libraries = " ".join(name.removesuffix("cpp") + "lo" for name in self.sources), " ".join(self.libraries)
        done = sh("make", "-s", *targets, "LDFLAGS=-fuse-ld=gold", f"LIBS={libraries}", f"lib_libvdisk_all_la_OBJECTS={objects}",
                  f"lib_libvdisk_all_la_LIBADD=-rpath {self.build}/lib -avoid-version {libraries}", cwd=self.build)
        if done.returncode:
            sys.exit(done.stdout[-4000:])

    def restore(self):
        """Puts the library in place that has no change, with its time, so that nothing is made because of it."""
        if self.clean.exists():
            self.library.unlink(missing_ok=True)
            shutil.copy2(self.clean, self.library)

    def change(self, name, text):
        """Links the library with a changed source; False where that doesn't compile."""
        source, compiled = self.clean.parent / "changed.cpp", self.clean.parent / "changed.o"
        source.write_text(text)
        if sh("clang++", "-std=c++20", "-DHAVE_CONFIG_H", "-I.", "-I../lib", "-O0", "-w", "-fPIC", "-c", source, "-o", compiled, cwd=self.build).returncode:
            return False
        objects = [compiled if name == one else pathlib.Path(one).parent / ".libs" / f"{pathlib.Path(one).stem}.o" for one in self.sources]
        self.library.unlink(missing_ok=True)
        linked = sh("clang++", "-shared", "-fuse-ld=gold", "-Wl,-soname,libvdisk_all.so", *objects, *self.libraries, "-o", self.library, cwd=self.build)
        if linked.returncode:
            sys.exit(linked.stdout[-4000:])
        return True

    def fails(self, *command):
        """What a test said first that failed, or "" if it passed. It is stopped there, and after PATIENCE seconds."""
        self.temporary.mkdir(exist_ok=True)
        limit = lambda: [resource.setrlimit(what, (most, most)) for what, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, PROCESSOR))]
        process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=self.build,
                                   env=self.environment, start_new_session=True, preexec_fn=limit)
        late = threading.Timer(PATIENCE, lambda: os.killpg(process.pid, signal.SIGKILL))
        late.start()
        said = next((line for line in process.stdout if re.search(r'error: in "|FAIL: |ERROR: ', line)), "")
        try:
            if said or process.wait():
                said = re.sub(r'^.*error: in "([^"]*)".*', r"\1", said.strip()) or f"status {process.returncode}"
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        late.cancel()
        process.stdout.close()
        process.wait()
        shutil.rmtree(self.temporary, ignore_errors=True)
        return said

    def unit_tests_notice(self, name, others=False):
        known, left_out = next(([one.format(*match.groups()) for one in known], left_out) for pattern, known, left_out in SUITES if (match := re.match(pattern, name)))
        fits = lambda suite, patterns: any(fnmatch.fnmatch(suite, pattern) for pattern in patterns)
        first = [suite for suite in self.suites if fits(suite, known)]
        rest = [suite for suite in self.suites if suite not in first and not fits(suite, left_out)]
        command = ["tests/unit_tests", "--log_level=error", "--catch_system_errors=no", "--detect_memory_leaks=0"]
        said = self.fails(*command, f"--run_test={','.join(rest if others else first)}")
        if "/" in said:
            self.must_pass(*command, f"--run_test={said}")
        return said

    def must_pass(self, *command):
        """Ends this where a test fails although nothing is changed: such a test has noticed nothing."""
        if command in self.sound:
            return
        self.restore()
        if said := self.fails(*command):
            sys.exit(f"{' '.join(map(str, command))} fails with nothing changed: {said}")
        self.sound.add(command)

    def others_notice(self, name):
        match, oracles = next((match, oracles) for pattern, oracles in ORACLES if (match := re.match(pattern, name)))
        paths = [self.path / "tests" / "oracle" / f"{test.format(*match.groups())}.py" for test in oracles]
        for command in (*(["python3", path, "-f"] for path in paths if path.exists()), *([program] for program in PROGRAMS)):
            if said := self.fails(*command):
                self.must_pass(*command)
                return f"{pathlib.Path(command[-1 if len(command) == 1 else 1]).stem}: {said}"
        return ""


def judge(tree, change, notice):
    with_it = changed((tree.path / change["file"]).read_text(), change)
    if with_it is None:
        return {"verdict": "gone"}
    if not tree.change(change["file"], with_it):
        return {"verdict": "does not compile"}
    by = notice(change["file"])
    return {"verdict": "noticed", "by": by} if by else {"verdict": "SURVIVED"}


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    what = sys.argv[2] if len(sys.argv) > 2 else "20"
    seed = int(sys.argv[3]) if len(sys.argv) > 3 and what.isdigit() else random.randrange(1 << 32)
    if folder.exists() and any(folder.iterdir()) and not (folder / "of-mutants").exists():
        sys.exit(f"{folder}: is not empty, and no folder of an earlier run")
    tree = Tree(folder)
    tree.path.mkdir(parents=True, exist_ok=True)
    (folder / "of-mutants").touch()
    changes_file, results_file = folder / "changes", folder / "results"
    if what == "again" or not changes_file.exists():
        tree.take_commit()
    tree.prepare()
    if not changes_file.exists():
        changes_file.write_text("".join(json.dumps({"seed": seed, **change}) + "\n" for change in choose(tree.path, seed)))
    changes = [json.loads(line) for line in changes_file.read_text().splitlines()]
    results = {}
    if results_file.exists():
        results = {result["number"]: result for result in map(json.loads, results_file.read_text().splitlines())}

    survivors = [changes[number] for number, result in sorted(results.items()) if result["verdict"] == "SURVIVED"]
    if what.isdigit():
        wanted, left, notice = changes[max(results, default=-1) + 1:], int(what), tree.unit_tests_notice
    else:
        wanted = [change for change in survivors if len(sys.argv) == 3 or str(change["number"]) in sys.argv[3:]]
        left = len(wanted)
        notice = {"again": tree.unit_tests_notice, "unit": lambda name: tree.unit_tests_notice(name, others=True), "others": tree.others_notice}[what]
    if what == "others":
        tree.make(*OTHERS)
    for change in wanted:
        if not left:
            break
        result = judge(tree, change, notice)
        left -= result["verdict"] not in ("does not compile", "gone")
        results[change["number"]] = {"number": change["number"], **result}
        with results_file.open("a") as file:
            file.write(json.dumps(results[change["number"]]) + "\n")
        print(f"{result['verdict']}{' by ' + result['by'] if 'by' in result else ''}: {described(change)}", flush=True)
    tree.restore()
    counted = [result for result in results.values() if result["verdict"] in ("noticed", "SURVIVED")]
    noticed = sum(result["verdict"] == "noticed" for result in counted)
    print(f"{noticed} of {len(counted)} were noticed ({100 * noticed / max(1, len(counted)):.0f} %); seed {changes[0]['seed']}")


if __name__ == "__main__":
    main()
