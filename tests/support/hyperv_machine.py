# SPDX-License-Identifier: Apache-2.0
"""Machines of Hyper-V in folders as a host has them: disks with chains of .avhdx files, a configuration for the machine and for each checkpoint."""
import json

import harness
from harness import VDISK, run

MAKER = harness.BUILD / "tests" / "support" / "make_hyperv"
SCSI = "_d422512d-2bf2-4752-809d-7b82b5fcb1b4_"
NIC = "_1bc9500e-ad4b-426e-ad70-d04cbeb2033b_"


def write_xml(path, keys):
    """`keys`, [(path, type, value)], as Windows Server 2008 to 2012 R2 write them."""
    tree = {}
    for key, kind, value in keys:
        node = tree
        *above, last = key.split("/")[1:]
        for name in above:
            node = node.setdefault(name, {})
        node[last] = f'type="{dict(int="integer", hex="bytes").get(kind, kind)}">{value}'

    def text(node):
        return "".join(f"<{name}>{text(below)}</{name}>" if isinstance(below, dict) else f"<{name} {below}</{name}>" for name, below in node.items())
    path.write_bytes(f'<?xml version="1.0" encoding="UTF-16" standalone="yes"?>\n{text(tree)}'.encode("utf-16"))


def write_vmcx(path, keys):
    """The same as Windows Server 2016 and later do."""
    listed = path.with_suffix(".keys")
    listed.write_text("".join(f"{key} {kind} {value}\n" for key, kind, value in keys))
    run(MAKER, "keys", listed, path)
    listed.unlink()


WRITERS = {".xml": write_xml, ".vmcx": write_vmcx}


def disks(place):
    """Four disks in `place`, each above the one before; their names."""
    place.mkdir(parents=True)
    for image in (harness.FIXTURES / "disks/avhdx-chain4").iterdir():
        run("zstd", "-dq", image, "-o", place / image.name.removesuffix(".zst"))
    lengths = {image.name: len(json.loads(run(VDISK, "info", "--json", image)).get("chain", [1])) for image in place.iterdir()}
    return sorted(lengths, key=lengths.get)


def keys(id, name, kind, files, more=(), machine="web01", seconds=1700000000):
    """The keys of a configuration whose disks are `files`, names in the folder of `machine`."""
    created = ((11644473600 + seconds) * 10**7).to_bytes(8, "little").hex()
    found = [(f"/configuration/{SCSI}/VDEVVersion", "int", 512)]
    for slot, file in enumerate(files):
        found += [(f"/configuration/{SCSI}/controller0/drive{slot}/pathname", "string", f"C:\\VMs\\{machine}\\{file}"),
                  (f"/configuration/{SCSI}/controller0/drive{slot}/type", "string", "VHD")]
    return found + [
        (f"/configuration/{SCSI}/controller0/drive{len(files)}/pathname", "string", ""),
        (f"/configuration/{SCSI}/controller0/drive{len(files)}/type", "string", "ISO"),
        (f"/configuration/{NIC}/FriendlyName", "string", "Network Adapter"),
        (f"/configuration/{NIC}/MacAddress", "string", "52-54-00-12-34-56"),
        (f"/configuration/{NIC}/SwitchName", "string", "lan"),
        ("/configuration/global_settings/owner/sid", "string", "S-1-5-21-1"),
        ("/configuration/properties/creation_time", "hex", created),
        ("/configuration/properties/global_id", "string", id),
        ("/configuration/properties/name", "string", name),
        ("/configuration/properties/subtype", "int", 0),
        ("/configuration/properties/type_id", "string", kind),
        ("/configuration/settings/memory/bank/size", "int", 2048),
        ("/configuration/settings/processors/count", "int", 2), *more]


def logical_id(id):
    return [("/configuration/settings/global/logical_id", "string", id)]


def security(tpm, shielded, encrypted_state):
    return [(f"/configuration/security/settings/{name}", "bool", str(value).lower())
            for name, value in (("tpm_enabled", tpm), ("shielding_requested", shielded), ("encrypt_state_migration", encrypted_state))]


def machine(host, checkpoints, form, more=(), name="web01", id="M"):
    """The machine `name` in a folder of its own below `host`, with two disks and a checkpoint for each name in `checkpoints`;
    {drive: [(folder, file) at each checkpoint and now]}."""
    drives = {f"SCSI-0-{slot}": [(folder, image) for image in disks(host / name / folder)]
              for slot, folder in enumerate(("Virtual Hard Disks", "More Disks"))}
    for folder in ("Virtual Machines", "Snapshots"):
        (host / name / folder).mkdir()

    def write(folder, id, called, kind, state):
        files = ["\\".join(states[state]) for states in drives.values()]
        WRITERS[form](host / name / folder / f"{id}{form}", keys(id, called, kind, files, more, name, 1700000000 + (state + 1) % 4))
    write("Virtual Machines", id, name, "Virtual Machines", 3)
    for number, called in enumerate(checkpoints):
        write("Snapshots", f"{id}-S{number}", called, "Snapshots", number)
    return drives
