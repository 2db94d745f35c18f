#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Machines by their files: VMware's, libvirt's, Proxmox VE's, VirtualBox's and others, each with two disks and three checkpoints whose states
differ, made by qemu-img under the host's names, then copied elsewhere and read there with the old paths gone."""
import gzip
import json
import os
import plistlib
import shutil
import sqlite3
import tarfile
import unittest
import uuid

import harness
import hyperv_machine
from harness import VDISK, outcome, run
from vdi_builder import Vdi

MIB = 1 << 20
CHECKPOINTS = ("clean", "updated", "third")


class Machines(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.host, self.copy = self.folder / "host", self.folder / "copy"
        self.host.mkdir()

    def write(self, image, form, raw):
        """A write into the image and into its flat model."""
        at, byte = self.random.randrange(MIB // 512) * 512, self.random.randrange(1, 256)
        run("qemu-io", "-f", form, "-c", f"write -P {byte} {at} 4096", image)
        with open(raw, "r+b") as file:
            file.seek(at)
            file.write(bytes([byte]) * 4096)

    def new_disk(self, image, form):
        raw = self.folder / "model.raw"
        raw.write_bytes(bytes(2 * MIB))
        image.parent.mkdir(parents=True, exist_ok=True)
        run("qemu-img", "create", "-q", "-f", form, image, 2 * MIB)
        self.write(image, form, raw)
        return raw

    def vmdk_states(self, folder, stem):
        """A VMDK for each checkpoint, each above the one before; (names, their disks' bytes), the current one last."""
        raw = self.new_disk(folder / f"{stem}.vmdk", "vmdk")
        names, disks = [f"{stem}.vmdk"], [raw.read_bytes()]
        for number in range(1, len(CHECKPOINTS) + 1):
            names.append(f"{stem}-{number:06}.vmdk")
            run("qemu-img", "create", "-q", "-f", "vmdk", "-b", names[-2], "-F", "vmdk", folder / names[-1])
            self.write(folder / names[-1], "vmdk", raw)
            disks.append(raw.read_bytes())
        return names, disks

    def qcow2_states(self, image):
        """A qcow2 image with a snapshot inside for each checkpoint; the disks' bytes, the current one last."""
        raw = self.new_disk(image, "qcow2")
        disks = []
        for name in CHECKPOINTS:
            disks.append(raw.read_bytes())
            run("qemu-img", "snapshot", "-c", name, image)
            self.write(image, "qcow2", raw)
        return disks + [raw.read_bytes()]

    def moved(self):
        """The host's tree in another place; nothing is left at the old one."""
        shutil.copytree(self.host, self.copy, symlinks=True)
        shutil.rmtree(self.host)
        return self.copy

    def assert_states(self, machine, drives, selector=""):
        """`drives`: {name: disks' bytes at each checkpoint and now}."""
        listed = json.loads(run(VDISK, "ls", "--json", f"{machine}{selector}"))["disks"]
        attached = [disk for disk in listed if disk.get("attached", True)]
        self.assertEqual(len(attached), len(drives) * (len(CHECKPOINTS) + 1))
        for drive, disks in drives.items():
            self.assert_bytes(f"{machine}#{drive}{selector.replace('#', ',')}", disks[-1])
            for name, expected in zip(CHECKPOINTS, disks):
                for typed in (f"{drive}@{name}", f"{name}/{drive}"):
                    self.assert_bytes(f"{machine}#{typed}{selector.replace('#', ',')}", expected)
        info = json.loads(run(VDISK, "info", "--json", f"{machine}{selector}"))
        self.assertEqual([(each["name"], each.get("after"), each["depth"]) for each in info["checkpoints"]],
                         [(name, before, depth) for depth, (name, before) in enumerate(zip(CHECKPOINTS, (None, *CHECKPOINTS)))])
        self.assertEqual(info["current_state_after"], CHECKPOINTS[-1])
        for key in ("machine", "machine_id", "memory_size", "processors", "firmware", "network_adapters", "drives", "machine_encrypted"):
            self.assertIn(key, info, key)
        self.assertEqual(info["memory_size"], 2048 * MIB)
        self.assertEqual(info["processors"], 2)
        self.assertEqual(info["network_adapters"][0]["mac_address"], "52:54:00:12:34:56")
        return info

    def assert_bytes(self, name, expected):
        self.assertEqual(run(VDISK, "export", name, "-"), expected, name)

    def vmx(self, name_of, folder="vmfs/volumes/5f0e-ds1/mailserver", more=""):
        """mailserver.vmx and .vmsd in a datastore, whose disks are called as `name_of` says; ({drive: disks}, folder)."""
        place = self.host / folder
        drives = {}
        database = '.encoding = "UTF-8"\nsnapshot.lastUID = "7"\nsnapshot.current = "7"\nsnapshot.numSnapshots = "3"\n'
        text = ('.encoding = "UTF-8"\nconfig.version = "8"\nvirtualHW.version = "19"\ndisplayName = "Mail |22server|22"\nmemSize = "2048"\n'
                'numvcpus = "2"\nfirmware = "efi"\nuuid.bios = "56 4d 00"\nguestOS = "debian11-64"\nethernet0.present = "TRUE"\n'
                'ethernet0.virtualDev = "vmxnet3"\nethernet0.generatedAddress = "52:54:00:12:34:56"\nethernet0.networkName = "VM Network"\n'
                'ide1:0.present = "TRUE"\nide1:0.deviceType = "cdrom-image"\nide1:0.fileName = "/isos/debian.iso"\nscsi0.virtualDev = "pvscsi"\n' + more)
        names = {}
        for drive, stem in (("scsi0:0", "mailserver"), ("scsi0:1", "mailserver_1")):
            names[drive], drives[drive] = self.vmdk_states(place, stem)
            text += f'{drive}.present = "TRUE"\n{drive}.fileName = "{name_of(names[drive][-1])}"\n'
        for number, name in enumerate(CHECKPOINTS):
            uid = (2, 5, 7)[number]
            database += (f'snapshot{number}.uid = "{uid}"\nsnapshot{number}.filename = "mailserver-Snapshot{uid}.vmsn"\nsnapshot{number}.displayName = "{name}"\n'
                         f'snapshot{number}.createTimeHigh = "300237"\nsnapshot{number}.createTimeLow = "-195240237{number}"\nsnapshot{number}.numDisks = "2"\n')
            if number:
                database += f'snapshot{number}.parent = "{(2, 5, 7)[number - 1]}"\n'
            for at, drive in enumerate(drives):
                database += f'snapshot{number}.disk{at}.fileName = "{name_of(names[drive][number])}"\nsnapshot{number}.disk{at}.node = "{drive}"\n'
        (place / "mailserver.vmx").write_text(text)
        (place / "mailserver.vmsd").write_text(database)
        return drives, folder

    def test_vmware_by_names_beside_the_machine(self):
        drives, folder = self.vmx(lambda name: name)
        info = self.assert_states(self.moved() / folder / "mailserver.vmx", drives)
        self.assertEqual(info["machine"], 'Mail "server"')
        self.assertEqual(info["firmware"], "UEFI")
        self.assertTrue(info["checkpoints"][0]["time"].startswith("2010-"), info["checkpoints"][0]["time"])
        removable, = [drive for drive in info["drives"] if drive["removable"]]
        self.assertEqual([removable[key] for key in ("name", "kind", "controller", "port", "medium")], ["ide1:0", "CD-ROM", "ide1", "0", "/isos/debian.iso"])
        self.assertIn("not found", removable["missing"])

    def test_vmware_by_datastores_and_by_paths_of_windows(self):
        for name_of in (lambda name: f"[ds1] mailserver/{name}", lambda name: f"/vmfs/volumes/5f0e-ds1/mailserver/{name}", lambda name: f"C:\\VMs\\mailserver\\{name}"):
            with self.subTest(name_of("x")):
                shutil.rmtree(self.copy, ignore_errors=True)
                drives, folder = self.vmx(name_of)
                self.assert_states(self.moved() / folder / "mailserver.vmx", drives)

    def test_vmware_below_the_evidences_root(self):
        drives, folder = self.vmx(lambda name: f"/vmfs/volumes/5f0e-ds1/mailserver/{name}")
        copy = self.moved()
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir()
        for name in ("mailserver.vmx", "mailserver.vmsd"):
            shutil.move(copy / folder / name, elsewhere / name)
        self.assertEqual(outcome(VDISK, "ls", elsewhere / "mailserver.vmx")[0], 1)
        self.assert_states(elsewhere / "mailserver.vmx", drives, f"#root={copy}")

    def libvirt(self, sources):
        """web.xml in etc/libvirt/qemu with snapshots' metadata, and its images; {drive: disks}."""
        images = {drive: self.host / "var/lib/libvirt/images" / f"web-{drive}.qcow2" for drive in ("vda", "vdb")}
        disks = {drive: self.qcow2_states(image) for drive, image in images.items()}
        devices = "".join(f'<disk type="{kind}" device="disk"><driver name="qemu" type="qcow2"/><source {key}="{sources(images[drive].name)}"/>'
                          f'<target dev="{drive}" bus="virtio"/></disk>' for drive, kind, key in (("vda", "file", "file"), ("vdb", "block", "dev")))
        domain = ('<domain type="kvm"><name>web</name><uuid>11111111-2222-3333-4444-555555555555</uuid><memory unit="KiB">2097152</memory><vcpu>2</vcpu>'
                  '<os><type arch="x86_64">hvm</type></os><devices>' + devices + '<disk type="file" device="cdrom"><target dev="sda" bus="sata"/><readonly/></disk>'
                  '<interface type="network"><mac address="52:54:00:12:34:56"/><source network="default"/><model type="virtio"/></interface></devices></domain>')
        config, metadata = self.host / "etc/libvirt/qemu", self.host / "var/lib/libvirt/qemu/snapshot/web"
        config.mkdir(parents=True)
        metadata.mkdir(parents=True)
        (config / "web.xml").write_text("<!--\nWARNING: THIS IS AN AUTO-GENERATED FILE.\n-->\n\n" + domain)
        for number, name in enumerate(CHECKPOINTS):
            parent = f"<parent><name>{CHECKPOINTS[number - 1]}</name></parent>" if number else ""
            (metadata / f"{name}.xml").write_text(
                f"<domainsnapshot><name>{name}</name>{parent}<creationTime>{1700000000 + number}</creationTime><memory snapshot='no'/>"
                f"<disks><disk name='vda' snapshot='internal'/><disk name='vdb' snapshot='internal'/></disks>{domain}<active>{int(number == 2)}</active></domainsnapshot>")
        return disks

    def test_libvirt(self):
        drives = self.libvirt(lambda name: f"/var/lib/libvirt/images/{name}")
        machine = self.moved() / "etc/libvirt/qemu/web.xml"
        info = self.assert_states(machine, drives)
        self.assertEqual(info["checkpoints"][0]["time"], "2023-11-14T22:13:20Z")
        self.assertEqual([drive["medium"] for drive in info["drives"] if drive["removable"]], ["none"])
        shutil.move(self.copy / "etc", self.folder / "etc")
        self.assert_states(self.folder / "etc/libvirt/qemu/web.xml", drives, f"#root={self.copy}")

    @unittest.skipUnless(shutil.which("virt-xml-validate") and shutil.which("xmllint"), "virt-xml-validate (libvirt-clients) or xmllint is not installed")
    def test_the_xml_of_these_tests_is_libvirts(self):
        self.libvirt(lambda name: f"/var/lib/libvirt/images/{name}")
        files = sorted(self.host.rglob("*.xml"))
        self.assertEqual(len(files), 1 + len(CHECKPOINTS))
        for file in files:
            run("virt-xml-validate", file, "domain" if file.name == "web.xml" else "domainsnapshot")
        run("virt-xml-validate", self.plain_machine("/a.raw"), "domain")

    def test_a_libvirt_disk_whose_snapshot_is_outside_is_the_file_that_was_left(self):
        raw = self.new_disk(self.folder / "base.qcow2", "qcow2")
        before = raw.read_bytes()
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", self.folder / "over.qcow2")
        self.write(self.folder / "over.qcow2", "qcow2", raw)
        domain = '<domain type="kvm"><name>m</name><uuid>1</uuid><devices><disk type="file" device="disk"><driver type="qcow2"/><source file="/i/{}.qcow2"/><target dev="vda"/></disk></devices></domain>'
        (self.folder / "m.xml").write_text(domain.format("over"))
        (self.folder / "m.snap.xml").write_text("<domainsnapshot><name>s</name><disks><disk name='vda' snapshot='external' type='file'><source file='/i/over.qcow2'/></disk></disks>"
                                                + domain.format("base") + "</domainsnapshot>")
        self.assert_bytes(f"{self.folder}/m.xml#vda", raw.read_bytes())
        self.assert_bytes(f"{self.folder}/m.xml#vda@s", before)

    def proxmox(self):
        """etc/pve/nodes/n/qemu-server/100.conf with a disk in a folder and one on LVM; {drive: disks}."""
        drives = {"scsi0": self.qcow2_states(self.host / "mnt/disks/images/100/vm-100-disk-0.qcow2"), "virtio1": []}
        volumes = self.host / "dev/pve"
        volumes.mkdir(parents=True)
        for name in (*(f"snap_vm-100-disk-1_{name}" for name in CHECKPOINTS), "vm-100-disk-1"):
            drives["virtio1"].append(self.random_bytes(MIB))
            (volumes / name).write_bytes(drives["virtio1"][-1])
        hardware = ("boot: order=scsi0\ncores: 2\nide2: none,media=cdrom\nmemory: 2048\nname: db\nnet0: virtio=52:54:00:12:34:56,bridge=vmbr0,firewall=1\nostype: l26\n"
                    "scsi0: disks:100/vm-100-disk-0.qcow2,size=2M\nscsihw: virtio-scsi-single\nsockets: 1\nvirtio1: local-lvm:vm-100-disk-1,size=1M\n")
        text = f"#The database%3A main\n{hardware}parent: {CHECKPOINTS[-1]}\n\n[PENDING]\nmemory: 9999\n"
        for number, name in enumerate(CHECKPOINTS):
            text += f"\n[{name}]\n#a note\n{hardware}" + (f"parent: {CHECKPOINTS[number - 1]}\n" if number else "") + f"snaptime: {1700000000 + number}\n"
        config = self.host / "etc/pve/nodes/n/qemu-server"
        config.mkdir(parents=True)
        (config / "100.conf").write_text(text)
        (self.host / "etc/pve/storage.cfg").write_text("dir: local\n\tpath /var/lib/vz\n\tcontent iso\n\ndir: disks\n\tpath /mnt/disks\n\tcontent images\n\nlvmthin: local-lvm\n\tthinpool data\n\tvgname pve\n")
        return drives

    def test_proxmox(self):
        drives = self.proxmox()
        machine = self.moved() / "etc/pve/nodes/n/qemu-server/100.conf"
        info = self.assert_states(machine, drives)
        self.assertEqual((info["machine"], info["machine_id"], info["notes"]), ("db", "100", "The database: main"))
        self.assertEqual(info["checkpoints"][1]["time"], "2023-11-14T22:13:21Z")
        flat = self.folder / "flat"
        flat.mkdir()
        for file in (machine, *(self.copy / "dev/pve").iterdir(), self.copy / "mnt/disks/images/100/vm-100-disk-0.qcow2"):
            shutil.move(file, flat / file.name)
        shutil.rmtree(self.copy)
        self.assert_states(flat / "100.conf", drives)

    def config_db(self, page_size=4096, more=()):
        """The cluster's files of proxmox() as rows of config.db; a connection that writes to it still, by a log."""
        place = self.host / "var/lib/pve-cluster"
        place.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(place / "config.db")
        connection.execute(f"PRAGMA page_size={page_size}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("CREATE TABLE tree (inode INTEGER PRIMARY KEY NOT NULL, parent INTEGER NOT NULL CHECK(typeof(parent)=='integer'), version INTEGER NOT NULL, writer INTEGER NOT NULL, "
                           "mtime INTEGER NOT NULL, type INTEGER NOT NULL, name TEXT NOT NULL, data BLOB)")
        folders, rows = {"": 0}, [(0, 0, 8, "__version__", None)]

        def add(path, data):
            parent, _, name = path.rpartition("/")
            if parent not in folders:
                add(parent, None)
            inode = len(rows) + 1
            folders.setdefault(path, inode)
            rows.append((inode, folders[parent], 4 if data is None else 8, name, data))

        for file in sorted((self.host / "etc/pve").rglob("*")):
            if file.is_file():
                add(str(file.relative_to(self.host / "etc/pve")), file.read_bytes())
        for path, data in more:
            add(path, data)
        connection.executemany("INSERT INTO tree VALUES (?, ?, 1, 0, 1700000000, ?, ?, ?)", rows)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.rmtree(self.host / "etc/pve")
        return connection

    def test_a_clusters_database_has_all_machines(self):
        for page_size in (512, 4096, 65536):
            with self.subTest(page_size):
                shutil.rmtree(self.copy, ignore_errors=True)
                shutil.rmtree(self.host, ignore_errors=True)
                drives = self.proxmox()
                other = b"cores: 1\nmemory: 512\nscsi0: local-lvm:vm-200-disk-0\n" + b"#" + b"x" * 100_000
                self.config_db(page_size, [("nodes/m/qemu-server/200.conf", other), ("nodes/m/lxc/300.conf", b"memory: 1\n")] +
                               [(f"priv/lock/{number}", bytes(number)) for number in range(300)]).close()
                database = self.moved() / "var/lib/pve-cluster/config.db"
                before = {file.name: file.read_bytes() for file in database.parent.iterdir()}
                for drive, disks in drives.items():
                    self.assert_bytes(f"{database}#100/{drive}", disks[-1])
                    for name, expected in zip(CHECKPOINTS, disks):
                        self.assert_bytes(f"{database}#100/{drive}@{name}", expected)
                        self.assert_bytes(f"{database}#100/{name}/{drive}", expected)
                info = json.loads(run(VDISK, "info", "--json", database, status=None))
                self.assertEqual([(machine["machine_id"], machine["node"]) for machine in info["machines"]], [("200", "m"), ("100", "n")])
                self.assertEqual([each["name"] for each in info["machines"][1]["checkpoints"]], list(CHECKPOINTS))
                self.assertEqual(run(VDISK, "config", database, "nodes/m/qemu-server/200.conf"), other)
                self.assertIn(b"200/scsi0", run(VDISK, "ls", database, status=1))
                self.assertEqual({file.name: file.read_bytes() for file in database.parent.iterdir()}, before)

    def test_what_a_clusters_log_holds_counts_as_far_as_it_was_committed(self):
        drives = self.proxmox()
        connection = self.config_db()
        text = connection.execute("SELECT data FROM tree WHERE name = '100.conf'").fetchone()[0]
        connection.execute("UPDATE tree SET data = ? WHERE name = '100.conf'", (text.replace(b"name: db", b"name: new" + b"#" * 9000, 1),))
        connection.commit()
        place = self.host / "var/lib/pve-cluster"
        self.assertGreater((place / "config.db-wal").stat().st_size, 8192)
        shutil.copytree(self.host, self.copy)
        database = self.copy / "var/lib/pve-cluster/config.db"
        (self.copy / "var/lib/pve-cluster/config.db-shm").unlink()

        def name():
            return json.loads(run(VDISK, "info", "--json", database, status=None))["machines"][0]["machine"].rstrip("#")

        self.assertEqual(name(), "new")
        self.assert_bytes(f"{database}#100/scsi0", drives["scsi0"][-1])
        log = database.parent / "config.db-wal"
        whole = log.read_bytes()
        log.write_bytes(whole[:-1])  # the transaction's last frame
        self.assertEqual(name(), "db")
        log.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
        self.assertEqual(name(), "db")
        log.unlink()
        self.assertEqual(name(), "db")
        connection.close()

    def test_a_damaged_cluster_database_is_told_and_ends_soon(self):
        self.proxmox()
        self.config_db(512, [(f"nodes/n/qemu-server/{number}.conf", b"cores: 1\nmemory: 1\n" + b"#" * number) for number in range(101, 300)]).close()
        database = self.host / "var/lib/pve-cluster/config.db"
        whole = database.read_bytes()
        for _ in range(30):
            damaged = bytearray(whole)
            for _ in range(20):
                damaged[self.random.randrange(100, len(damaged))] = self.random.randrange(256)
            database.write_bytes(damaged)
            self.assertIn(outcome(VDISK, "info", database, timeout=20)[0], (0, 1, 2))
        for at in range(512, len(whole), 512):  # an inner page that leads to itself
            if whole[at] == 5:
                database.write_bytes(whole[:at + 8] + (at // 512 + 1).to_bytes(4, "big") + whole[at + 12:])
                break
        code, out, _ = outcome(VDISK, "info", "--json", database, timeout=20)
        self.assertIn("used twice", " ".join(json.loads(out).get("problems", [])))

    def vbox(self, location):
        """m.vbox with two disks, each a chain of VDIs; {drive: disks}."""
        drives, attached, media = {}, [[] for _ in range(4)], ""
        for port in range(2):
            image, disks, nested = None, [], ""
            for number in range(4):
                image = Vdi(MIB, block_size=64 << 10, parent=image)
                image.write(self.random.randrange(16), self.random_bytes(64 << 10))
                name = f"disk{port}-{number}.vdi"
                (self.host / "m").mkdir(exist_ok=True)
                image.save(self.host / "m" / name)
                disks.append(bytes(image.disk))
                nested += f'<HardDisk uuid="{{{image.create}}}" location="{location(name)}" format="VDI">'
                attached[number].append(f'<AttachedDevice type="HardDisk" port="{port}" device="0"><Image uuid="{{{image.create}}}"/></AttachedDevice>')
            media += nested + "</HardDisk>" * 4
            drives[f"SATA-{port}-0"] = disks

        def storage(number):
            return f'<StorageControllers><StorageController name="SATA">{"".join(attached[number])}<AttachedDevice type="DVD" port="2" device="0"/></StorageController></StorageControllers>'

        tree, last = "", ""
        for number in reversed(range(3)):
            here = uuid.uuid4()
            last = last or f"{{{here}}}"
            tree = (f'<Snapshot uuid="{{{here}}}" name="{CHECKPOINTS[number]}" timeStamp="2024-01-02T03:04:0{number}Z"><Hardware>{storage(number)}</Hardware>'
                    f'<Snapshots>{tree}</Snapshots></Snapshot>')
        (self.host / "m/m.vbox").write_text(
            f'<?xml version="1.0"?>\n<VirtualBox xmlns="http://www.virtualbox.org/"><Machine uuid="{{{uuid.uuid4()}}}" name="box" OSType="Debian_64" currentSnapshot="{last}">'
            f'<MediaRegistry><HardDisks>{media}</HardDisks></MediaRegistry>{tree}<Hardware><CPU count="2"/><Memory RAMSize="2048"/><Firmware type="EFI"/>'
            f'<Network><Adapter slot="0" enabled="true" MACAddress="525400123456" type="82540EM"><NAT/></Adapter></Network>{storage(3)}</Hardware></Machine></VirtualBox>\n')
        return drives

    def test_virtualbox(self):
        for location in (lambda name: name, lambda name: f"C:\\Users\\a\\VirtualBox VMs\\m\\{name}", lambda name: f"/home/a/VMs/m/{name}"):
            with self.subTest(location("x")):
                shutil.rmtree(self.copy, ignore_errors=True)
                shutil.rmtree(self.host, ignore_errors=True)
                self.host.mkdir()
                drives = self.vbox(location)
                info = self.assert_states(self.moved() / "m/m.vbox", drives)
                self.assertEqual(info["network_adapters"], [{"name": "adapter 1", "model": "82540EM", "mac_address": "52:54:00:12:34:56", "network": "NAT"}])

    def test_hyperv(self):
        for form in (".xml", ".vmcx"):
            for more in ((), hyperv_machine.logical_id("M")):
                with self.subTest(form=form, more=more):
                    shutil.rmtree(self.copy, ignore_errors=True)
                    shutil.rmtree(self.host, ignore_errors=True)
                    images = hyperv_machine.machine(self.host, CHECKPOINTS, form, more)
                    copy = self.moved() / "web01"
                    drives = {drive: [run(VDISK, "export", copy / folder / name, "-") for folder, name in states] for drive, states in images.items()}
                    self.assertEqual(len(set(drives["SCSI-0-0"])), 4)
                    info = self.assert_states(copy / f"Virtual Machines/M{form}", drives)
                    self.assertEqual((info["machine"], info["owner"], info["firmware"]), ("web01", "S-1-5-21-1", "BIOS"))
                    self.assertEqual(info["checkpoints"][0]["time"], "2023-11-14T22:13:21Z")
                    self.assertEqual(info["drives"][2]["medium"], "none")

    def test_checkpoints_of_another_machine_are_not_this_ones(self):
        for form in (".xml", ".vmcx"):
            with self.subTest(form):
                shutil.rmtree(self.host, ignore_errors=True)
                images = hyperv_machine.machine(self.host, CHECKPOINTS, form, hyperv_machine.logical_id("ANOTHER"))
                machine = self.host / f"web01/Virtual Machines/M{form}"
                files = ["\\".join(states[-1]) for states in images.values()]
                hyperv_machine.WRITERS[form](machine, hyperv_machine.keys("M", "web01", "Virtual Machines", files, hyperv_machine.logical_id("M")))
                self.assertNotIn("checkpoints", json.loads(run(VDISK, "info", "--json", machine)))

    def test_a_hyperv_machine_of_many_drives_keeps_its_checkpoints_or_says_that_it_does_not(self):
        for drives, told in ((4200, True), (16382, False)):
            with self.subTest(drives):
                for folder, id, kind, files in (("Virtual Machines", "M", "Virtual Machines", [f"{number}.vhdx" for number in range(drives)]),
                                                ("Snapshots", "S", "Snapshots", ["a.vhdx"])):
                    (self.host / folder).mkdir(parents=True, exist_ok=True)
                    hyperv_machine.write_xml(self.host / folder / f"{id}.xml", hyperv_machine.keys(id, id, kind, files, hyperv_machine.logical_id("M")))
                status, out, said = outcome(VDISK, "info", "--json", self.host / "Virtual Machines/M.xml")
                self.assertNotEqual(status, 2, said)
                self.assertEqual(len(json.loads(out).get("checkpoints", [])), told)
                self.assertEqual("not all checkpoints are told" in out.decode() + said, not told)

    def test_what_hyperv_says_of_tpm_and_encryption(self):
        machine = self.folder / "m.vmcx"
        for told, tpm, encrypted in ((hyperv_machine.security(True, True, True), True, "saved states and migration; the machine is shielded"),
                                     (hyperv_machine.security(True, False, True), True, "saved states and migration"),
                                     (hyperv_machine.security(False, False, False), False, "no"), ((), None, "not told")):
            hyperv_machine.write_vmcx(machine, hyperv_machine.keys("M", "web01", "Virtual Machines", ["a.vhdx"], told))
            info = json.loads(run(VDISK, "info", "--json", f"{machine}", status=None))
            self.assertEqual((info.get("tpm"), info["machine_encrypted"]), (tpm, encrypted))
            disks = json.loads(run(harness.BUILD / "hvconfig", "disks", "--json", machine))
            self.assertEqual(disks["tpm"], tpm)

    def test_a_damaged_checkpoint_costs_only_itself(self):
        hyperv_machine.machine(self.host, CHECKPOINTS, ".vmcx")
        (self.host / "web01/Snapshots/M-S1.vmcx").write_bytes(b"\x14\x20\x28\x01" + bytes(9000))
        info = json.loads(run(VDISK, "info", "--json", self.host / "web01/Virtual Machines/M.vmcx"))
        self.assertEqual([(each["name"], each.get("after")) for each in info["checkpoints"]], [(CHECKPOINTS[0], None), (CHECKPOINTS[2], CHECKPOINTS[0])])

    def test_a_hyperv_container_is_a_machine_too(self):
        machine = self.folder / "m.vmcx"
        shutil.copy(harness.FIXTURES / "hyperv/vm-realistic.vmcx", machine)
        code, out, _ = outcome(VDISK, "ls", "--json", machine)
        self.assertEqual(code, 1)
        self.assertTrue(all("unreadable" in disk for disk in json.loads(out)["disks"]))
        listed = {disk["image"]: disk["name"] for disk in json.loads(out)["disks"]}
        place = self.folder / "VMs" / "Lagerverwaltung"
        place.mkdir(parents=True)
        run("qemu-img", "create", "-q", "-f", "vhdx", place / "System Disk (C).vhdx", 4 * MIB)
        name = listed["D:\\VMs\\Lagerverwaltung\\System Disk (C).vhdx"]
        self.assert_bytes(f"{machine}#{name}", bytes(4 * MIB))
        info = json.loads(run(VDISK, "info", "--json", f"{machine}#{name}", status=None))
        self.assertEqual(info["machine"], "Lagerverwaltung (Test)")
        with (place / "System Disk (C).vhdx").open("r+b") as disk:
            disk.write(b"\xff" * (320 << 10))
        code, digest, said = outcome(VDISK, "hash", f"{machine}#{name}")
        self.assertEqual((code, digest), (2, b""))
        self.assertIn(f"m.vmcx: drive '{name}': ", said)

    def plain_machine(self, file, form="raw"):
        path = self.folder / "m.xml"
        path.write_text(f'<domain type="kvm"><name>m</name><devices><disk type="file" device="disk"><driver type="{form}"/><source file="{file}"/><target dev="vda"/></disk></devices></domain>')
        return path

    def test_two_files_that_fit_are_an_error_that_names_both(self):
        (self.folder / "images").mkdir()
        (self.folder / "disk.raw").write_bytes(self.random_bytes(4096))
        (self.folder / "images/disk.raw").write_bytes(self.random_bytes(4096))
        machine = self.plain_machine("/var/lib/libvirt/images/disk.raw")
        code, _, said = outcome(VDISK, "hash", machine)
        self.assertEqual(code, 2)
        for name in ("images/disk.raw", "disk.raw or", "/disk.raw:"):
            self.assertIn(name, said)
        run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "/var/lib/libvirt/images/disk.raw", "-F", "raw", self.folder / "over.qcow2", 4096)
        code, _, said = outcome(VDISK, "hash", self.folder / "over.qcow2")
        self.assertEqual(code, 2)
        self.assertIn("both are there", said)
        (self.folder / "disk.raw").unlink()
        for name in (machine, self.folder / "over.qcow2"):
            run(VDISK, "hash", name)

    def ovf(self, chunks):
        """mail.ovf with a stream-optimized disk, one compressed by gzip and, if `chunks`, one cut up; {drive: disk}."""
        place = self.host / "export"
        place.mkdir(parents=True)
        drives, files, disks, items = {}, "", "", ""
        for number in range(3 if chunks else 2):
            raw = self.folder / "model.raw"
            raw.write_bytes(self.random_bytes(MIB // 4) + bytes(MIB * 3 // 4))
            name, image = f"mail disk-{number}.vmdk", self.folder / "image"
            run("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, image)
            data, more = image.read_bytes(), ""
            if number == 1:
                data, name, more = gzip.compress(data), name + ".gz", ' ovf:compression="gzip"'
            if number == 2:
                more, size = ' ovf:chunkSize="60000"', 60000
                for at in range(0, len(data), size):
                    (place / f"{name}.{at // size:09}").write_bytes(data[at:at + size])
            else:
                (place / name).write_bytes(data)
            files += f'<File ovf:id="file{number}" ovf:href="{name.replace(" ", "%20")}" ovf:size="{len(data)}"{more}/>'
            disks += f'<Disk ovf:diskId="vmdisk{number}" ovf:fileRef="file{number}" ovf:capacity="1" ovf:capacityAllocationUnits="byte * 2^20"/>'
            items += (f'<Item><rasd:AddressOnParent>{number}</rasd:AddressOnParent><rasd:ElementName>Hard disk</rasd:ElementName><rasd:HostResource>ovf:/disk/vmdisk{number}</rasd:HostResource>'
                      f'<rasd:InstanceID>{10 + number}</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>')
            drives[f"scsi0:{number}"] = raw.read_bytes()
        (place / "mail.ovf").write_text(
            f'<?xml version="1.0" encoding="UTF-8"?><Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="r" xmlns:vmw="v"><References>{files}</References>'
            f'<DiskSection><Info/>{disks}</DiskSection><VirtualSystem ovf:id="mail"><Name>Mail server</Name><OperatingSystemSection ovf:id="96"><Description>Debian</Description></OperatingSystemSection>'
            '<VirtualHardwareSection><Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>'
            '<Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>2048</rasd:VirtualQuantity></Item>'
            '<Item><rasd:Address>0</rasd:Address><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType><rasd:ResourceType>6</rasd:ResourceType></Item>' + items +
            '<Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:InstanceID>20</rasd:InstanceID><rasd:ResourceType>15</rasd:ResourceType></Item>'
            '<Item><rasd:Address>52:54:00:12:34:56</rasd:Address><rasd:Connection>VM Network</rasd:Connection><rasd:InstanceID>21</rasd:InstanceID><rasd:ResourceSubType>E1000</rasd:ResourceSubType><rasd:ResourceType>10</rasd:ResourceType></Item>'
            '<vmw:Config vmw:key="firmware" vmw:value="efi"/></VirtualHardwareSection></VirtualSystem></Envelope>')
        return drives

    def test_an_ovf_is_the_machine_of_the_disks_beside_it(self):
        drives = self.ovf(chunks=True)
        machine = self.moved() / "export/mail.ovf"
        for drive, expected in drives.items():
            self.assert_bytes(f"{machine}#{drive}", expected)
        info = json.loads(run(VDISK, "info", "--json", machine))
        self.assertEqual([info[key] for key in ("machine", "machine_id", "operating_system", "memory_size", "processors", "firmware", "machine_encrypted")],
                         ["Mail server", "mail", "Debian", 2048 * MIB, 2, "UEFI", "not told"])
        self.assertEqual(info["network_adapters"], [{"model": "E1000", "mac_address": "52:54:00:12:34:56", "network": "VM Network"}])
        self.assertEqual([(drive["controller"], drive["port"]) for drive in info["disks"]], [("scsi0", str(number)) for number in range(3)])

        (machine.parent / "mail disk-2.vmdk.000000001").unlink()
        code, _, said = outcome(VDISK, "hash", f"{machine}#scsi0:2")
        self.assertNotEqual(code, 0, said)
        (machine.parent / "mail disk-0.vmdk").unlink()
        code, out, said = outcome(VDISK, "ls", machine)
        self.assertEqual(code, 1)
        self.assertIn("not found", said)
        self.assert_bytes(f"{machine}#scsi0:1", drives["scsi0:1"])

    def test_an_ovf_beside_its_disks_and_in_an_archive_tells_the_same(self):
        self.ovf(chunks=False)
        folder = self.moved() / "export"
        with tarfile.open(self.folder / "mail.ova", "w", format=tarfile.USTAR_FORMAT) as archive:
            for name in ("mail.ovf", "mail disk-0.vmdk"):
                archive.add(folder / name, name)
        bare, packed = (json.loads(run(VDISK, "info", "--json", image, status=None)) for image in (folder / "mail.ovf", self.folder / "mail.ova"))
        for key in ("machine", "machine_id", "operating_system", "memory_size", "processors", "firmware", "network_adapters", "machine_encrypted", "drives"):
            self.assertEqual(packed[key], bare[key], key)
        self.assertEqual(run(VDISK, "export", f"{self.folder}/mail.ova#scsi0:0", "-"), run(VDISK, "export", f"{folder}/mail.ovf#scsi0:0", "-"))

    def test_an_ovfs_sizes_and_parents_are_held_against_its_files(self):
        self.ovf(chunks=False)
        machine = self.moved() / "export/mail.ovf"
        text = machine.read_text()
        machine.write_text(text.replace('ovf:capacity="1"', 'ovf:capacity="2"', 1))
        code, _, said = outcome(VDISK, "hash", f"{machine}#scsi0:0")
        self.assertEqual(code, 1, said)
        self.assertIn("machine's file says 2097152", said)
        machine.write_text(text.replace('ovf:diskId="vmdisk0"', 'ovf:diskId="vmdisk0" ovf:parentRef="vmdisk1"'))
        code, out, said = outcome(VDISK, "export", f"{machine}#scsi0:0", "-")
        self.assertEqual((code, out), (2, b""), said)
        self.assertIn("holds changes to disk 'vmdisk1'", said)

        raw = self.new_disk(machine.parent / "base.vmdk", "vmdk")
        run("qemu-img", "create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", machine.parent / "delta.vmdk")
        self.write(machine.parent / "delta.vmdk", "vmdk", raw)
        machine.write_text('<Envelope xmlns:ovf="o"><References><File ovf:id="a" ovf:href="base.vmdk"/><File ovf:id="b" ovf:href="delta.vmdk"/></References>'
                           '<DiskSection><Disk ovf:diskId="one" ovf:fileRef="a"/><Disk ovf:diskId="two" ovf:fileRef="b" ovf:parentRef="one"/></DiskSection><VirtualSystem ovf:id="m"/></Envelope>')
        self.assert_bytes(f"{machine}#two", raw.read_bytes())

    def parallels(self, own_settings):
        """m.pvm with two disks, each a bundle of a chain of images; {drive: disks}."""
        bundle, drives = self.host / "m.pvm", {}
        guids = [f"{{{uuid.UUID(int=self.random.getrandbits(128), version=4)}}}" for _ in CHECKPOINTS] + ["{5fbaabe3-6958-40ff-92a7-860e329aab41}"]
        for number in range(2):
            folder, raw, disks, images, shots, below = bundle / f"harddisk{number}.hdd", bytearray(2 * MIB), [], "", "", f"{{{uuid.UUID(int=0)}}}"
            folder.mkdir(parents=True)
            for guid in guids:
                image = folder / f"harddisk{number}.hdd.0.{guid}.hds"
                run("qemu-img", "create", "-q", "-f", "parallels", "-o", "cluster_size=64k", image, 2 * MIB)
                for _ in range(3):
                    at, byte = self.random.randrange(32) << 16, self.random.randrange(1, 256)
                    run("qemu-io", "-f", "parallels", "-c", f"write -P {byte} {at} 64k", image)
                    raw[at:at + (64 << 10)] = bytes([byte]) * (64 << 10)
                disks.append(bytes(raw))
                images += f"<Image><GUID>{guid}</GUID><Type>Compressed</Type><File>{image.name}</File></Image>"
                shots += f"<Shot><GUID>{guid}</GUID><ParentGUID>{below}</ParentGUID></Shot>"
                below = guid
            (folder / "DiskDescriptor.xml").write_text(f"<Parallels_disk_image Version='1.0'><Disk_Parameters><Disk_size>{2 * MIB // 512}</Disk_size></Disk_Parameters><StorageData><Storage><Start>0</Start>"
                                                       f"<End>{2 * MIB // 512}</End>{images}</Storage></StorageData><Snapshots>{shots}</Snapshots></Parallels_disk_image>")
            drives[f"hdd{number}"] = disks

        def settings(count):
            disks = "".join(f"<Hdd><Index>{number}</Index><Enabled>1</Enabled><Connected>1</Connected><EmulatedType>1</EmulatedType><SystemName>{name}</SystemName><InterfaceType>2</InterfaceType><StackIndex>{number}</StackIndex></Hdd>"
                            for number, name in enumerate(("harddisk0.hdd", "/Users/x/Parallels/m.pvm/harddisk1.hdd")[:count]))
            return ("<?xml version='1.0' encoding='UTF-8'?>\n<ParallelsVirtualMachine schemaVersion='1.0'><Identification><VmUuid>{11111111-2222-3333-4444-555555555555}</VmUuid><VmName>Mac guest</VmName></Identification>"
                    "<Settings><Startup><Bios><EfiEnabled>1</EfiEnabled></Bios></Startup></Settings><Hardware><Cpu><Number>2</Number></Cpu><Memory><RAM>2048</RAM></Memory>"
                    "<CdRom><Index>0</Index><Enabled>1</Enabled><EmulatedType>1</EmulatedType><SystemName>/isos/debian.iso</SystemName><InterfaceType>2</InterfaceType><StackIndex>2</StackIndex></CdRom>" + disks +
                    "<NetworkAdapter><Index>0</Index><Enabled>1</Enabled><EmulatedType>1</EmulatedType><MAC>525400123456</MAC><AdapterType>3</AdapterType></NetworkAdapter></Hardware></ParallelsVirtualMachine>")

        (bundle / "config.pvs").write_text(settings(2))
        tree = ""
        for number in reversed(range(len(CHECKPOINTS))):
            tree = (f'<SavedStateItem guid="{guids[number].upper()}" state="poweroff" current="{"yes" if number == 2 else "no"}"><Name>{CHECKPOINTS[number]}</Name>'
                    f'<DateTime>2024-01-0{number + 1} 03:04:05</DateTime><Description><![CDATA[]]></Description>{tree}</SavedStateItem>')
        (bundle / "Snapshots.xml").write_text(f"<?xml version='1.0' encoding='UTF-8'?>\n<ParallelsSavedStates><SavedStateItem guid='' current='no'><Name/>{tree}</SavedStateItem></ParallelsSavedStates>")
        if own_settings:
            (bundle / "Snapshots").mkdir()
            (bundle / "Snapshots" / f"{guids[0].upper()}.pvs").write_text(settings(1))
        return drives

    def test_parallels(self):
        drives = self.parallels(own_settings=False)
        bundle = self.moved() / "m.pvm"
        for machine in (bundle / "config.pvs", bundle):
            info = self.assert_states(machine, drives)
        self.assertEqual([info[key] for key in ("machine", "machine_id", "firmware")], ["Mac guest", "11111111-2222-3333-4444-555555555555", "UEFI"])
        self.assertEqual([(drive["controller"], drive["port"]) for drive in info["drives"]], [("SATA", "0"), ("SATA", "1"), ("SATA", "2")])
        self.assertEqual(info["checkpoints"][0]["time_as_written"], "2024-01-01 03:04:05")
        self.assertIn("missing", info["drives"][2])

    def test_a_parallels_checkpoint_has_the_drives_of_its_own_settings(self):
        drives = self.parallels(own_settings=True)
        machine = self.moved() / "m.pvm"
        self.assert_bytes(f"{machine}#clean", drives["hdd0"][0])
        code, _, said = outcome(VDISK, "hash", f"{machine}#hdd1@clean")
        self.assertEqual(code, 2, said)
        self.assert_bytes(f"{machine}#hdd1@updated", drives["hdd1"][1])

        shutil.rmtree(machine / "harddisk1.hdd")
        shutil.copy(machine / "harddisk0.hdd/DiskDescriptor.xml", machine / "DiskDescriptor.xml")
        code, _, said = outcome(VDISK, "hash", f"{machine}/config.pvs#hdd1")
        self.assertEqual(code, 2, "a descriptor of another disk is not taken")
        self.assertIn("is of another disk", said)

    def utm(self, folder, config):
        """X.utm with a qcow2 and a raw disk in `folder`; the disks' bytes."""
        bundle = self.host / "X.utm"
        (bundle / folder).mkdir(parents=True)
        raw = self.new_disk(bundle / folder / "one.qcow2", "qcow2").read_bytes()
        (bundle / folder / "two.img").write_bytes(self.random_bytes(MIB))
        (bundle / "config.plist").write_bytes(plistlib.dumps(config))
        return [raw, (bundle / folder / "two.img").read_bytes()]

    def test_utm_in_both_layouts(self):
        new = {"Backend": "QEMU", "ConfigurationVersion": 4, "Information": {"Name": "Mac guest", "UUID": "U-1"}, "QEMU": {"UEFIBoot": True, "TPMDevice": True},
               "System": {"Architecture": "aarch64", "CPUCount": 2, "MemorySize": 2048}, "Network": [{"Hardware": "virtio-net-pci", "MacAddress": "52:54:00:12:34:56", "Mode": "Shared"}],
               "Drive": [{"Identifier": "A", "ImageName": "one.qcow2", "ImageType": "Disk", "Interface": "VirtIO", "ReadOnly": False},
                         {"Identifier": "B", "ImageName": "two.img", "ImageType": "Disk", "Interface": "NVMe", "ReadOnly": False}, {"Identifier": "C", "ImageType": "CD", "Interface": "USB", "ReadOnly": True}]}
        old = {"ConfigurationVersion": 2, "Debug": {}, "Info": {"Notes": "n"}, "System": {"Architecture": "x86_64", "CPUCount": 2, "Memory": 2048, "BootUefi": True, "SystemUUID": "U-1"},
               "Networking": {"NetworkEnabled": True, "NetworkCard": "e1000", "NetworkCardMAC": "52:54:00:12:34:56", "NetworkMode": "emulated"},
               "Drives": [{"DriveName": "drive0", "ImagePath": "one.qcow2", "ImageType": "disk", "InterfaceType": "virtio"}, {"DriveName": "drive1", "ImagePath": "two.img", "ImageType": "disk", "InterfaceType": "nvme"},
                          {"DriveName": "drive2", "ImageType": "cd", "InterfaceType": "usb", "Removable": True}]}
        for name, folder, config in (("Mac guest", "Data", new), ("X", "Images", old)):
            with self.subTest(folder):
                shutil.rmtree(self.copy, ignore_errors=True)
                disks = self.utm(folder, config)
                bundle = self.moved() / "X.utm"
                for machine in (bundle, bundle / "config.plist"):
                    for number, expected in enumerate(disks):
                        self.assert_bytes(f"{machine}#drive{number}", expected)
                    info = json.loads(run(VDISK, "info", "--json", machine))
                    self.assertEqual([info[key] for key in ("machine", "machine_id", "memory_size", "processors", "firmware")], [name, "U-1", 2048 * MIB, 2, "UEFI"])
                    self.assertEqual(info["network_adapters"][0]["mac_address"], "52:54:00:12:34:56")
                    self.assertEqual([(drive["name"], drive["kind"]) for drive in info["drives"]], [("drive0", "disk"), ("drive1", "disk"), ("drive2", "CD-ROM")])
                self.host.mkdir()

    def test_what_is_not_read_of_utm_is_said(self):
        self.utm("Data", {"Backend": "Apple", "ConfigurationVersion": 4, "Drive": [{"ImageName": "two.img"}], "System": {}})
        bundle = self.host / "X.utm"
        self.assert_bytes(bundle, (bundle / "Data/two.img").read_bytes())
        (bundle / "Data/two.img").write_bytes(b"shdw" + bytes(MIB - 4))
        code, _, said = outcome(VDISK, "hash", f"{bundle}#drive0")
        self.assertEqual(code, 2)
        self.assertIn("ASIF", said)
        config = plistlib.loads((bundle / "config.plist").read_bytes())
        (bundle / "config.plist").write_bytes(plistlib.dumps(config, fmt=plistlib.FMT_BINARY))
        code, _, said = outcome(VDISK, "ls", bundle)
        self.assertEqual(code, 2)
        self.assertIn("binary property list", said)

    def test_what_was_found_where_is_told(self):
        (self.folder / "images").mkdir()
        (self.folder / "images/disk.raw").write_bytes(self.random_bytes(4096))
        machine = self.plain_machine("/var/lib/libvirt/images/disk.raw")
        disk = json.loads(run(VDISK, "ls", "--json", machine))["disks"][0]
        self.assertEqual(disk["found_at"], str(self.folder / "images/disk.raw"))
        self.assertEqual(disk["found"], "where the image's tree has it")

    def test_every_disk_tells_the_chain_of_its_files(self):
        self.vmx(lambda name: name)
        machine = self.host / "vmfs/volumes/5f0e-ds1/mailserver/mailserver.vmx"
        disks = json.loads(run(VDISK, "ls", "--json", machine))["disks"]
        for disk in disks:
            told = json.loads(run("qemu-img", "info", "--backing-chain", "--output=json", disk["found_at"]))
            self.assertEqual([os.path.basename(each["file"]) for each in disk["chain"]], [os.path.basename(each["filename"]) for each in told], disk["name"])
            self.assertEqual({each["format"] for each in disk["chain"]}, {"vmdk"})
        self.assertEqual(max(len(disk["chain"]) for disk in disks), 4)
        self.assertIn(b"mailserver-000001.vmdk, over ", run(VDISK, "ls", machine))
        (machine.parent / "mailserver-000001.vmdk").unlink()
        disk = json.loads(run(VDISK, "ls", "--json", machine, status=1))["disks"][0]
        self.assertEqual(len(disk["chain"]), 2)
        self.assertIn("mailserver-000001.vmdk", disk["chain_breaks_off"])

    def test_a_key_is_handed_on_to_the_image(self):
        image, raw = self.folder / "locked.qcow2", self.folder / "model.raw"
        raw.write_bytes(self.random_bytes(MIB))
        secret = self.folder / "key"
        secret.write_bytes(b"a secret")
        (self.folder / "other").write_bytes(b"another")
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "--object", f"secret,id=s,file={secret}", "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", raw, image)
        machine = self.plain_machine(image, "qcow2")
        self.assert_bytes(f"{machine}#vda,key-file={secret}", raw.read_bytes())
        self.assert_bytes(f"{machine}#device=vda,key-file={secret}", raw.read_bytes())
        for typed, expected in ((f"{machine}#vda", "key-file"), (f"{machine}#vda,key-file={self.folder}/other", "passphrase")):
            code, out, said = outcome(VDISK, "export", typed, "-")
            self.assertEqual((code, out), (2, b""), said)
            self.assertIn(expected, said)
        self.assertEqual(json.loads(run(VDISK, "ls", "--json", machine))["disks"][0]["size"], MIB)
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image)
        code, _, said = outcome(VDISK, "hash", f"{machine}#vda,key-file={secret}")
        self.assertEqual(code, 2)
        self.assertIn("not encrypted", said)

    def test_a_missing_disk_is_listed_and_told(self):
        machine = self.plain_machine("/gone/disk.raw")
        listed = json.loads(run(VDISK, "ls", "--json", machine, status=1))["disks"][0]
        self.assertNotIn("size", listed)
        self.assertTrue(listed["missing"])
        self.assertRegex(run(VDISK, "ls", machine, status=1).decode(), r"vda +- +missing")
        (self.folder / "disk.qcow2").write_bytes(b"QFI\xfb" + bytes(4096))
        listed = json.loads(run(VDISK, "ls", "--json", self.plain_machine("/gone/disk.qcow2", "qcow2"), status=1))["disks"][0]
        self.assertNotIn("missing", listed)
        self.assertNotIn("size", listed)
        machine = self.plain_machine("/gone/disk.raw")
        code, out, said = outcome(VDISK, "ls", machine)
        self.assertEqual(code, 1)
        self.assertIn(b"vda", out)
        self.assertIn("not found", said)
        self.assertEqual(outcome(VDISK, "hash", f"{machine}#vda")[0], 2)

    def test_names_that_lead_out_obey_the_gate(self):
        os.mkfifo(self.folder / "fifo")
        (self.folder / "secret").write_bytes(bytes(4096))
        for name in ("/dev/null", "/dev/zero", "fifo", "/proc/self/mem", ".", "", "m.xml"):
            with self.subTest(name):
                code, _, said = outcome(VDISK, "hash", f"{self.plain_machine(name, 'raw' if name != 'm.xml' else '')}", timeout=20)
                self.assertEqual(code, 2, said)
        inner = self.folder / "inner"
        inner.mkdir()
        for name in (str(self.folder / "secret"), "../secret"):
            machine = inner / "m.xml"
            machine.write_bytes(self.plain_machine(name).read_bytes())
            for policy, expected in (("any", 0), ("same-dir", 2), ("deny", 2)):
                self.assertEqual(outcome(VDISK, "hash", machine, env={**os.environ, "VDISK_REFERENCES": policy})[0], expected, f"{name} {policy}")

    def test_machines_that_are_traps_end_soon(self):
        bomb = '<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">' + "".join(f'<!ENTITY {chr(98 + i)} "{"&" + chr(97 + i) + ";"} {"&" + chr(97 + i) + ";"}">' for i in range(20))
        bomb += ']><domain type="kvm"><name>&u;</name><devices/></domain>'
        large = b'<domain type="kvm">' + b" " * 100_000_000
        deep = "<domain>" + "<a>" * 300_000
        circle = 'config.version = "8"\nscsi0:0.fileName = "other.vmx"\nscsi0:0.present = "TRUE"\n'
        for name, content in (("bomb.xml", bomb.encode()), ("large.xml", large), ("deep.xml", deep.encode()), ("other.vmx", circle.encode()),
                              ("large.vmx", b'config.version = "8"\n' + b"a = b\n" * 15_000_000), ("large.conf", b"cores: 1\nmemory: 2\n" + b"#\n" * 40_000_000)):
            with self.subTest(name):
                (self.folder / name).write_bytes(content)
                code, _, said = outcome("bash", "-c", 'ulimit -v 4000000; exec "$0" info "$1"', VDISK, self.folder / name, timeout=60)
                self.assertIn(code, (0, 1, 2), said)
                if name.startswith("large"):
                    self.assertEqual(code, 2)
                    self.assertIn("the limit", said)

    def test_an_encrypted_machine_is_said_to_be_so(self):
        machine = self.folder / "m.vmx"
        machine.write_text('.encoding = "UTF-8"\nconfig.version = "8"\ndisplayName = "secret"\nencryption.keySafe = "vmware:key/list/x"\nencryption.data = "abcd"\n')
        info = json.loads(run(VDISK, "info", "--json", machine))
        self.assertIn("settings", info["machine_encrypted"])
        self.assertEqual(info["machine"], "secret")

    def test_reference_files_and_tsks_programs_take_a_machine(self):
        drives, folder = self.vmx(lambda name: name)
        machine = self.moved() / folder / "mailserver.vmx"
        run(VDISK, "ref", "-d", self.folder / "refs", machine)
        run(VDISK, "ref", "--snapshots", "-d", self.folder / "refs", machine)
        self.assertEqual(len(list((self.folder / "refs").iterdir())), 8)
        for reference in (self.folder / "refs").iterdir():
            run(VDISK, "hash", reference)
        name = next(path for path in (self.folder / "refs").iterdir() if "scsi0_0.vdisk" in path.name)
        self.assert_bytes(name, drives["scsi0:0"][-1])


if __name__ == "__main__":
    harness.main()
