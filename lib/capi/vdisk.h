/* SPDX-License-Identifier: Apache-2.0 */
/**
 * libvdisk: virtual disks of hypervisors (qcow2, vdi, vma, ...), read only.
 *
 *     vdisk_disk *disk = vdisk_open("backup.vma.zst#drive-scsi0", NULL);
 *     if (disk == NULL) { fprintf(stderr, "%s\n", vdisk_last_error()); return 1; }
 *     int64_t got = vdisk_read(disk, buffer, sizeof buffer, offset);
 *     vdisk_close(disk);
 *
 * Nothing here writes to an image or ends the program, nor prints, unless $VDISK_STATS asks for it. What can't be read
 * is an error for exactly its range, never zeros and never other bytes.
 *
 * Threads: a vdisk_file or vdisk_disk may be used by any number of threads at once; closing it must be the last use.
 * A read that takes long (a slow file, a long run of compressed bytes) holds up others where they need the same bytes,
 * or where a compressed stream has as many decoders at work as memory is meant for: 3, and 1 if its window is above 16
 * MiB. The last error is one a thread. Strings are UTF-8 with control characters written as \xNN, ready to be shown.
 *
 * fork(): a child may go on with the files and disks that it finds, and closes its own; they work as they do in the
 * parent, whatever the parent's threads were at, but read in the thread that asks, without others that read ahead. It
 * must not use what another thread was opening or closing at that moment. Where a progress function forks, the opening
 * may fail in the child with VDISK_ERROR_IO.
 *
 * Compatibility: functions, structures and numbers of this header keep their meaning as long as the library's soname
 * (libvdisk.so.1) stays. New kinds may be added to the enumerations: each says what to make of an unknown one.
 */
#ifndef VDISK_H
#define VDISK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The library's version, such as "0.1.0". Never NULL. */
const char* vdisk_version(void);

/* --- Errors --- */

/** What a caller can do something about. An unknown kind: treat it as VDISK_ERROR_CORRUPT. */
enum vdisk_error_kind {
    VDISK_ERROR_NONE = 0,
    VDISK_ERROR_NOT_THIS_FORMAT = 1, /**< not of the format that was asked for, or of none */
    VDISK_ERROR_UNSUPPORTED = 2,     /**< a legal feature that this library can't read */
    VDISK_ERROR_CORRUPT = 3,         /**< the bytes contradict the format's rules */
    VDISK_ERROR_LIMIT_EXCEEDED = 4,  /**< legal, but more than this library agrees to handle */
    VDISK_ERROR_TRUNCATED = 5,       /**< the file ends before what it promises */
    VDISK_ERROR_IO = 6,              /**< the operating system refused */
    VDISK_ERROR_USAGE = 7,           /**< the caller asked for something that does not exist */
    VDISK_ERROR_CANCELLED = 8,       /**< the progress function said stop */
    VDISK_ERROR_NO_MEMORY = 9
};

/** What the last function that failed in this thread said: one line, naming file, field and value (only a list of
   disks has more); "" if none failed yet. Stays valid until another one fails in this thread. Success leaves it alone:
   ask only after a failure. */
const char* vdisk_last_error(void);
enum vdisk_error_kind vdisk_last_error_kind(void);

/* --- Opening --- */

/** A file of a known format and the disks in it. */
typedef struct vdisk_file vdisk_file;
/** One disk that can be read, with its chain of parents. */
typedef struct vdisk_disk vdisk_disk;

/** Told of long work, such as the first opening of a compressed archive; returns 0 to go on, anything else to have the
   work end with VDISK_ERROR_CANCELLED. It is called from the thread that called the library. */
typedef int (*vdisk_progress)(void* data, uint64_t done, uint64_t total);

