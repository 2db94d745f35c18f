/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in libvhdi's place: its functions open every disk that vdisk.h reads, for programs that carry a Sleuth
 * Kit of their own, which nothing can be put in front of, and read VHD by libvhdi.
 *
 * libtsk takes a file that libvhdi_file_open() refuses for a raw disk. So a file that is surely of a known format is
 * opened, though it may be damaged, and then each read fails with the reason.
 *
 * Threads: functions may be called by any number of threads at once, of one file too; opening, closing and freeing a
 * file must be the only use of it at that time. */
#define _GNU_SOURCE
#include "error.h"
#include "exports.h"
#include "libraries.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { kReadFlag = 1, kWriteFlag = 2, kSectorBytes = 512, kAsciiCodepage = 20127, kLookMilliseconds = 50 };

struct door_file {
    vdisk_disk* disk;     /* what is read; NULL: not open, or failed, or the real libvhdi's alone */
    char* failed;         /* why an open file can't be read; NULL if it can */
    char* path;           /* of an open file; NULL if it was not opened by a path */
    const char* format;   /* its name */
    void* real;           /* the real libvhdi's handle of the same file, where it is needed; else NULL */
    int by_real;          /* all is left to `real` */
    _Atomic int64_t at;   /* for libvhdi_file_read_buffer() */
    pthread_mutex_t lock; /* of `real` */
};

/* --- The real libvhdi. */

static void release_real_error(void** error) {
    door_function* const function = door_real("libvhdi_error_free");
    if (function != NULL) ((void (*)(void**))function)(error);
}

/* Calls the real libvhdi's function of that name with these arguments and an error, which is handed over. `failed` if
   there is none. */
#define REAL(type, name, error, types, ...)                                                                            \
    ({                                                                                                                 \
        void* theirs_ = NULL;                                                                                          \
        type(*const function_) types = (type(*) types)door_real(name);                                                 \
        type answer_ = -1;                                                                                             \
        if (function_ == NULL)                                                                                         \
            door_fail(error, kDomainRuntime, kRuntimeMissing, "%s: needs the real libvhdi, which is not here", name);  \
        else answer_ = function_(__VA_ARGS__, &theirs_);                                                               \
        door_adopt(error, &theirs_, release_real_error);                                                               \
        answer_;                                                                                                       \
    })

static void* new_real_handle(void** error) {
    void* handle = NULL;
    return REAL(int, "libvhdi_file_initialize", error, (void**, void**), &handle) == 1 ? handle : NULL;
}

static void free_real_handle(void* handle) {
    if (handle != NULL) (void)REAL(int, "libvhdi_file_free", NULL, (void**, void**), &handle);
}

static int open_by_real(struct door_file* file, const char* path, int flags, void** error) {
    file->real = new_real_handle(error);
    if (file->real == NULL) return -1;
    file->by_real =
        REAL(int, "libvhdi_file_open", error, (void*, const char*, int, void**), file->real, path, flags) == 1;
    if (file->by_real) return 1;
    free_real_handle(file->real);
    file->real = NULL;
    return -1;
}

/* The real libvhdi's handle of a VHD or VHDX, for what such a file says of itself; NULL, with an error, if there is
   none. */
static void* real_handle(struct door_file* file, void** error) {
    pthread_mutex_lock(&file->lock);
    if (file->real == NULL && file->path != NULL) {
        void* const handle = new_real_handle(error);
        if (handle != NULL && REAL(int, "libvhdi_file_open", error, (void*, const char*, int, void**), handle,
                                   file->path, kReadFlag) == 1)
            file->real = handle;
        else free_real_handle(handle);
    }
    void* const found = file->real;
    pthread_mutex_unlock(&file->lock);
    return found;
}

/* --- Which files are ours. */

static int is_one_of(const char* format, const char* first, const char* second) {
    return strcmp(format, first) == 0 || strcmp(format, second) == 0;
}

/* Whether `path` has a selector: it names no file as it stands. */
static int has_selector(const char* path) {
    return strchr(path, '#') != NULL && !door_file_exists(path);
}

/* A VMDK by its plain name is libvmdk's, which the same programs ask too: two that open it would make libtsk refuse it.
 */
static int is_anothers(const char* format, const char* path) {
    return strcmp(format, "vmdk") == 0 && !has_selector(path);
}

/* Whether the file is opened here: 1, and the format's name ("" where only its selector says one), 0, or -1 for a file
   that can't be read. */
