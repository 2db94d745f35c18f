// SPDX-License-Identifier: Apache-2.0
#include "open/known_files.hpp"

#include "base/zeros.hpp"

#include <algorithm>
#include <array>

namespace vdisk {
namespace {

using namespace std::string_view_literals;
using Content = KnownFile::Content;
using From = Signature::From;

constexpr auto kHvconfig = "hvconfig reads it"sv;
constexpr auto kUnpack = "unpack it first"sv;
constexpr auto kNotThere = "the file that it stands for is elsewhere"sv;
constexpr auto kSleuthKit = "The Sleuth Kit reads it by itself"sv;

bool is_xml(std::span<const std::byte> head) {
    return begins_as_text(head, "<?xml");
}
bool is_html(std::span<const std::byte> head) {
    return begins_as_text(head, "<!doctype html") || begins_as_text(head, "<html");
}

// The first row that fits is what a file is: what is said first is more than what is said later.
constexpr std::array kKnown{
    // Disks of hypervisors.
    KnownFile{.what = "a Bochs disk", .signature = {.magic = "Bochs Virtual HD Image"sv}},
    // Forensic images.
    KnownFile{.what = "an Expert Witness (E01) image",
              .signature = {.magic = "EVF\x09\x0D\x0A\xFF\0"sv},
              .advice = kSleuthKit},
    KnownFile{.what = "an Expert Witness 2 (Ex01) image", .signature = {.magic = "EVF2\x0D\x0A\x81\0"sv}},
    KnownFile{.what = "an Expert Witness logical (L01) image", .signature = {.magic = "LVF\x09\x0D\x0A\xFF\0"sv}},
    KnownFile{.what = "an Expert Witness 2 logical (Lx01) image", .signature = {.magic = "LEF2\x0D\x0A\x81\0"sv}},
    KnownFile{.what = "an AFF image", .signature = {.magic = "AFF10\r\n\0"sv}, .advice = kSleuthKit},
    KnownFile{.what = "an AFF4 image", .signature = {.magic = "container.description"sv, .offset = 30}},
    KnownFile{.what = "an AD1 logical image", .signature = {.magic = "ADSEGMENTEDFILE"sv}},
    KnownFile{.what = "a partclone image", .signature = {.magic = "partclone-image"sv}, .advice = "restore it first"},
    KnownFile{
        .what = "an ntfsclone image", .signature = {.magic = "\0ntfsclone-image"sv}, .advice = "restore it first"},
    KnownFile{.what = "a Windows imaging (WIM) file", .signature = {.magic = "MSWIM\0\0\0"sv}},
    KnownFile{.what = "an Android sparse image", .signature = {.magic = "\x3A\xFF\x26\xED"sv}, .advice = kUnpack},
    // Backups.
    KnownFile{.what = "a blob or chunk of Proxmox Backup Server",
              .signature = {.magic = "\x42\xAB\x38\x07\xBE\x83\x70\xA1"sv}},
    KnownFile{.what = "a blob or chunk of Proxmox Backup Server, compressed",
              .signature = {.magic = "\x31\xB9\x58\x42\x6F\xB6\xA3\x7F"sv}},
    KnownFile{.what = "a blob or chunk of Proxmox Backup Server, encrypted",
              .signature = {.magic = "\x7B\x67\x85\xBE\x22\x2D\x4C\xF0"sv}},
    KnownFile{.what = "a blob or chunk of Proxmox Backup Server, compressed and encrypted",
              .signature = {.magic = "\xE6\x59\x1B\xBF\x0B\xBF\xD8\x0B"sv}},
    KnownFile{.what = "a catalog of Proxmox Backup Server",
              .signature = {.magic = "\x91\xFD\x60\xF9\xC4\x67\x58\xD5"sv}},
    // Machines without their disks.
    KnownFile{.what = "a Hyper-V configuration or saved state",
              .signature = {.magic = "\x14\x20\x28\x01"sv},
              .advice = kHvconfig},
    KnownFile{.what = "a Hyper-V guest state", .signature = {.magic = "GUESTRTS"sv}, .advice = kHvconfig},
    KnownFile{.what = "a saved state of VirtualBox", .signature = {.magic = "\x7FVirtualBox SavedState"sv}},
    KnownFile{.what = "a saved state of QEMU", .signature = {.magic = "QEVM"sv}},
    KnownFile{.what = "a saved state of libvirt", .signature = {.magic = "LibvirtQemudSave"sv}},
    KnownFile{.what = "a memory image (LiME)", .signature = {.magic = "EMiL"sv}},
    KnownFile{.what = "a memory dump of Windows", .signature = {.magic = "PAGEDUMP"sv}},
    KnownFile{.what = "a memory dump of Windows", .signature = {.magic = "PAGEDU64"sv}},
    // Compressed, packed and enciphered files.
    KnownFile{.what = "compressed with zstd", .signature = {.magic = "\x28\xB5\x2F\xFD"sv}, .advice = kUnpack},
    KnownFile{.what = "compressed with gzip", .signature = {.magic = "\x1F\x8B\x08"sv}, .advice = kUnpack},
    KnownFile{.what = "compressed with lzop", .signature = {.magic = "\x89LZO\0\r\n\x1A\n"sv}, .advice = kUnpack},
    KnownFile{.what = "compressed with xz",
              .signature = {.magic = "\xFD"
                                     "7zXZ\0"sv},
              .advice = kUnpack},
    KnownFile{.what = "compressed with bzip2", .signature = {.magic = "1AY&SY"sv, .offset = 4}, .advice = kUnpack},
    KnownFile{.what = "compressed with lz4", .signature = {.magic = "\x04\x22\x4D\x18"sv}, .advice = kUnpack},
    KnownFile{.what = "compressed with lz4", .signature = {.magic = "\x02\x21\x4C\x18"sv}, .advice = kUnpack},
    KnownFile{.what = "a tar archive, such as a container's backup",
              .signature = {.magic = "ustar"sv, .offset = 257, .least_size = 512},
              .advice = "unpack it first, or '#format=ova' behind its name if it holds a machine's disks"},
    KnownFile{.what = "a zip archive", .signature = {.magic = "PK\x03\x04"sv}, .advice = kUnpack},
    KnownFile{.what = "an empty zip archive", .signature = {.magic = "PK\x05\x06"sv}},
    KnownFile{.what = "a 7z archive", .signature = {.magic = "7z\xBC\xAF\x27\x1C"sv}, .advice = kUnpack},
    KnownFile{.what = "a RAR archive", .signature = {.magic = "Rar!\x1A\x07"sv}, .advice = kUnpack},
    KnownFile{.what = "a cabinet archive", .signature = {.magic = "MSCF\0\0\0\0"sv}, .advice = kUnpack},
    KnownFile{.what = "encrypted with OpenPGP (text)", .signature = {.magic = "-----BEGIN PGP"sv}},
    KnownFile{.what = "encrypted with OpenPGP", .signature = {.magic = "\x85\x01\x0C\x03"sv}},
    KnownFile{.what = "encrypted with OpenPGP", .signature = {.magic = "\x85\x01\x8C\x03"sv}},
    KnownFile{.what = "encrypted with OpenPGP", .signature = {.magic = "\x85\x02\x0C\x03"sv}},
    KnownFile{.what = "encrypted with OpenPGP", .signature = {.magic = "\x84\x5E\x03"sv}},
    KnownFile{.what = "encrypted with OpenPGP", .signature = {.magic = "\x8C\x0D\x04"sv}},
    KnownFile{.what = "encrypted with age", .signature = {.magic = "age-encryption.org/v1"sv}},
    KnownFile{.what = "an Apple disk image (DMG)",
              .signature = {.magic = "koly"sv, .offset = 512, .least_size = 512, .from = From::end}},
    KnownFile{.what = "an encrypted Apple disk image (DMG)", .signature = {.magic = "encrcdsa"sv}},
    // Files that are no images at all.
    KnownFile{.what = "a Git LFS pointer", .signature = {.magic = "version https://git-lfs"sv}, .advice = kNotThere},
    KnownFile{.what = "a git-annex pointer", .signature = {.magic = "/annex/objects/"sv}, .advice = kNotThere},
    KnownFile{.what = "an HTML page, such as a server's answer in place of a download", .test = is_html},
    KnownFile{.what = "an SQLite database", .signature = {.magic = "SQLite format 3\0"sv}},
    KnownFile{.what = "an ELF program",
              .signature = {.magic = "\x7F"
                                     "ELF"sv}},
    KnownFile{.what = "a PDF document", .signature = {.magic = "%PDF-"sv}},
    KnownFile{.what = "an XML document", .test = is_xml},
    // What may stand on a raw disk as it is.
    KnownFile{.what = "a LUKS volume", .signature = {.magic = "LUKS\xBA\xBE"sv}, .content = Content::disk},
    KnownFile{
        .what = "an ISO 9660 image", .signature = {.magic = "CD001"sv, .offset = 32769}, .content = Content::disk},
    KnownFile{.what = "a UDF image", .signature = {.magic = "BEA01"sv, .offset = 32769}, .content = Content::disk},
};

bool fits_row(const KnownFile& known, const FirstLook& look) noexcept {
    if (!known.signature.magic.empty() && look.look_for(known.signature) != Sign::present) return false;
    return known.test == nullptr || known.test(look.head());
}

} // namespace

const KnownFile* known_file(const FirstLook& look) noexcept {
    const auto found = std::ranges::find_if(kKnown, [&](const KnownFile& known) { return fits_row(known, look); });
    return found == kKnown.end() ? nullptr : &*found;
}

const KnownFile* known_by_its_end(const FirstLook& look) noexcept {
    const auto found = std::ranges::find_if(
        kKnown, [&](const KnownFile& known) { return known.signature.from == From::end && fits_row(known, look); });
    return found == kKnown.end() ? nullptr : &*found;
}

std::string in_words(const KnownFile& known) {
    return fmt::format("is {}, which is not read here{}{}", known.what, known.advice.empty() ? "" : "; ", known.advice);
}

std::string_view plain_words(const FirstLook& look) noexcept {
    if (look.size() == 0U) return "is empty";
    return all_zeros(look.head()) ? "begins with nothing but zeros" : "";
}

} // namespace vdisk
