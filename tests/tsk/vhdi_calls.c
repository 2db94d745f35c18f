/* SPDX-License-Identifier: Apache-2.0 */
/* The Sleuth Kit's calls of libvhdi in its order, of a library that is loaded by its path; each thread opens the image
 * for itself, and both read one of the handles too.
 *
 *     vhdi_calls LIBRARY read IMAGE RAW      every byte is the raw disk's
 *     vhdi_calls LIBRARY fails IMAGE         opens, and each read fails; prints the reason
 *     vhdi_calls LIBRARY refused IMAGE       does not open; prints the reason
 *     vhdi_calls LIBRARY nothing             every function refuses to work on nothing */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

enum { CHUNK = 65536, THREADS = 2 };

static void* library;
static const char *image, *raw;
static int failures;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                                    \
            ++failures;                                                                                                \
        }                                                                                                              \
    } while (0)

/* A function of the library, of which each takes what it takes: arguments are passed as the caller has them. */
#define CALL(type, name, types) ((type(*) types)function(name))

typedef void any_function(void);

static any_function* function(const char* name) {
    any_function* found;
    void* const symbol = dlsym(library, name);
    memcpy(&found, &symbol, sizeof found);
    if (found == NULL) {
        fprintf(stderr, "%s: not exported\n", name);
        exit(2);
    }
    return found;
}

static ssize_t read_at(void* file, void* buffer, size_t size, int64_t offset, void** error) {
    return CALL(ssize_t, "libvhdi_file_read_buffer_at_offset",
                (void*, void*, size_t, int64_t, void**))(file, buffer, size, offset, error);
}

/* What libtsk makes of an error: its text if the answer is 0. */
static void tell(void** error) {
    char text[512] = "";
    CHECK(*error != NULL);
    CHECK(CALL(int, "libvhdi_error_backtrace_sprint", (void*, char*, size_t))(*error, text, sizeof text) == 0);
    printf("%s\n", text);
    CALL(void, "libvhdi_error_free", (void**))(error);
    CHECK(*error == NULL);
}

static int opened(void** file, void** error) {
    CHECK(CALL(int, "libvhdi_file_initialize", (void**, void**))(file, error) == 1);
    const int known = CALL(int, "libvhdi_check_file_signature", (const char*, void**))(image, error);
    const int answer = CALL(int, "libvhdi_file_open", (void*, const char*, int, void**))(*file, image, 1, error);
    CHECK((known == 1) == (answer == 1));
    return answer;
}

static uint64_t size_of(void* file) {
    uint64_t size = 0;
    CHECK(CALL(int, "libvhdi_file_get_media_size", (void*, uint64_t*, void**))(file, &size, NULL) == 1);
    return size;
}

static void close_file(void** file) {
    CHECK(CALL(int, "libvhdi_file_close", (void*, void**))(*file, NULL) == 0);
    CHECK(CALL(int, "libvhdi_file_free", (void**, void**))(file, NULL) == 1);
    CHECK(*file == NULL);
}

static void compare(void* file, uint64_t size) {
    static _Thread_local unsigned char got[CHUNK + 1], expected[CHUNK + 1];
    FILE* const reference = fopen(raw, "rb");
    if (reference == NULL) exit(2);
    for (uint64_t at = 0; at < size; at += CHUNK) {
        const size_t wanted = size - at < CHUNK + 1 ? (size_t)(size - at) : CHUNK + 1;
        CHECK(fseek(reference, (long)at, SEEK_SET) == 0 && fread(expected, 1, wanted, reference) == wanted);
        CHECK(read_at(file, got, sizeof got, (int64_t)at, NULL) == (ssize_t)wanted &&
              memcmp(got, expected, wanted) == 0);
    }
    CHECK(read_at(file, got, 1, (int64_t)size, NULL) == 0);
    fclose(reference);
}

static void* read_image(void* shared) {
    void *file = NULL, *error = NULL;
    CHECK(opened(&file, &error) == 1 && error == NULL);
    compare(file, size_of(file));
    compare(shared, size_of(shared));
    close_file(&file);
    return NULL;
}

/* Pieces that two threads read on from the file's place are each given once. */
static void* read_on(void* file) {
    static _Thread_local unsigned char piece[CHUNK];
    uint64_t sum = 0;
    ssize_t got;
    while ((got = CALL(ssize_t, "libvhdi_file_read_buffer", (void*, void*, size_t, void**))(file, piece, sizeof piece,
                                                                                            NULL)) > 0)
        sum += (uint64_t)got;
    CHECK(got == 0);
    return (void*)(uintptr_t)sum;
}

static uint64_t in_threads(void* (*work)(void*), void* argument) {
    pthread_t threads[THREADS];
    uint64_t sum = 0;
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, work, argument) == 0);
    for (int i = 0; i < THREADS; i++) {
        void* answer = NULL;
        CHECK(pthread_join(threads[i], &answer) == 0);
        sum += (uint64_t)(uintptr_t)answer;
    }
    return sum;
}