static int claims(const struct door_vdisk* vdisk, const char* path, const char** format) {
    *format = vdisk->identify(path);
    if (*format == NULL) {
        *format = "";
        return vdisk->last_error_kind() == VDISK_ERROR_NOT_THIS_FORMAT ? 1
                                                                       : -1; /* of two formats at once: ours to say */
    }
    if (**format != 0) return !is_anothers(*format, path);
    return has_selector(path) && strstr(path, "format=") != NULL;
}

/* --- Telling what libtsk's programs have no place for. */

static int64_t milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* libtsk lists a folder whose blocks are lost as a shorter one. */
static void tell_unreadable(const struct door_vdisk* vdisk, const struct door_file* file) {
    const uint64_t size = vdisk->size(file->disk);
    const int64_t end = milliseconds() + kLookMilliseconds;
    uint64_t at = 0, lost = 0, first = 0;
    vdisk_extent extent;
    while (at < size && milliseconds() < end && vdisk->extent_at(file->disk, at, size - at, &extent) == 0) {
        if (extent.kind == VDISK_EXTENT_UNREADABLE && lost == 0) first = at;
        if (extent.kind == VDISK_EXTENT_UNREADABLE) lost += extent.length;
        at += extent.length;
    }
    if (lost == 0) return;
    char byte;
    (void)vdisk->read(file->disk, &byte, 1, first);
    fprintf(
        stderr,
        "tsk-vdisk: %s: %llu bytes of the first %llu bytes of the disk can't be read, from disk offset %llu on: %s. "
        "Files and folders that lie there are cut off or missing, not always with an error.\n",
        file->path, (unsigned long long)lost, (unsigned long long)at, (unsigned long long)first, vdisk->last_error());
}

static void tell_doubts(const char* lines) {
    for (const char* end; (end = strchr(lines, '\n')) != NULL; lines = end + 1)
        if (strncmp(lines, "warning: ", 9) == 0) fprintf(stderr, "tsk-vdisk: %.*s\n", (int)(end - lines), lines);
}

/* --- The interface: the library. */

DOOR_EXPORT const char* libvhdi_get_version(void) {
    return "20210425"; /* of the interface */
}

DOOR_EXPORT int libvhdi_get_access_flags_read(void) {
    return kReadFlag;
}

DOOR_EXPORT int libvhdi_get_access_flags_read_write(void) {
    return kReadFlag | kWriteFlag;
}

DOOR_EXPORT int libvhdi_get_access_flags_write(void) {
    return kWriteFlag;
}

DOOR_EXPORT int libvhdi_get_codepage(int* codepage, void** error) {
    if (codepage == NULL) return door_fail(error, kDomainArguments, kArgumentInvalid, "%s: no codepage", __func__);
    *codepage = kAsciiCodepage;
    return 1;
}

DOOR_EXPORT int libvhdi_set_codepage(int codepage, void** error) {
    if (codepage == kAsciiCodepage) return 1;
    return door_fail(error, kDomainArguments, kArgumentUnsupported, "%s: names are UTF-8 here: %d", __func__, codepage);
}

DOOR_EXPORT void libvhdi_notify_set_verbose(int verbose) {
    (void)verbose;
}

DOOR_EXPORT int libvhdi_notify_set_stream(FILE* stream, void** error) {
    (void)stream;
    (void)error;
    return 1;
}

DOOR_EXPORT int libvhdi_notify_stream_open(const char* path, void** error) {
    return door_fail(error, kDomainArguments, kArgumentUnsupported, "%s: %s: no log is written here", __func__,
                     path == NULL ? "" : path);
}

DOOR_EXPORT int libvhdi_notify_stream_close(void** error) {
    (void)error;
    return 0;
}

DOOR_EXPORT int libvhdi_check_file_signature(const char* path, void** error) {
    if (path == NULL) return door_fail(error, kDomainArguments, kArgumentInvalid, "%s: no path", __func__);
    const struct door_vdisk* const vdisk = door_vdisk();
    if (vdisk == NULL) return REAL(int, "libvhdi_check_file_signature", error, (const char*, void**), path);
    const char* format;
    const int ours = claims(vdisk, path, &format);
    return ours < 0 ? door_fail(error, kDomainIo, kIoOpenFailed, "%s", vdisk->last_error()) : ours;
}

DOOR_EXPORT int libvhdi_check_file_signature_file_io_handle(void* io_handle, void** error) {
    return REAL(int, "libvhdi_check_file_signature_file_io_handle", error, (void*, void**), io_handle);
}

/* --- The interface: files. */

static int is_open(const struct door_file* file) {
    return file->by_real || file->disk != NULL || file->failed != NULL;
}

