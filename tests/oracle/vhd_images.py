#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""VHD and VHDX files of many writers, and such files of qemu-img. VDISK_DISK_FIXTURES names a folder of further cases."""
import disk_cases
import harness
import tsk
from disk_cases import MIB
from harness import VDISK, outcome, run


def cases():
    return disk_cases.cases([harness.FIXTURES / "disks"], ("vhd", "vhdx"))


class Manifest(disk_cases.Cases):
    def test_every_case(self):
        for folder, case in cases():
            with self.subTest(case["name"]):
                image = self.unpack(folder, case)
                if case.get("refused"):
                    self.check_refused(image, image.name)
                else:
                    self.check_disk(image, case)
                for command in ("info", "audit", "ls"):
                    status, _, said = outcome(VDISK, command, image, timeout=300)
                    self.assertIn(status, (0, 1, 2), said)

    def test_files_in_chains_by_the_sleuth_kit(self):
        tsk.require_plugin()
        for number, (folder, case) in enumerate(cases()):
            # The Sleuth Kit alone reads other bytes of each of these, or none.
            own = len(case["files"]) > 1 or "sector_size" in case or "log" in case["name"]
            if "file_systems" not in case or not own:
                continue
            image = self.unpack(folder, case)
            sector_size = case.get("sector_size", 512)
            self.check_file_systems(image, case, [[], ["-i", case["format"]]][number % 2])
            stat = tsk.with_plugin("img_stat", image).decode()
            self.assertRegex(stat, rf"Sector size:\s+{sector_size}\b")


class Qemu(disk_cases.Qemu):
    def test_vpc(self):
        for size in (3 * MIB + 5 * 512, 17 * MIB, 40 * MIB):
            raw = self.disk(size)
            for subformat in ("dynamic", "fixed"):
                for force in ("on", "off"):
                    with self.subTest(size=size, subformat=subformat, force=force):
                        self.check(raw, f"subformat={subformat},force_size={force}", "vpc", may_be_longer=force == "off")

    def test_vhdx(self):
        for size in (3 * MIB + 5 * 512, 17 * MIB, 40 * MIB):
            raw = self.disk(size)
            for subformat in ("dynamic", "fixed"):
                for block in ("1M", "2M", "16M"):
                    for zero in ("on", "off"):
                        with self.subTest(size=size, subformat=subformat, block=block, zero=zero):
                            self.check(raw, f"subformat={subformat},block_size={block},block_state_zero={zero},log_size=2M", "vhdx")

    def test_an_overlay_on_each(self):
        for form, options in (("vpc", "force_size=on"), ("vhdx", "block_size=1M")):
            self.check_overlays(form, options)

    def test_a_compressed_fixed_disk_is_found_by_its_end(self):
        raw = self.disk(2 * MIB)
        image, out = self.folder / "disk.vhd", self.folder / "out.raw"
        run("qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size=on", raw, image)
        run("gzip", "-q", image)
        run(VDISK, "export", "--force", f"{image}.gz", out)
        self.assert_same_file(out, raw)


if __name__ == "__main__":
    harness.main()
