// SPDX-License-Identifier: Apache-2.0
/// What a file may ask of us, in one place. A count from a file meets one of these before it meets an allocator.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vdisk {

struct Limits {
    /// Layers of one disk, the image itself included. VirtualBox and libvirt warn at some 30; QEMU has no limit but its
    /// stack. 200 is beyond every chain seen and keeps a hostile one from costing 10,000 open files.
    std::size_t chain_depth = 200;

    /// Bytes of one table that is kept in memory whole (L1 table, block map). A 32 MiB L1 is what QEMU itself
    /// accepts (QCOW_MAX_L1_SIZE): 4 Mi entries, 2 EiB of disk with 64 KiB clusters.
    std::size_t table_bytes = 32U << 20;

    /// Bytes of a VMDK's grain tables that are looked at when it is opened, for grains that two entries claim: those of
    /// 128 GiB of disk at 64 KiB grains, some 10 ms of reading. An audit looks at all.
    std::size_t survey_bytes = 8U << 20;

    /// Bytes of a VMDK's descriptor, QEMU's limit and as much again, and extents that it may name: 16 TiB in files of 2
    /// GiB. Each has a file descriptor.
    std::size_t descriptor_bytes = 2U << 20;
    std::size_t extents = 8192;

    /// Bytes of metadata slices (L2 tables) kept per image: covers 64 GiB of disk at 64 KiB clusters.
    std::size_t metadata_cache_bytes = 8U << 20;

    /// Bytes of expanded (decompressed) clusters kept per image.
    std::size_t cluster_cache_bytes = 16U << 20;

    /// Threads that may decompress for one disk, the reader's own included; 0: as many as processors() says.
    std::size_t threads = 0;

    /// Files whose headers a search for a parent reads at most: a folder with 200 snapshots of 20 disks has 4000, and
    /// reading so many takes a tenth of a second.
    std::size_t search_files = 4096;

    /// Bytes of a machine's settings file. In VirtualBox's each snapshot adds some 10 KiB, so that the deepest chain
    /// has 2 MiB. A parsed one takes up to 25 times as much.
    std::size_t registry_bytes = 8U << 20;

    /// Disks and other media that one machine may name, all its checkpoints together, and checkpoints: VirtualBox takes
    /// 250 snapshots, of 30 disks each that is half of it. What is told of each takes some kilobytes. Of a cluster the
    /// disks of all machines.
    std::size_t machine_media = 16384;

    /// Bytes of an SQLite database, and of its log: a cluster's whole configuration has some megabytes, and Proxmox
    /// itself keeps no more than 128 MiB. Going through one costs up to twice as much memory.
    std::uint64_t sqlite_bytes = 128U << 20;

    /// Findings of one kind that an audit keeps the text of: more than anyone reads; the rest are counted.
    std::size_t audit_findings = 1000;

    /// Ranges of disks that one finding names: a cluster that is read at more places is the work of a forger.
    std::size_t finding_ranges = 16;

    /// Bytes that an audit may keep about the clusters of a file: at qcow2's 5 bytes a cluster 2 TiB of file with
    /// clusters of 64 KiB, at VDI's 4 bytes 40 TiB with blocks of 1 MiB.
    std::size_t audit_bytes = 160U << 20;

    /// Separate ranges of a file that an audit finds nothing to refer to: 32 MiB of them.
    std::size_t audit_ranges = 2U << 20;

    /// Bytes that an audit looks at to see whether there is anything in what nothing refers to; what lies behind counts
    /// as if there were. A second of reading.
    std::uint64_t audit_look_bytes = std::uint64_t{1} << 30;

    /// Bytes of a VHDX's log: Hyper-V makes it 1 MiB long, QEMU as long as it is told. What one says takes up to four
    /// times as much.
    std::uint64_t log_bytes = 64U << 20;

    /// Bytes of the map of one archive's clusters: 12 a run of up to 59 stored ones, 16 a run of zeros, 8 an extent if
    /// it is not compressed: enough for 18 TiB in order (30 if compressed), 512 GiB in none. Making it takes twice as
    /// much for a moment. A few megabytes of compressed headers could ask for any number of runs.
    std::uint64_t cluster_map_bytes = 96U << 20;

    /// Bytes of all indexes that are kept between processes. An index takes at most 1.5 % of a compressed archive, so
    /// this is enough for some 270 GB of them.
    std::uint64_t index_cache_bytes = std::uint64_t{4} << 30;