/** How to open; all zero but `struct_size` is the same as no options. */
typedef struct vdisk_open_options {
    size_t struct_size; /**< sizeof(vdisk_open_options); what an older library does not know of it must be 0 */
    const char* format; /**< a format's name, such as "raw", which is never detected; NULL: detect it */
    vdisk_progress
        progress;        /**< may be NULL; must be callable until the file and all disks opened from it are closed */
    void* progress_data; /**< given to `progress` */
    size_t threads; /**< that may decompress for one disk, the reader's own included, at most 64; 0: $VDISK_THREADS,
                       or else as many as there are processors for this process */
} vdisk_open_options;

/** Opens PATH or PATH#SELECTOR, as the tools take it, and parses the file's metadata; follows no parent. Files that an
   image names are opened as $VDISK_REFERENCES allows (deny, same-dir, any). Of the bytes of a
   compressed stream of which its checksum says that something in them is altered, those that are surely in their place
   are read and the others are an error; $VDISK_UNVERIFIED "refuse" makes all of them one, "read" none. What takes a
   pass over the whole file is remembered in $VDISK_CACHE_DIR (else the user's cache folder; "none": nowhere). `options`
   may be NULL. Returns NULL on an error. */
vdisk_file* vdisk_file_open(const char* path, const vdisk_open_options* options);

/** Bytes that a program has in its own way: an image inside another one, or behind a file-like object. All members but
 * those that may be NULL must be set.
 *
 * `read` is called from any thread, from several at once, also while the function that opens is at work, and until
 * `close` is. It must not call back into the disk that it serves. What it says of the same bytes must stay the same. */
typedef struct vdisk_source {
    size_t struct_size; /**< sizeof(vdisk_source) */
    const char* name;   /**< what messages call it; its end (.raw, .dd, .img) may say that it is a raw disk */
    uint64_t size;      /**< bytes */
    /** Fills `buffer` with `count` (> 0) bytes from `offset`; none of them is past the end. Returns `count`, or
       anything else where a byte can't be read, which is then VDISK_ERROR_IO for who wants it. */
    int64_t (*read)(void* data, void* buffer, size_t count, uint64_t offset);
    void (*close)(void* data); /**< called once, when nothing reads any more; may be NULL */
    void* data;                /**< given to both */
} vdisk_source;

/** As vdisk_file_open(), of `source`, which is copied. `selector` is what would stand behind '#'; NULL: nothing. Files
   that the image names, and those that lie beside images (a parent, a descriptor), are not opened, but where `selector`
   names one (backing=, parent=, data-file=, key-file=). No index of it is kept. Returns NULL on an error. `close` is
   called when the file and all its disks are closed; after an error, before this function returns, unless `source`
   itself is refused (VDISK_ERROR_USAGE). */
vdisk_file* vdisk_file_open_source(const vdisk_source* source, const char* selector, const vdisk_open_options* options);

/** The name of the format that the file at PATH (PATH#SELECTOR) surely has, whether or not it can be opened; "" where
   none is sure, as of a raw disk. Of a reference file "reference". Parses no metadata and opens no other file but the
   parts of one that was cut. NULL on an error: of a file that can't be read, and VDISK_ERROR_NOT_THIS_FORMAT where two
   formats are sure. Valid as long as the library is loaded. */
const char* vdisk_identify(const char* path);

/** The same of bytes that a program has; does not call `close`. */
const char* vdisk_identify_source(const vdisk_source* source);

/** Disks opened from the file live on. NULL is allowed. */
void vdisk_file_close(vdisk_file* file);

/** The format's name, such as "qcow2"; "" if `file` is NULL. Valid as long as the library is loaded. */
const char* vdisk_file_format(const vdisk_file* file);

/** An unknown kind: treat it as VDISK_KIND_DEVICE. */
enum vdisk_disk_kind {
    VDISK_KIND_ACTIVE = 0,   /**< the state that the guest saw last */
    VDISK_KIND_SNAPSHOT = 1, /**< an earlier one, kept inside the file */
    VDISK_KIND_DEVICE = 2,   /**< one of several disks of a machine */
    VDISK_KIND_MEMORY = 3    /**< a machine's saved state: memory and devices */
};

