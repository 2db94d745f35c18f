#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Debian packages: built from the tarball of `make dist`, looked at by lintian, installed into a bare system, used as README.md
says, and removed. Run by `make check-packages` as root, for it enters that system by chroot; it gets packages from where this
machine gets its own. VDISK_BARE_SYSTEM=FOLDER keeps what debootstrap made there, for the next run; VDISK_PACKAGES=FOLDER has packages
that are built already, with their .changes file."""
import hashlib
import os
import pathlib
import platform
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
import unittest

import harness
from harness import SOURCE, outcome, run

TARBALL = harness.BUILD / os.environ.get("VDISK_TARBALL", "no tarball")
TOOLS = ("dpkg-buildpackage", "dh", "lintian", "debootstrap")
RELEASE = platform.freedesktop_os_release().get("VERSION_CODENAME", "none")  # this machine's
USED_PROGRAMS = ["sleuthkit", "nbdkit", "libnbd-bin"]  # what README.md's examples start, besides our own
BINARY_PACKAGES = {"libvdisk1", "libvdisk-dev", "vdisk-tools", "tsk-vdisk", "nbdkit-plugin-vdisk", "python3-vdisk"}
# What the package manager keeps of its own work; devices and mounts.
NOT_COMPARED = ("dev", "proc", "run", "sys", "tmp", "var/cache", "var/lib/apt", "var/lib/dpkg", "var/log")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def log(text):
    print(text, flush=True)


def machine_sources():
    """Where this machine gets Debian's packages of the release from: lines of a sources.list; and the archive's own address."""
    lines = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages").decode()
    targets = [line.split() for line in dict.fromkeys(lines.splitlines())]
    of_release = [target for target in targets if target[1].split("-")[0] == RELEASE and target[2] == "main"]
    archives = [address for address, suite, _ in of_release if suite == RELEASE]
    if not archives:
        raise unittest.SkipTest(f"this machine's package sources have no {RELEASE}")
    return "".join(f"deb {' '.join(target)}\n" for target in of_release), archives[0]


class BareSystem:
    """A minimal Debian in a folder, which is entered by chroot."""

    def __init__(self, root):
        self.root = root

    @classmethod
    def make(cls, root):
        sources, archive = machine_sources()
        proxy = run("apt-config", "shell", "proxy", "Acquire::http::Proxy").decode()
        environment = dict(os.environ, **({"http_proxy": shlex.split(proxy)[0].partition("=")[2]} if proxy else {}))
        run("debootstrap", "--variant=minbase", RELEASE, root, archive, env=environment)
        (root / "etc/apt/sources.list").write_text(sources)
        (root / "etc/apt/apt.conf.d/00machine").write_bytes(run("apt-config", "dump", "Acquire"))
        system = cls(root)
        system.apt("update")
        system.apt("install", *USED_PROGRAMS, "netbase")  # which Debian 13's python3 brings, and which leaves /etc/hosts
        return system

    def run(self, *command, **keywords):
        return run("chroot", self.root, *command, env=ENVIRONMENT, **keywords)

    def shell(self, line):
        """(status, output and errors as text) of a line of shell in the folder /case."""
        done = subprocess.run(["chroot", str(self.root), "sh", "-c", f"cd /case && {line}"], env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout.decode()

    def apt(self, *arguments):
        return self.run("apt-get", "-q", "-y", "--no-install-recommends", *arguments)

    def packages(self):
        return set(self.run("dpkg-query", "-W", "-f", "${Package}\n").decode().split())

    def state(self):
        """{path: what is there}, but for what NOT_COMPARED names."""
        found = {}
        for folder, folders, files in os.walk(self.root):
            inside = pathlib.Path(folder).relative_to(self.root)
            folders[:] = [name for name in folders if str(inside / name) not in NOT_COMPARED]
            for name in (*folders, *files):
                found[str(inside / name)] = describe(pathlib.Path(folder) / name)
        return found


def describe(path):
    """Type, mode, owner and content of a file."""
    status = path.lstat()
    content = ""
    if stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{status.st_mode:o} {status.st_uid}:{status.st_gid} {content}"


def build_packages(folder):
    """Builds the packages in `folder` from the tarball; returns their files and the .changes file."""
    run("tar", "-xf", TARBALL, "-C", folder)
    (source,) = (path for path in folder.iterdir() if path.is_dir())
    # The suite has run the unit tests. Every run is a first one to ccache if command lines have the folder's name; and dh has a home of its own.
    options = os.environ.get("DEB_BUILD_OPTIONS", f"parallel={os.cpu_count()} nocheck noautodbgsym reproducible=-fixfilepath,-fixdebugpath")
    environment = dict(os.environ, DEB_BUILD_OPTIONS=options, PATH="/usr/lib/ccache:" + os.environ["PATH"], CCACHE_BASEDIR=str(folder), CCACHE_NOHASHDIR="1")
    if harness.have("ccache"):
        environment["CCACHE_DIR"] = run("ccache", "--get-config", "cache_dir").decode().strip()
    run("dpkg-buildpackage", "-us", "-uc", "-b", cwd=source, env=environment)
    return built_packages(folder)


def built_packages(folder):
    (changes,) = folder.glob("*.changes")
    return sorted(file for file in folder.glob("*.deb") if "-dbgsym_" not in file.name), changes


def readme_session():
    """[(command, what it prints)] of README.md's session."""
    text = (SOURCE / "README.md").read_text()
    block = re.search(r"^## A session$.*?^```$(.*?)^```$", text, re.MULTILINE | re.DOTALL).group(1)
    return [tuple(part.split("\n", 1)) for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]