    /// Snapshots in one file, as QEMU limits them (QCOW_MAX_SNAPSHOTS), and bytes of their table with all names. QEMU
    /// takes a table of 64 MiB; but in 12 MiB each of so many snapshots can have a name of 140 bytes, and what is shown
    /// of a name takes several times its length.
    std::uint32_t snapshots = 65536;
    std::uint64_t snapshot_table_bytes = 12U << 20;

    /// Bitmaps in one file, as QEMU limits them (QCOW2_MAX_BITMAPS).
    std::uint32_t bitmaps = 65535;

    /// Iterations of PBKDF2 that trying one passphrase may take, all key slots together. cryptsetup spends two seconds
    /// a slot, a few million iterations on the fastest machines of today; this is minutes, which a person still waits
    /// for.
    std::uint64_t key_iterations = std::uint64_t{1} << 27;

    /// Bytes of memory that scrypt may take for a passphrase, and n * r * p: Proxmox takes 64 MiB and 2^19, and refuses
    /// more than 1 GiB. So much work is 20 seconds.
    std::uint64_t scrypt_bytes = (std::uint64_t{1} << 30) + (1U << 20);
    std::uint64_t scrypt_work = std::uint64_t{1} << 25;

    /// Bytes that one chunk of a backup store expands to, and that a small file there does: what Proxmox Backup Server
    /// takes. Its own disks have chunks of 4 MiB.
    std::uint64_t chunk_bytes = 16U << 20;

    /// Chunks of one index: 128 TiB of disk in chunks of 4 MiB. All entries are read when a disk is opened; so many
    /// take a second.
    std::uint64_t backup_chunks = 1U << 25;

    /// Entries of one folder of a datastore, and indexes that one listing of it has: ten years of nightly backups of 70
    /// machines. Each listed disk takes about a kilobyte.
    std::size_t folder_entries = 1U << 20;
    std::size_t backup_indexes = 1U << 18;

    /// Bytes of the catalog of a container's archive, and of what is listed of it: some 40 a file.
    std::uint64_t catalog_bytes = 64U << 20;

    /// Bytes of a backup's manifest: some 200 a file. A parsed one takes up to fifty times as much.
    std::uint64_t manifest_bytes = 1U << 20;

    /// Bytes of a key file: cryptsetup's own limit.
    std::uint64_t key_file_bytes = 8U << 20;

    /// Bytes of a reference file: it names one image and at most four files more, each within name_bytes. No disk is so
    /// small, so that one whose guest wrote a reference into its first sectors is still a disk.
    std::size_t reference_bytes = 64U << 10;

    /// Characters of a file name that an image names. PATH_MAX is 4096 on Linux; qcow2 itself allows 1023.
    std::size_t name_bytes = 4096;

    /// Bytes that a compressed stream may make us look back: `zstd -d` itself refuses more without a switch, and it is
    /// half of what we want to take at all.
    std::size_t stream_window_bytes = 128U << 20;

    /// Plain bytes that a short read of a compressed stream may have to decode before its own: some 15 ms for zstd.
    /// Twice as many restart points would double the index. More where a zstd window is longer than a quarter of it, so
    /// that the index stays small.
    std::size_t stream_decode_bytes = 16U << 20;

    /// What is wrong with a compressed stream, so many lines of it; the rest is counted. Nobody reads more, and a small
    /// file can have a damaged part in every twenty bytes.
    std::size_t stream_findings = 100;

    /// Compressed bytes that lie between one segment's first and last. lzop's largest block has 64 MiB; what else lies
    /// between (skippable frames, empty members) may be of any size.
    std::uint64_t stream_stored_bytes = 80U << 20;

    /// Compressed bytes of one zstd frame that may give no plain byte, one behind the other: no encoder writes a
    /// hundredth of it.
    std::uint64_t stream_empty_bytes = 16U << 20;

    /// Compressed bytes that are read to see what a stream holds. An encoder's first block is shorter, and as much of
    /// the smallest parts there are takes 20 ms.
    std::uint64_t stream_look_bytes = 1U << 20;

    /// Bytes of memory for a compressed stream's decoded segments, five of the usual 8 MiB, and so many more for each
    /// thread where several decode ahead, their decoders included: what one decodes as one has at most
    /// stream_decode_bytes. With all else that a process and a thread take, 64 MiB and 16 MiB a thread.
    std::size_t stream_cache_bytes = 40U << 20;
    std::size_t stream_thread_bytes = 31U << 19;
};

} // namespace vdisk
