# SPDX-License-Identifier: Apache-2.0
"""Programs of other releases of Debian, unpacked into a folder and run by their own loader and C library. Nothing is installed; what
was unpacked once is kept. The mirror, its keys and any proxy are those that this machine's apt is set up with."""
import os
import pathlib
import shutil
import subprocess
import tempfile

import harness

CACHE = pathlib.Path(os.environ.get("VDISK_LIBTSK_CACHE", harness.BUILD / "libtsk-cache"))
TIME = 240  # seconds for one step of a download


class Unavailable(Exception):
    """Why a suite can't be had here."""


def _run(*command, **keywords):
    try:
        return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIME,
                              **keywords).stdout.decode()
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is missing") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} did not end in {TIME} seconds") from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or ["no word why"]
        raise Unavailable(f"{command[0]}: {lines[-1]}") from None


def _mirror():
    """The mirror of Debian's own packages that this machine uses."""
    form = "$(ORIGIN)|$(COMPONENT)|$(LABEL)|$(REPO_URI)"
    for line in _run("apt-get", "indextargets", "--format", form).splitlines():
        origin, component, label, address = line.split("|", 3)
        if (origin, component, label) == ("Debian", "main", "Debian"):
            return address
    raise Unavailable("this machine's apt has no mirror of Debian, or no lists of it: apt-get update")


class Suite:
    """One suite with a package and all that it depends on."""

    def __init__(self, name, package):
        self.name, self.package = name, package
        self.root = CACHE / name / "root"
        if not (CACHE / name / "complete").exists():
            self._unpack()

    def _unpack(self):
        CACHE.mkdir(parents=True, exist_ok=True)
        target = CACHE / self.name
        shutil.rmtree(target, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="unpacking-", dir=CACHE) as scratch:
            scratch = pathlib.Path(scratch)
            packages = self._download(scratch)
            root = target / "root"
            for folder in ("bin", "sbin", "lib", "lib64"):  # older packages name them without usr
                (root / "usr" / folder).mkdir(parents=True)
                (root / folder).symlink_to(f"usr/{folder}")
            for package in packages:
                content = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], check=True, stdout=subprocess.PIPE).stdout
                subprocess.run(["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", str(root)], input=content, check=True)
        (target / "complete").touch()

    def _download(self, scratch):
        keys = next((path for path in ("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp")
                     if os.path.exists(path)), None)
        if keys is None:
            raise Unavailable("debian-archive-keyring is missing")
        (scratch / "sources.list").write_text(f"deb [signed-by={keys}] {_mirror()} {self.name} main\n")
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (scratch / folder).mkdir(parents=True)
        (scratch / "status").touch()
        options = {"Dir::Etc::SourceList": scratch / "sources.list", "Dir::Etc::SourceParts": "-", "Dir::State": scratch / "state",
                   "Dir::State::status": scratch / "status", "Dir::Cache": scratch / "cache", "APT::Sandbox::User": "",
                   "Acquire::Languages": "none", "Acquire::Retries": "1", "Acquire::http::Timeout": "15", "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
                   "APT::Update::Post-Invoke": "", "Debug::NoLocking": "true", "Binary::apt-get::APT::Keep-Downloaded-Packages": "true"}
        settings = scratch / "apt.conf"
        settings.write_text("".join(f'{name} "{value}";\n' for name, value in options.items()) +
                            "#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n#clear DPkg::Post-Invoke;\n")
        environment = {**os.environ, "APT_CONFIG": str(settings), "LC_ALL": "C"}
        _run("apt-get", "-qq", "update", env=environment)
        _run("apt-get", "-qq", "-y", "--no-install-recommends", "--download-only", "-o", "Dir::Cache::pkgcache=", "install", self.package, env=environment)
        packages = sorted((scratch / "cache" / "archives").glob("*.deb"))
        if not packages:
            raise Unavailable(f"apt-get downloaded nothing for {self.package}")
        return packages

    def command(self, program, *arguments, preload=()):
        """The command line that runs one of the suite's programs; libraries that it lacks are taken from this machine."""
        triplet = _run("dpkg-architecture", "-qDEB_HOST_MULTIARCH").strip()
        loader = next((self.root / "usr" / "lib" / triplet).glob("ld-linux*.so.*"), None) or next((self.root / "lib64").glob("ld-linux*.so.*"))
        here = [f"/usr/lib/{triplet}", f"/lib/{triplet}"]
        path = ":".join([str(self.root / "usr" / "lib" / triplet), str(self.root / "usr" / "lib"), *here])
        words = [loader, "--library-path", path]
        if preload:
            words += ["--preload", " ".join(map(str, preload))]
        return [str(word) for word in (*words, self.root / "usr" / "bin" / program, *arguments)]