static void reads(void) {
    void *file = NULL, *error = NULL;
    CHECK(opened(&file, &error) == 1);
    in_threads(read_image, file);
    const uint64_t size = size_of(file);
    int64_t at = -1;
    CHECK(in_threads(read_on, file) == size);
    CHECK(CALL(int, "libvhdi_file_get_offset", (void*, int64_t*, void**))(file, &at, NULL) == 1 &&
          (uint64_t)at == size);
    CHECK(CALL(int64_t, "libvhdi_file_seek_offset", (void*, int64_t, int, void**))(file, -512, SEEK_END, NULL) ==
          (int64_t)size - 512);
    CHECK(CALL(int64_t, "libvhdi_file_seek_offset", (void*, int64_t, int, void**))(file, -513, SEEK_CUR, NULL) ==
              (int64_t)size - 1025 ||
          size < 1025);
    CHECK(CALL(int64_t, "libvhdi_file_seek_offset", (void*, int64_t, int, void**))(file, -1, SEEK_SET, NULL) == -1);
    CHECK(CALL(int, "libvhdi_file_open", (void*, const char*, int, void**))(file, image, 1, NULL) == -1);
    close_file(&file);
}

static void fails(void) {
    void *file = NULL, *error = NULL;
    unsigned char buffer[512];
    CHECK(opened(&file, &error) == 1 && error == NULL);
    CHECK(size_of(file) == sizeof buffer);
    for (int64_t at = 0; at <= (int64_t)sizeof buffer; at += 256) {
        memset(buffer, 0xA5, sizeof buffer);
        CHECK(read_at(file, buffer, sizeof buffer, at, &error) == -1);
        CHECK(buffer[0] == 0 && buffer[511] == 0);
        if (at == 0) tell(&error);
        else CALL(void, "libvhdi_error_free", (void**))(&error);
    }
    close_file(&file);
}

static void refused(void) {
    void *file = NULL, *error = NULL;
    CHECK(opened(&file, &error) == -1);
    tell(&error);
    CHECK(CALL(int, "libvhdi_file_free", (void**, void**))(&file, NULL) == 1);
}

static void nothing(void) {
    static const char* const of_a_file[] = {"close",           "get_offset",        "get_media_size",
                                            "get_file_type",   "get_disk_type",     "get_bytes_per_sector",
                                            "get_identifier",  "signal_abort",      "get_parent_identifier",
                                            "set_parent_file", "get_format_version"};
    void *file = NULL, *error = NULL;
    char name[64], buffer[16];
    for (size_t i = 0; i < sizeof of_a_file / sizeof *of_a_file; i++) {
        snprintf(name, sizeof name, "libvhdi_file_%s", of_a_file[i]);
        CHECK(CALL(int, name, (void*, void*, void*, void*, void*))(NULL, NULL, NULL, NULL, NULL) == -1);
    }
    CHECK(read_at(NULL, buffer, sizeof buffer, 0, &error) == -1);
    tell(&error);
    CHECK(CALL(int, "libvhdi_file_initialize", (void**, void**))(NULL, NULL) == -1);
    CHECK(CALL(int, "libvhdi_file_initialize", (void**, void**))(&file, NULL) == 1);
    CHECK(CALL(int, "libvhdi_file_initialize", (void**, void**))(&file, NULL) == -1);
    CHECK(read_at(file, buffer, sizeof buffer, 0, &error) == -1);
    tell(&error);
    CHECK(CALL(int, "libvhdi_file_open", (void*, const char*, int, void**))(file, image, 3, &error) == -1);
    tell(&error);
    CHECK(CALL(int, "libvhdi_file_open", (void*, const char*, int, void**))(file, NULL, 1, &error) == -1);
    tell(&error);
    CHECK(CALL(int, "libvhdi_check_file_signature", (const char*, void**))(NULL, NULL) == -1);
    CHECK(CALL(int, "libvhdi_file_free", (void**, void**))(&file, NULL) == 1);
    CHECK(CALL(int, "libvhdi_error_backtrace_sprint", (void*, char*, size_t))(NULL, buffer, sizeof buffer) == -1);
    /* Messages of several functions are kept, the first that was set first, and cut off where there is no room. */
    CALL(void, "libcerror_error_set", (void**, int, int, const char*, ...))(&error, 'r', 1, "%s: %d", "first", 1);
    CALL(void, "libcerror_error_set", (void**, int, int, const char*, ...))(&error, 'I', 4, "second");
    CHECK(CALL(int, "libvhdi_error_backtrace_sprint", (void*, char*, size_t))(error, buffer, 13) == 0);
    CHECK(strcmp(buffer, "first: 1\nsec") == 0);
    CHECK(CALL(int, "libvhdi_error_sprint", (void*, char*, size_t))(error, buffer, sizeof buffer) == 6);
    CALL(void, "libcerror_error_free", (void**))(&error);
    CHECK(error == NULL);
}

int main(int count, char** words) {
    if (count < 3) return 2;
    library = dlopen(words[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    image = count > 3 ? words[3] : "/nonexistent";
    raw = count > 4 ? words[4] : NULL;
    if (strcmp(words[2], "read") == 0 && raw != NULL) reads();
    else if (strcmp(words[2], "fails") == 0) fails();
    else if (strcmp(words[2], "refused") == 0) refused();
    else if (strcmp(words[2], "nothing") == 0) nothing();
    else return 2;
    return failures != 0;
}