def setUpModule():
    if os.geteuid() != 0:
        raise unittest.SkipTest("needs root")
    if not all(map(harness.have, TOOLS)):
        raise unittest.SkipTest("needs " + ", ".join(TOOLS))
    Packages.scratch = pathlib.Path(tempfile.mkdtemp(prefix="vdisk-packages-"))
    unittest.addModuleCleanup(shutil.rmtree, Packages.scratch)
    Packages.scratch.chmod(0o755)
    if "VDISK_PACKAGES" in os.environ:
        Packages.files, Packages.changes = built_packages(pathlib.Path(os.environ["VDISK_PACKAGES"]))
    else:
        log("building the packages")
        Packages.files, Packages.changes = build_packages(Packages.scratch)
    log("making a bare system")
    kept = os.environ.get("VDISK_BARE_SYSTEM")
    if kept and (pathlib.Path(kept) / "case").exists():
        Packages.system = BareSystem(pathlib.Path(kept))
    else:
        Packages.system = BareSystem.make(pathlib.Path(kept) if kept else Packages.scratch / "root")
        shutil.copytree(harness.FIXTURES, Packages.system.root / "case/tests/fixtures")
    debs = Packages.system.root / "tmp/packages"
    shutil.rmtree(debs, ignore_errors=True)
    debs.mkdir()
    for file in Packages.files:
        shutil.copy(file, debs)


