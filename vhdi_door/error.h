/* SPDX-License-Identifier: Apache-2.0 */
/* Errors as libvhdi's callers know them. */
#ifndef VDISK_VHDI_ERROR_H
#define VDISK_VHDI_ERROR_H

#include <stdarg.h>
#include <stddef.h>

/* Laid out as libcerror lays out its own, because callers print and free errors with a libcerror that they carry
   themselves. All parts are malloc()ed. Not thread-safe: an error belongs to the thread that got it. */
struct door_error {
    int domain;
    int code;
    int count;       /* messages, the first that was set first */
    char** messages; /* each ends with a NUL */
    size_t* sizes;   /* of the messages, with their NUL */
};

/* What libvhdi/error.h calls domains and codes; only those that are used here. */
enum {
    kDomainArguments = 'a',
    kDomainIo = 'I',
    kDomainRuntime = 'r',
    kArgumentInvalid = 1,
    kArgumentUnsupported = 8,
    kIoOpenFailed = 1,
    kIoReadFailed = 4,
    kRuntimeMissing = 1,
    kRuntimeAlreadySet = 2
};

/* Adds a message to the error at `error`, which is made if there is none. Does nothing without `error` and without
   memory. Returns -1, what a function that failed returns. */
int door_fail(void** error, int domain, int code, const char* format, ...) __attribute__((format(printf, 4, 5)));
int door_fail_arguments(void** error, int domain, int code, const char* format, va_list arguments);

/* Hands an error that another libvhdi made over to `error`, and frees it by `release`, that library's own function:
   memory may have been taken in another way there. */
void door_adopt(void** error, void** theirs, void (*release)(void**));

#endif
