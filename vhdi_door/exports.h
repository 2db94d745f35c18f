/* SPDX-License-Identifier: Apache-2.0 */
/* The C interface that libvhdi's callers are compiled against: names, arguments and answers are libvhdi's, as
 * libvhdi.h (20210425 and later) declares them; handles and errors are opaque to its callers. Unless something else is
 * said here, functions answer 1 where they did what was asked and -1 with an error where not. */
#ifndef VDISK_VHDI_EXPORTS_H
#define VDISK_VHDI_EXPORTS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define DOOR_EXPORT __attribute__((visibility("default")))

struct door_file;

const char* libvhdi_get_version(void);
int libvhdi_get_access_flags_read(void);
int libvhdi_get_access_flags_read_write(void);
int libvhdi_get_access_flags_write(void);
int libvhdi_get_codepage(int* codepage, void** error);
int libvhdi_set_codepage(int codepage, void** error);
int libvhdi_check_file_signature(const char* path, void** error); /* 0: not a file that libvhdi_file_open() opens */
int libvhdi_check_file_signature_file_io_handle(void* io_handle, void** error);

void libvhdi_notify_set_verbose(int verbose);
int libvhdi_notify_set_stream(FILE* stream, void** error);
int libvhdi_notify_stream_open(const char* path, void** error);
int libvhdi_notify_stream_close(void** error); /* 0: closed */

void libvhdi_error_free(void** error);
int libvhdi_error_fprint(void* error, FILE* stream);                      /* how many bytes */
int libvhdi_error_sprint(void* error, char* text, size_t size);           /* how many bytes */
int libvhdi_error_backtrace_fprint(void* error, FILE* stream);            /* how many bytes */
int libvhdi_error_backtrace_sprint(void* error, char* text, size_t size); /* 0 */
void libcerror_error_free(void** error);
int libcerror_error_backtrace_fprint(void* error, FILE* stream);
void libcerror_error_set(void** error, int domain, int code, const char* format, ...)
    __attribute__((format(printf, 4, 5)));
void libcerror_system_set_error(void** error, int domain, int code, uint32_t number, const char* format, ...)
    __attribute__((format(printf, 5, 6)));

int libvhdi_file_initialize(struct door_file** file, void** error);
int libvhdi_file_free(struct door_file** file, void** error);
int libvhdi_file_signal_abort(struct door_file* file, void** error);
int libvhdi_file_open(struct door_file* file, const char* path, int flags, void** error);
int libvhdi_file_open_file_io_handle(struct door_file* file, void* io_handle, int flags, void** error);
int libvhdi_file_close(struct door_file* file, void** error); /* 0: closed */
ssize_t libvhdi_file_read_buffer(struct door_file* file, void* buffer, size_t size, void** error);
ssize_t libvhdi_file_read_buffer_at_offset(struct door_file* file, void* buffer, size_t size, int64_t offset,
                                           void** error);
int64_t libvhdi_file_seek_offset(struct door_file* file, int64_t offset, int whence, void** error);
int libvhdi_file_get_offset(struct door_file* file, int64_t* offset, void** error);
int libvhdi_file_set_parent_file(struct door_file* file, struct door_file* parent, void** error);
int libvhdi_file_get_media_size(struct door_file* file, uint64_t* size, void** error);

/* What VHD and VHDX say of themselves. 0: they do not say it. */
int libvhdi_file_get_file_type(struct door_file* file, int* type, void** error);
int libvhdi_file_get_format_version(struct door_file* file, uint16_t* major, uint16_t* minor, void** error);
int libvhdi_file_get_disk_type(struct door_file* file, uint32_t* type, void** error);
int libvhdi_file_get_bytes_per_sector(struct door_file* file, uint32_t* bytes, void** error);
int libvhdi_file_get_identifier(struct door_file* file, uint8_t* guid, size_t size, void** error);
int libvhdi_file_get_parent_identifier(struct door_file* file, uint8_t* guid, size_t size, void** error);
int libvhdi_file_get_utf8_parent_filename_size(struct door_file* file, size_t* size, void** error);
int libvhdi_file_get_utf8_parent_filename(struct door_file* file, uint8_t* name, size_t size, void** error);
int libvhdi_file_get_utf16_parent_filename_size(struct door_file* file, size_t* size, void** error);
int libvhdi_file_get_utf16_parent_filename(struct door_file* file, uint16_t* name, size_t size, void** error);

#endif