class Packages(unittest.TestCase):
    scratch = files = changes = system = None

    def setUp(self):
        self.packages_before, self.before = self.system.packages(), self.system.state()

    def install(self):
        self.addCleanup(self.remove)
        self.system.apt("install", *(f"/tmp/packages/{file.name}" for file in self.files))

    def remove(self):
        """Removes what was installed, and asks whether the system is as it was."""
        self.system.apt("purge", "--autoremove", *sorted(BINARY_PACKAGES & self.system.packages()))
        self.assertEqual(self.system.packages(), self.packages_before)
        after = self.system.state()
        changed = {path: (self.before.get(path), after.get(path)) for path in self.before.keys() | after.keys() if self.before.get(path) != after.get(path)}
        self.assertEqual(changed, {})

    def listing(self):
        return self.system.shell("fls -r -p -o 2048 -i qcow2 tests/fixtures/qcow2/demo.qcow2")

    def test_the_packages_that_there_should_be(self):
        self.assertLessEqual(BINARY_PACKAGES, {file.name.split("_")[0] for file in self.files})

    def test_each_program_has_a_manual_page_and_completion(self):
        paths = set()
        for file in self.files:
            paths.update(line.split()[5].removeprefix("./") for line in run("dpkg-deb", "-c", file).decode().splitlines())
        programs = {path.rpartition("/")[2] for path in paths if path.startswith("usr/bin/") and not path.endswith("/")}
        self.assertEqual(programs, {"vdisk", "hvconfig", "vdisk-triage", "vdisk-diff-files", "tsk-vdisk"})
        wanted = {f"usr/share/man/man1/{name}.1.gz" for name in programs | {"nbdkit-vdisk-plugin"}}
        self.assertLessEqual(wanted | {f"usr/share/bash-completion/completions/{name}" for name in programs}, paths)

    def test_lintian_finds_nothing_wrong(self):
        status, said, errors = outcome("lintian", "--allow-root", "--fail-on", "error,warning", self.changes)
        log(said.decode() + errors)
        self.assertEqual(status, 0)

    def test_session_of_the_readme(self):
        self.install()
        self.system.run("tsk-vdisk", "enable")
        session = readme_session()
        self.assertGreater(len(session), 4)
        for command, expected in session:
            with self.subTest(command=command):
                self.assertEqual(self.system.shell(command), (0, expected))

    def test_installing_enables_nothing(self):
        self.install()
        self.assertNotEqual(self.listing()[0], 0)
        status, said = self.system.shell("tsk-vdisk run fls -r -p -o 2048 -i qcow2 tests/fixtures/qcow2/demo.qcow2")
        self.assertEqual((status, "secret-plan.txt" in said), (0, True), said)

    def test_an_enabled_machine_stays_enabled_by_an_upgrade_and_not_by_a_removal(self):
        self.install()
        self.system.run("tsk-vdisk", "enable")
        self.system.apt("install", "--reinstall", *(f"/tmp/packages/{file.name}" for file in self.files))
        status, said = self.listing()
        self.assertEqual((status, "secret-plan.txt" in said), (0, True), said)
        self.system.apt("remove", "tsk-vdisk")
        self.assertNotEqual(self.listing()[0], 0)
        self.assertEqual(self.system.shell("mmls -i raw tests/fixtures/qcow2/demo.qcow2 2>&1 | grep -c ld.so")[1], "0\n")

    def test_hvconfig(self):
        self.install()
        file = "tests/fixtures/hyperv/vm-realistic.vmcx"
        status, said = self.system.shell(f"hvconfig info {file}")
        self.assertEqual((status, said.encode()), (0, run(harness.BUILD / "hvconfig", "info", file, cwd=SOURCE)))

    def test_triage(self):
        self.install()
        (self.system.root / "case/manifest").write_text("tests/fixtures/qcow2/demo.qcow2\n")
        status, said = self.system.shell("vdisk-triage run --local manifest results && grep -c secret-plan.txt results/timeline.tsv; rm -r manifest results")
        self.assertEqual((status, said), (0, "1 image, 1 disk\n1 disk: 1 complete, 0 partial, 0 failed, 0 not done\n2\n"))

    def test_nbdkit_finds_the_plugin_by_its_name(self):
        self.install()
        status, said = self.system.shell("nbdkit -U - vdisk tests/fixtures/qcow2/demo.qcow2 --run 'nbdcopy \"$uri\" - | sha256sum'")
        flat = run(harness.VDISK, "export", harness.FIXTURES / "qcow2/demo.qcow2", "-")
        self.assertEqual((status, said.split()[0]), (0, hashlib.sha256(flat).hexdigest()), said)

    def test_a_c_program_is_built_with_the_development_package(self):
        folder = self.scratch / "development"
        for file in self.files:
            if file.name.startswith("libvdisk"):
                run("dpkg-deb", "-x", file, folder)
        environment = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=str(folder), PKG_CONFIG_LIBDIR=str(next(folder.glob("usr/lib/*/pkgconfig"))))
        flags = run("pkg-config", "--cflags", "--libs", "vdisk", env=environment).decode().split()
        program = folder / "program"
        run("gcc", "-o", program, SOURCE / "tests/capi/capi_test.c", *flags, f"-I{folder}/usr/include", "-lpthread")
        libraries = next(folder.glob("usr/lib/*/libvdisk.so.1")).parent
        run(program, env=dict(os.environ, LD_LIBRARY_PATH=str(libraries), abs_top_srcdir=str(SOURCE), VDISK_CACHE_DIR="none"))


if __name__ == "__main__":
    harness.main()
