/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "error.h"

#include "exports.h"

#include <stdlib.h>
#include <string.h>

static struct door_error* made(void** error) {
    if (*error == NULL) *error = calloc(1, sizeof(struct door_error));
    return *error;
}

static int add(void** error, int domain, int code, char* message) {
    struct door_error* const all = made(error);
    const size_t count = all == NULL ? 0 : (size_t)all->count;
    char** const messages = all == NULL ? NULL : realloc(all->messages, (count + 1) * sizeof *messages);
    if (messages != NULL) all->messages = messages;
    size_t* const sizes = messages == NULL ? NULL : realloc(all->sizes, (count + 1) * sizeof *sizes);
    if (sizes == NULL) return 0;
    all->sizes = sizes;
    messages[count] = message;
    sizes[count] = strlen(message) + 1;
    if (count == 0) {
        all->domain = domain;
        all->code = code;
    }
    all->count++;
    return 1;
}

int door_fail_arguments(void** error, int domain, int code, const char* format, va_list arguments) {
    char* message = NULL;
    if (error == NULL || vasprintf(&message, format, arguments) < 0) return -1;
    if (!add(error, domain, code, message)) free(message);
    return -1;
}

int door_fail(void** error, int domain, int code, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    door_fail_arguments(error, domain, code, format, arguments);
    va_end(arguments);
    return -1;
}

void door_adopt(void** error, void** theirs, void (*release)(void**)) {
    const struct door_error* const from = *theirs;
    if (from == NULL) return;
    for (int i = 0; i < from->count; i++) door_fail(error, from->domain, from->code, "%s", from->messages[i]);
    if (release != NULL) release(theirs);
}

/* Puts messages from number `first` on into `text`, a line each but for the last one's end, cut off where it is full.
 */
static void put(const struct door_error* error, int first, char* text, size_t size) {
    size_t at = 0;
    text[0] = 0;
    for (int i = first; i < error->count && at + 1 < size; i++) {
        const int length = snprintf(text + at, size - at, "%s%s", i > first ? "\n" : "", error->messages[i]);
        at += length < 0 ? 0 : (size_t)length;
    }
}

DOOR_EXPORT void libvhdi_error_free(void** error) {
    if (error == NULL || *error == NULL) return;
    struct door_error* const all = *error;
    for (int i = 0; i < all->count; i++) free(all->messages[i]);
    free(all->messages);
    free(all->sizes);
    free(all);
    *error = NULL;
}

/* libtsk takes any answer but 0 for "there is no text", and shows what errno happens to be instead. */
DOOR_EXPORT int libvhdi_error_backtrace_sprint(void* error, char* text, size_t size) {
    if (error == NULL || text == NULL || size == 0) return -1;
    put(error, 0, text, size);
    return 0;
}

DOOR_EXPORT int libvhdi_error_sprint(void* error, char* text, size_t size) {
    const struct door_error* const all = error;
    if (all == NULL || all->count == 0 || text == NULL || size == 0) return -1;
    put(all, all->count - 1, text, size);
    return (int)strlen(text);
}

DOOR_EXPORT int libvhdi_error_fprint(void* error, FILE* stream) {
    const struct door_error* const all = error;
    if (all == NULL || all->count == 0 || stream == NULL) return -1;
    return fprintf(stream, "%s\n", all->messages[all->count - 1]);
}

DOOR_EXPORT int libvhdi_error_backtrace_fprint(void* error, FILE* stream) {
    const struct door_error* const all = error;
    if (all == NULL || stream == NULL) return -1;
    int printed = 0;
    for (int i = 0; i < all->count; i++) printed += fprintf(stream, "%s\n", all->messages[i]);
    return printed;
}

/* Debian's library exports libcerror's functions by accident, and Debian's programs for libvhdi use these four. */
DOOR_EXPORT void libcerror_error_free(void** error) {
    libvhdi_error_free(error);
}

DOOR_EXPORT int libcerror_error_backtrace_fprint(void* error, FILE* stream) {
    return libvhdi_error_backtrace_fprint(error, stream);
}

DOOR_EXPORT void libcerror_error_set(void** error, int domain, int code, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    door_fail_arguments(error, domain, code, format, arguments);
    va_end(arguments);
}

DOOR_EXPORT void libcerror_system_set_error(void** error, int domain, int code, uint32_t number, const char* format,
                                            ...) {
    va_list arguments;
    va_start(arguments, format);
    char* message = NULL;
    if (vasprintf(&message, format, arguments) >= 0) {
        door_fail(error, domain, code, "%s: %s", message, strerror((int)number));
        free(message);
    }
    va_end(arguments);
}