static int need_open(const struct door_file* file, const char* function, void** error) {
    if (file == NULL) return door_fail(error, kDomainArguments, kArgumentInvalid, "%s: no file", function);
    if (!is_open(file)) return door_fail(error, kDomainRuntime, kRuntimeMissing, "%s: the file is not open", function);
    return 1;
}

static int need_closed(const struct door_file* file, const char* function, void** error) {
    if (file == NULL) return door_fail(error, kDomainArguments, kArgumentInvalid, "%s: no file", function);
    if (is_open(file)) return door_fail(error, kDomainRuntime, kRuntimeAlreadySet, "%s: the file is open", function);
    return 1;
}

DOOR_EXPORT int libvhdi_file_initialize(struct door_file** file, void** error) {
    if (file == NULL) return door_fail(error, kDomainArguments, kArgumentInvalid, "%s: no file", __func__);
    if (*file != NULL) return door_fail(error, kDomainRuntime, kRuntimeAlreadySet, "%s: file is set", __func__);
    *file = calloc(1, sizeof **file);
    if (*file == NULL) return door_fail(error, 'm', 1, "%s: no memory", __func__);
    pthread_mutex_init(&(*file)->lock, NULL);
    return 1;
}

static void forget(struct door_file* file) {
    if (file->disk != NULL) door_vdisk()->close(file->disk);
    free_real_handle(file->real);
    free(file->failed);
    free(file->path);
    file->disk = NULL;
    file->failed = file->path = NULL;
    file->format = NULL;
    file->real = NULL;
    file->by_real = 0;
    file->at = 0;
}

DOOR_EXPORT int libvhdi_file_close(struct door_file* file, void** error) {
    if (need_open(file, __func__, error) != 1) return -1;
    forget(file);
    return 0;
}

DOOR_EXPORT int libvhdi_file_free(struct door_file** file, void** error) {
    if (file == NULL) return door_fail(error, kDomainArguments, kArgumentInvalid, "%s: no file", __func__);
    if (*file == NULL) return 1;
    forget(*file);
    pthread_mutex_destroy(&(*file)->lock);
    free(*file);
    *file = NULL;
    return 1;
}

DOOR_EXPORT int libvhdi_file_signal_abort(struct door_file* file, void** error) {
    if (file == NULL) return door_fail(error, kDomainArguments, kArgumentInvalid, "%s: no file", __func__);
    return file->by_real ? REAL(int, "libvhdi_file_signal_abort", error, (void*, void**), file->real) : 1;
}

/* Opens what is ours; what fails then is kept for the reads. */
static int open_ours(const struct door_vdisk* vdisk, struct door_file* file, const char* path, void** error) {
    file->path = strdup(path);
    file->disk = vdisk->open(path, NULL);
    if (file->disk == NULL) file->failed = strdup(vdisk->last_error());
    if (file->path == NULL || !is_open(file)) {
        forget(file);
        return door_fail(error, 'm', 1, "%s: no memory", path);
    }
    if (file->disk == NULL) return 1;
    tell_doubts(vdisk->remarks(file->disk));
    tell_unreadable(vdisk, file);
    return 1;
}

DOOR_EXPORT int libvhdi_file_open(struct door_file* file, const char* path, int flags, void** error) {
    if (need_closed(file, __func__, error) != 1) return -1;
    if (path == NULL) return door_fail(error, kDomainArguments, kArgumentInvalid, "%s: no path", __func__);
    if (flags != kReadFlag)
        return door_fail(error, kDomainArguments, kArgumentUnsupported, "%s: %s: files are only read here", __func__,
                         path);
    const struct door_vdisk* const vdisk = door_vdisk();
    if (vdisk == NULL) return open_by_real(file, path, flags, error);
    const char* format;
    const int ours = claims(vdisk, path, &format);
    file->format = format;
    if (ours < 0) return door_fail(error, kDomainIo, kIoOpenFailed, "%s", vdisk->last_error());
    if (ours > 0) return open_ours(vdisk, file, path, error);
    return door_fail(error, kDomainIo, kIoOpenFailed, "%s: is no VHD or VHDX, nor another disk that is opened here",
                     path);
}

DOOR_EXPORT int libvhdi_file_open_file_io_handle(struct door_file* file, void* io_handle, int flags, void** error) {
    if (need_closed(file, __func__, error) != 1) return -1;
    file->real = new_real_handle(error);
    if (file->real == NULL) return -1;
    file->by_real = REAL(int, "libvhdi_file_open_file_io_handle", error, (void*, void*, int, void**), file->real,
                         io_handle, flags) == 1;
    if (!file->by_real) forget(file);
    return file->by_real ? 1 : -1;
}