/** What is known of a disk in a file. The strings are never NULL and stay valid until the file is closed. */
typedef struct vdisk_disk_info {
    enum vdisk_disk_kind kind;
    const char* name;        /**< "" for the active state; two disks may have the same */
    const char* id;          /**< a second name; may be "" */
    const char* description; /**< one line for people */
    uint64_t size;           /**< bytes */
} vdisk_disk_info;

/** How many disks the file holds; 0 if it has none, as a backup of configurations alone, or if `file` is NULL. */
size_t vdisk_file_disk_count(const vdisk_file* file);

/** Fills `*info` for disk number `index`, counted from 0. Returns 0, or -1 on an error. */
int vdisk_file_disk_info(const vdisk_file* file, size_t index, vdisk_disk_info* info);

/** The number of the disk that the path's selector names; without a selector the one that is meant then. -1 if there is
   no such disk or more than one: the error lists what there is, a line each. */
int64_t vdisk_file_selected(const vdisk_file* file);

/** Opens disk number `index` with its chain of parents. NULL on an error. */
vdisk_disk* vdisk_file_open_disk(const vdisk_file* file, size_t index);

/** What has to be said of how the disk came together, a line each, every line with its end; "" if nothing. Lines that
 * begin with "warning: " mean that bytes may be others than those that the guest saw, "note: " how something was
 * decided. UTF-8. Owned by `disk`, lives as long. */
const char* vdisk_remarks(const vdisk_disk* disk);

/** vdisk_file_open(), vdisk_file_selected() and vdisk_file_open_disk() in one. */
vdisk_disk* vdisk_open(const char* path, const vdisk_open_options* options);

/** NULL is allowed. */
void vdisk_close(vdisk_disk* disk);

/* --- Reading --- */

/** Bytes of the disk, as the image says: of most formats whole sectors, but a qcow2 may say any number, of which guests
   see the whole sectors alone. 0 if `disk` is NULL. */
uint64_t vdisk_size(const vdisk_disk* disk);

/** Reads `count` bytes from `offset`. Returns how many were read, fewer than asked only at the end of the disk (0 at or
   past it), or -1 on an error: if a single byte can't be read, all of `buffer` is unspecified and must not be used. A
   read that leaves that range out works; vdisk_extent_at() helps to find it, halving the range always does. */
int64_t vdisk_read(const vdisk_disk* disk, void* buffer, size_t count, uint64_t offset);

/** Where a run of the disk's bytes comes from. An unknown kind: treat it as VDISK_EXTENT_STORED. */
enum vdisk_extent_kind {
    VDISK_EXTENT_STORED = 0,    /**< bytes in a file */
    VDISK_EXTENT_PACKED = 1,    /**< bytes in a file, compressed */
    VDISK_EXTENT_ZERO = 2,      /**< nothing is stored: reads as zeros */
    VDISK_EXTENT_UNREADABLE = 3 /**< damaged metadata: reading any byte of it is an error */
};

typedef struct vdisk_extent {
    enum vdisk_extent_kind kind;
    uint32_t depth;  /**< the layer it was found in: 0 the disk itself, 1 its parent, ... */
    uint64_t offset; /**< on the disk, as asked for */
    uint64_t length; /**< bytes, > 0 */
} vdisk_extent;

/** Fills `*extent` with the run from `offset`, at most `wanted` (> 0) bytes long. Reads tables, and data only where an
   archive has them twice and they must be compared. Neighbours may be of the same kind; an extent that is not
   VDISK_EXTENT_UNREADABLE can still fail to be read (a bad sector, a bad checksum). Returns 0, or -1 on an error, also
   for an `offset` at or past the end of the disk. */
int vdisk_extent_at(const vdisk_disk* disk, uint64_t offset, uint64_t wanted, vdisk_extent* extent);

#ifdef __cplusplus
}
#endif

#endif
