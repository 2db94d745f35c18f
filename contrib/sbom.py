#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sbom.py VERSION FILE...: prints an SPDX 2.3 document (JSON) of the built programs and libraries FILE and of what they were built with.

Which libraries a file is linked to is read from the file itself; their versions are those of pkg-config, with which they were compiled.
Nothing is looked up anywhere else. Two runs over the same files print the same, but for the time, which is $SOURCE_DATE_EPOCH if that is set."""
import datetime
import functools
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import uuid

# By the library's name: what pkg-config calls it, its licence, and where it comes from.
LINKED = {
    "crypto": ("libcrypto", "OpenSSL", "Apache-2.0", "https://www.openssl.org/"),
    "deflate": ("libdeflate", "libdeflate", "MIT", "https://github.com/ebiggers/libdeflate"),
    "fmt": ("fmt", "{fmt}", "MIT", "https://fmt.dev/"),
    "fuse3": ("fuse3", "libfuse", "LGPL-2.1-only", "https://github.com/libfuse/libfuse"),
    "lzo2": ("lzo2", "LZO", "GPL-2.0-or-later", "https://www.oberhumer.com/opensource/lzo/"),
    "pugixml": ("pugixml", "pugixml", "MIT", "https://pugixml.org/"),
    "tsk": ("tsk", "The Sleuth Kit", "NOASSERTION", "https://www.sleuthkit.org/"),
    "xxhash": ("libxxhash", "xxHash", "BSD-2-Clause", "https://xxhash.com/"),
    "z": ("zlib", "zlib", "Zlib", "https://zlib.net/"),
    "zstd": ("libzstd", "Zstandard", "BSD-3-Clause OR GPL-2.0-only", "https://facebook.github.io/zstd/"),
}
# What is compiled into the files.
COMPILED_IN = {
    "nlohmann_json": ("JSON for Modern C++", "MIT", "https://json.nlohmann.me/"),
    "boost": ("Boost", "BSL-1.0", "https://www.boost.org/"),
}
# Of the compiler and the C library: the system's part, without which nothing runs on it.
OF_THE_SYSTEM = re.compile(r"^(TSK_VDISK_|(ld-linux.*|lib(c|m|gcc_s|stdc\+\+|pthread|dl|asan|ubsan|tsan))\.so)")


def output_of(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


@functools.cache
def version_of(module):
    if not module:
        return "NOASSERTION"
    if module == "boost":
        macro = output_of("sh", "-c", "echo '#include <boost/version.hpp>' | ${CXX:-g++} -xc++ -E -dM - | sed -n 's/#define BOOST_LIB_VERSION //p'")
        return macro.strip().strip('"').replace("_", ".")
    found = subprocess.run(["pkg-config", "--modversion", module], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return found.stdout.strip() if found.returncode == 0 else "NOASSERTION"


def needed_by(file):
    return re.findall(r"\(NEEDED\)\s+Shared library: \[(.*?)\]", output_of("readelf", "-dW", file))


def spdx_id(kind, name):
    return f"SPDXRef-{kind}-" + re.sub(r"[^A-Za-z0-9.-]", "-", name)


def verification_code(files):
    """Of a package whose files are named: SPDX 2.3, 7.9."""
    digests = sorted(checksum["checksumValue"] for file in files for checksum in file["checksums"] if checksum["algorithm"] == "SHA1")
    return {"packageVerificationCodeValue": hashlib.sha1("".join(digests).encode()).hexdigest()}


def package(identifier, name, version, licence, home):
    made = {"SPDXID": identifier, "name": name, "downloadLocation": home or "NOASSERTION", "filesAnalyzed": False, "licenseConcluded": "NOASSERTION",
            "licenseDeclared": licence, "copyrightText": "NOASSERTION"}
    if version != "NOASSERTION":
        made["versionInfo"] = version
    if home:
        made["homepage"] = home
    return made


def main():
    version, paths = sys.argv[1], [pathlib.Path(path) for path in sys.argv[2:]]
    own = spdx_id("Package", "tsk-vdisk")
    packages = {own: package(own, "tsk-vdisk", version, "Apache-2.0", "")}
    files, relations = [], [("SPDXRef-DOCUMENT", "DESCRIBES", own)]
    ours = {path.name for path in paths}

    def use(user, how, module, name, licence, home):
        used = spdx_id("Package", name)
        packages[used] = package(used, name, version_of(module), licence, home)
        relations.append((user, how, used))

    for path in paths:
        content = path.read_bytes()
        identifier = spdx_id("File", path.name)
        files.append({"SPDXID": identifier, "fileName": "./" + path.name, "fileTypes": ["BINARY"], "licenseConcluded": "Apache-2.0", "licenseInfoInFiles": ["Apache-2.0"],
                      "copyrightText": "NOASSERTION",
                      "checksums": [{"algorithm": name.upper(), "checksumValue": hashlib.new(name, content).hexdigest()} for name in ("sha1", "sha256")]})
        relations.append((own, "CONTAINS", identifier))
        for library in needed_by(path):
            if OF_THE_SYSTEM.match(library) or any(library.startswith(name) or name.startswith(library) for name in ours):
                continue
            use(identifier, "DYNAMIC_LINK", *LINKED.get(re.sub(r"^lib(.*?)\.so.*$", r"\1", library), ("", library, "NOASSERTION", "")))
        # Code that is loaded into other people's programs has its libcrypto to itself.
        if b"OpenSSL 3." in content and not any(library.startswith("libcrypto.") for library in needed_by(path)):
            use(identifier, "STATIC_LINK", *LINKED["crypto"])
    for module, about in COMPILED_IN.items():
        use(own, "STATIC_LINK", module, *about)
    packages[own].update(filesAnalyzed=True, packageVerificationCode=verification_code(files), licenseInfoFromFiles=["Apache-2.0"])
    made = int(os.environ.get("SOURCE_DATE_EPOCH", datetime.datetime.now().timestamp()))
    document = {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": f"tsk-vdisk-{version}",
        "creationInfo": {"created": datetime.datetime.fromtimestamp(made, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                         "creators": [f"Tool: tsk-vdisk-sbom-{version}"]},
        "packages": [packages[identifier] for identifier in sorted(packages)], "files": sorted(files, key=lambda file: file["SPDXID"]),
        "relationships": [{"spdxElementId": left, "relationshipType": kind, "relatedSpdxElement": right} for left, kind, right in sorted(set(relations))],
    }
    # Other files have another document's name, as the format asks.
    document["documentNamespace"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(document, sort_keys=True))}"
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