DOOR_EXPORT int libvhdi_file_get_media_size(struct door_file* file, uint64_t* size, void** error) {
    if (need_open(file, __func__, error) != 1) return -1;
    if (size == NULL) return door_fail(error, kDomainArguments, kArgumentInvalid, "%s: no size", __func__);
    if (file->by_real)
        return REAL(int, "libvhdi_file_get_media_size", error, (void*, uint64_t*, void**), file->real, size);
    *size = file->disk == NULL ? (uint64_t)kSectorBytes : door_vdisk()->size(file->disk);
    return 1;
}

/* libtsk up to 4.12 hands the buffer to its caller after an error too, as a success: so it has zeros then. */
static ssize_t read_at(struct door_file* file, void* buffer, size_t size, int64_t offset, void** error) {
    if (file->failed != NULL) {
        memset(buffer, 0, size);
        return door_fail(error, kDomainIo, kIoReadFailed, "%s", file->failed);
    }
    const int64_t got = door_vdisk()->read(file->disk, buffer, size, (uint64_t)offset);
    if (got >= 0) return (ssize_t)got;
    memset(buffer, 0, size);
    return door_fail(error, kDomainIo, kIoReadFailed, "%s", door_vdisk()->last_error());
}

static int check_read(struct door_file* file, const void* buffer, size_t size, const char* function, void** error) {
    if (need_open(file, function, error) != 1) return -1;
    if (buffer != NULL && size <= (size_t)SSIZE_MAX) return 1;
    return door_fail(error, kDomainArguments, kArgumentInvalid, "%s: no buffer, or one of no size", function);
}

DOOR_EXPORT ssize_t libvhdi_file_read_buffer_at_offset(struct door_file* file, void* buffer, size_t size,
                                                       int64_t offset, void** error) {
    if (check_read(file, buffer, size, __func__, error) != 1) return -1;
    if (offset < 0) return door_fail(error, kDomainArguments, kArgumentInvalid, "%s: offset is negative", __func__);
    if (file->by_real)
        return REAL(ssize_t, "libvhdi_file_read_buffer_at_offset", error, (void*, void*, size_t, int64_t, void**),
                    file->real, buffer, size, offset);
    return read_at(file, buffer, size, offset, error);
}

/* Of several threads that read on, each gets a piece of its own. */
DOOR_EXPORT ssize_t libvhdi_file_read_buffer(struct door_file* file, void* buffer, size_t size, void** error) {
    if (check_read(file, buffer, size, __func__, error) != 1) return -1;
    if (file->by_real)
        return REAL(ssize_t, "libvhdi_file_read_buffer", error, (void*, void*, size_t, void**), file->real, buffer,
                    size);
    int64_t at = atomic_load(&file->at);
    ssize_t got;
    do got = read_at(file, buffer, size, at, error);
    while (got > 0 && !atomic_compare_exchange_strong(&file->at, &at, at + got));
    return got;
}

DOOR_EXPORT int64_t libvhdi_file_seek_offset(struct door_file* file, int64_t offset, int whence, void** error) {
    if (need_open(file, __func__, error) != 1) return -1;
    if (file->by_real)
        return REAL(int64_t, "libvhdi_file_seek_offset", error, (void*, int64_t, int, void**), file->real, offset,
                    whence);
    uint64_t size = 0;
    (void)libvhdi_file_get_media_size(file, &size, NULL);
    const int64_t from = whence == SEEK_CUR ? atomic_load(&file->at) : whence == SEEK_END ? (int64_t)size : 0;
    int64_t to;
    if ((whence != SEEK_SET && whence != SEEK_CUR && whence != SEEK_END) || __builtin_add_overflow(from, offset, &to) ||
        to < 0)
        return door_fail(error, kDomainArguments, kArgumentInvalid, "%s: no such place", __func__);
    atomic_store(&file->at, to);
    return to;
}

DOOR_EXPORT int libvhdi_file_get_offset(struct door_file* file, int64_t* offset, void** error) {
    if (need_open(file, __func__, error) != 1) return -1;
    if (offset == NULL) return door_fail(error, kDomainArguments, kArgumentInvalid, "%s: no offset", __func__);
    if (file->by_real)
        return REAL(int, "libvhdi_file_get_offset", error, (void*, int64_t*, void**), file->real, offset);
    *offset = atomic_load(&file->at);
    return 1;
}

/* --- The interface: what VHD and VHDX say of themselves. */

static int is_vhd(const struct door_file* file) {
    return file->by_real || is_one_of(file->format, "vhd", "vhdx");
}

/* Parents are found when a disk is opened. Whether this is the one that the file means the real libvhdi tells by their
   identifiers. */
DOOR_EXPORT int libvhdi_file_set_parent_file(struct door_file* file, struct door_file* parent, void** error) {
    if (need_open(file, __func__, error) != 1 || need_open(parent, __func__, error) != 1) return -1;
    if (file->failed != NULL) return door_fail(error, kDomainIo, kIoOpenFailed, "%s", file->failed);
    if (!is_vhd(file) || !is_vhd(parent))
        return door_fail(error, kDomainArguments, kArgumentUnsupported, "%s: the parents of %s are found by themselves",
                         __func__, file->path == NULL ? "the file" : file->path);
    void* const child_handle = real_handle(file, error);
    void* const parent_handle = real_handle(parent, error);
    if (child_handle == NULL || parent_handle == NULL) return -1;
    return REAL(int, "libvhdi_file_set_parent_file", error, (void*, void*, void**), child_handle, parent_handle);
}

/* What the real libvhdi says of a VHD or VHDX; of other files `otherwise` is answered: 0 for what they don't have. */
#define PARTICULAR(name, types, otherwise, ...)                                                                        \
    do {                                                                                                               \
        if (need_open(file, name, error) != 1) return -1;                                                              \
        if (!is_vhd(file)) return otherwise;                                                                           \
        void* const handle = real_handle(file, error);                                                                 \
        return handle == NULL ? -1 : REAL(int, name, error, types, handle, __VA_ARGS__);                               \
    } while (0)

static int says_nothing(const struct door_file* file, const char* function, void** error) {
    return door_fail(error, kDomainArguments, kArgumentUnsupported,
                     "%s: %s: is a %s file, which has nothing of the kind", function, file->path, file->format);
}

static int set_number(uint32_t* number, uint32_t value) {
    if (number == NULL) return -1;
    *number = value;
    return 1;
}

DOOR_EXPORT int libvhdi_file_get_file_type(struct door_file* file, int* type, void** error) {
    PARTICULAR("libvhdi_file_get_file_type", (void*, int*, void**), (type == NULL ? -1 : (*type = 0, 1)), type);
}

DOOR_EXPORT int libvhdi_file_get_format_version(struct door_file* file, uint16_t* major, uint16_t* minor,
                                                void** error) {
    PARTICULAR("libvhdi_file_get_format_version", (void*, uint16_t*, uint16_t*, void**),
               says_nothing(file, __func__, error), major, minor);
}

DOOR_EXPORT int libvhdi_file_get_disk_type(struct door_file* file, uint32_t* type, void** error) {
    PARTICULAR("libvhdi_file_get_disk_type", (void*, uint32_t*, void**), says_nothing(file, __func__, error), type);
}

DOOR_EXPORT int libvhdi_file_get_bytes_per_sector(struct door_file* file, uint32_t* bytes, void** error) {
    PARTICULAR("libvhdi_file_get_bytes_per_sector", (void*, uint32_t*, void**), set_number(bytes, kSectorBytes), bytes);
}

DOOR_EXPORT int libvhdi_file_get_identifier(struct door_file* file, uint8_t* guid, size_t size, void** error) {
    PARTICULAR("libvhdi_file_get_identifier", (void*, uint8_t*, size_t, void**), says_nothing(file, __func__, error),
               guid, size);
}

DOOR_EXPORT int libvhdi_file_get_parent_identifier(struct door_file* file, uint8_t* guid, size_t size, void** error) {
    PARTICULAR("libvhdi_file_get_parent_identifier", (void*, uint8_t*, size_t, void**), 0, guid, size);
}

DOOR_EXPORT int libvhdi_file_get_utf8_parent_filename_size(struct door_file* file, size_t* size, void** error) {
    PARTICULAR("libvhdi_file_get_utf8_parent_filename_size", (void*, size_t*, void**), 0, size);
}

DOOR_EXPORT int libvhdi_file_get_utf8_parent_filename(struct door_file* file, uint8_t* name, size_t size,
                                                      void** error) {
    PARTICULAR("libvhdi_file_get_utf8_parent_filename", (void*, uint8_t*, size_t, void**), 0, name, size);
}

DOOR_EXPORT int libvhdi_file_get_utf16_parent_filename_size(struct door_file* file, size_t* size, void** error) {
    PARTICULAR("libvhdi_file_get_utf16_parent_filename_size", (void*, size_t*, void**), 0, size);
}

DOOR_EXPORT int libvhdi_file_get_utf16_parent_filename(struct door_file* file, uint16_t* name, size_t size,
                                                       void** error) {
    PARTICULAR("libvhdi_file_get_utf16_parent_filename", (void*, uint16_t*, size_t, void**), 0, name, size);
}
