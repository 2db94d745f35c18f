/* SPDX-License-Identifier: Apache-2.0 */
/* The C API from C: a qcow2 of three clusters (stored, zero, damaged) built here, read through libvdisk.so. */
#include <vdisk.h>

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CLUSTER = 512, CLUSTERS = 3, STORED_AT = 3 * CLUSTER, FILE_SIZE = 5 * CLUSTER, THREADS = 4, ROUNDS = 200 };

static int tests_run;
static int failures;
static char image[] = "/tmp/vdisk-capi-XXXXXX";

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s (last error: %s)\n", __func__, __LINE__, #condition, vdisk_last_error());       \
            ++failures;                                                                                                \
        }                                                                                                              \
    } while (0)

static void put_be(unsigned char* at, uint64_t value, int bytes) {
    while (bytes-- > 0) {
        at[bytes] = (unsigned char)(value & 0xFF);
        value >>= 8;
    }
}

/* Version 3, 512-byte clusters: header, L1 table, L2 table, one data cluster, a refcount table that is not read here.
 */
static void write_image(void) {
    static unsigned char file[FILE_SIZE];
    int descriptor = mkstemp(image);
    put_be(file, 0x514649FB, 4);
    put_be(file + 4, 3, 4);
    put_be(file + 20, 9, 4);                  /* cluster_bits */
    put_be(file + 24, CLUSTERS * CLUSTER, 8); /* size */
    put_be(file + 36, 1, 4);                  /* l1_size */
    put_be(file + 40, CLUSTER, 8);            /* l1_table_offset */
    put_be(file + 48, 4 * CLUSTER, 8);        /* refcount_table_offset */
    put_be(file + 56, 1, 4);                  /* refcount_table_clusters */
    put_be(file + 96, 4, 4);                  /* refcount_order */
    put_be(file + 100, 104, 4);               /* header_length */
    put_be(file + CLUSTER, 2 * CLUSTER, 8);
    put_be(file + 2 * CLUSTER, STORED_AT, 8);
    put_be(file + 2 * CLUSTER + 8, 1, 8);                  /* reads as zeros */
    put_be(file + 2 * CLUSTER + 16, (uint64_t)1 << 40, 8); /* far past the end of the file */
    memset(file + STORED_AT, 0xA5, CLUSTER);
    if (descriptor < 0 || write(descriptor, file, sizeof file) != (ssize_t)sizeof file || close(descriptor) != 0) {
        perror(image);
        exit(99);
    }
}

static int all_are(const unsigned char* bytes, size_t count, unsigned char value) {
    size_t i;
    for (i = 0; i < count; ++i)
        if (bytes[i] != value) return 0;
    return 1;
}

static void reads_end_at_the_disk_and_fail_in_the_damaged_range_alone(void) {
    unsigned char buffer[4 * CLUSTER];
    vdisk_disk* disk = vdisk_open(image, NULL);
    CHECK(disk != NULL);
    CHECK(vdisk_size(disk) == CLUSTERS * CLUSTER);
    CHECK(vdisk_read(disk, buffer, 2 * CLUSTER, 0) == 2 * CLUSTER);
    CHECK(all_are(buffer, CLUSTER, 0xA5) && all_are(buffer + CLUSTER, CLUSTER, 0));
    CHECK(vdisk_read(disk, buffer, 1, 2 * CLUSTER) == -1);
    CHECK(vdisk_last_error_kind() == VDISK_ERROR_TRUNCATED || vdisk_last_error_kind() == VDISK_ERROR_CORRUPT);
    CHECK(strstr(vdisk_last_error(), image) != NULL);
    CHECK(vdisk_read(disk, buffer, sizeof buffer, 0) == -1);
    CHECK(vdisk_read(disk, buffer, sizeof buffer, CLUSTERS * CLUSTER) == 0);
    CHECK(vdisk_read(disk, buffer, 1, UINT64_MAX) == 0);
    CHECK(vdisk_read(disk, NULL, 0, 0) == 0);
    vdisk_close(disk);
}

static void extents_tile_the_disk(void) {
    static const enum vdisk_extent_kind expected[CLUSTERS] = {VDISK_EXTENT_STORED, VDISK_EXTENT_ZERO,
                                                              VDISK_EXTENT_UNREADABLE};
    vdisk_disk* disk = vdisk_open(image, NULL);
    vdisk_extent extent;
    unsigned i;
    for (i = 0; i < CLUSTERS; ++i) {
        CHECK(vdisk_extent_at(disk, i * CLUSTER, UINT64_MAX, &extent) == 0);
        CHECK(extent.kind == expected[i] && extent.depth == 0);
        CHECK(extent.offset == i * CLUSTER && extent.length == CLUSTER);
    }
    CHECK(vdisk_extent_at(disk, 7, 5, &extent) == 0 && extent.offset == 7 && extent.length == 5);
    CHECK(vdisk_extent_at(disk, 0, 0, &extent) == -1 && vdisk_last_error_kind() == VDISK_ERROR_USAGE);
    CHECK(vdisk_extent_at(disk, CLUSTERS * CLUSTER, 1, &extent) == -1 && vdisk_last_error_kind() == VDISK_ERROR_USAGE);
    vdisk_close(disk);
}

static void a_file_lists_its_disks(void) {
    vdisk_file* file = vdisk_file_open(image, NULL);
    vdisk_disk* disk;
    vdisk_disk_info info;
    unsigned char byte = 0;
    CHECK(file != NULL && strcmp(vdisk_file_format(file), "qcow2") == 0);
    CHECK(vdisk_file_disk_count(file) == 1 && vdisk_file_selected(file) == 0);
    CHECK(vdisk_file_disk_info(file, 0, &info) == 0);
    CHECK(info.kind == VDISK_KIND_ACTIVE && info.size == CLUSTERS * CLUSTER);
    CHECK(strcmp(info.name, "") == 0 && strcmp(info.id, "") == 0 && strstr(info.description, "1.50 KiB") != NULL);
    CHECK(vdisk_file_disk_info(file, 1, &info) == -1 && vdisk_last_error_kind() == VDISK_ERROR_USAGE);
    CHECK(vdisk_file_open_disk(file, 1) == NULL);
    disk = vdisk_file_open_disk(file, 0);
    vdisk_file_close(file); /* the disk lives on */
    CHECK(vdisk_read(disk, &byte, 1, 0) == 1 && byte == 0xA5);
    vdisk_close(disk);
}

static void wrong_arguments_are_errors(void) {
    vdisk_open_options options = {0};
    struct {
        vdisk_open_options known;
        uint64_t option;
    } newer;
    vdisk_disk* disk;
    CHECK(vdisk_open(NULL, NULL) == NULL && vdisk_last_error_kind() == VDISK_ERROR_USAGE);
    CHECK(vdisk_open("/nonexistent/disk.qcow2", NULL) == NULL && vdisk_last_error_kind() == VDISK_ERROR_IO);
    CHECK(vdisk_open(image, &options) == NULL && vdisk_last_error_kind() == VDISK_ERROR_USAGE);
    memset(&newer, 0, sizeof newer);
    newer.known.struct_size = sizeof newer; /* as a program for a later version has it */
    disk = vdisk_open(image, &newer.known);
    CHECK(disk != NULL);
    vdisk_close(disk);
    newer.known.struct_size = offsetof(vdisk_open_options, threads); /* as a program for the first version has it */
    newer.known.threads = (size_t)-1;                                /* not its own */
    disk = vdisk_open(image, &newer.known);
    CHECK(disk != NULL);
    vdisk_close(disk);
    newer.known.struct_size = sizeof newer;
    newer.known.threads = 3;
    disk = vdisk_open(image, &newer.known);
    CHECK(disk != NULL);
    vdisk_close(disk);
    newer.option = 1;
    CHECK(vdisk_open(image, &newer.known) == NULL && vdisk_last_error_kind() == VDISK_ERROR_UNSUPPORTED);
    options.struct_size = (size_t)1 << 40;
    CHECK(vdisk_open(image, &options) == NULL && vdisk_last_error_kind() == VDISK_ERROR_USAGE);
    options.struct_size = sizeof options;
    options.format = "no such format";
    CHECK(vdisk_open(image, &options) == NULL && vdisk_last_error_kind() == VDISK_ERROR_USAGE);
    CHECK(vdisk_file_disk_info(NULL, 0, NULL) == -1 && vdisk_file_selected(NULL) == -1 &&
          vdisk_file_open_disk(NULL, 0) == NULL);
    CHECK(vdisk_read(NULL, NULL, 1, 0) == -1 && vdisk_last_error_kind() == VDISK_ERROR_USAGE);
    CHECK(vdisk_size(NULL) == 0 && vdisk_file_disk_count(NULL) == 0);
    vdisk_close(NULL);
    vdisk_file_close(NULL);
}

static void a_format_can_be_given(void) {
    vdisk_open_options options = {0};
    unsigned char magic[4] = {0};
    vdisk_disk* disk;
    options.struct_size = sizeof options;
    options.format = "raw";
    disk = vdisk_open(image, &options);
    CHECK(vdisk_size(disk) == FILE_SIZE);
    CHECK(vdisk_read(disk, magic, sizeof magic, 0) == 4 && memcmp(magic, "QFI\xfb", 4) == 0);
    vdisk_close(disk);
}

/* Reads the good and the damaged cluster in turn; the error seen must be this thread's own. */
static void* read_in_thread(void* argument) {
    const vdisk_disk* disk = argument;
    unsigned char buffer[CLUSTER];
    size_t wrong = strcmp(vdisk_last_error(), "") != 0; /* a thread starts without an error */
    int i;
    for (i = 0; i < ROUNDS; ++i) {
        wrong += vdisk_read(disk, buffer, CLUSTER, 0) != CLUSTER || !all_are(buffer, CLUSTER, 0xA5);
        wrong += vdisk_read(disk, buffer, CLUSTER, 2 * CLUSTER) != -1 || strstr(vdisk_last_error(), "1024") == NULL;
        wrong += vdisk_open("/nonexistent", NULL) != NULL || strstr(vdisk_last_error(), "/nonexistent") == NULL;
    }
    return wrong == 0 ? NULL : argument;
}

static void threads_share_a_disk_and_have_errors_of_their_own(void) {
    vdisk_disk* disk = vdisk_open(image, NULL);
    pthread_t threads[THREADS];
    void* wrong;
    int i;
    for (i = 0; i < THREADS; ++i) CHECK(pthread_create(&threads[i], NULL, read_in_thread, disk) == 0);
    for (i = 0; i < THREADS; ++i) CHECK(pthread_join(threads[i], &wrong) == 0 && wrong == NULL);
    vdisk_close(disk);
}

static void run(void (*test)(void)) {
    ++tests_run;
    test();
}

/* The image's bytes, as a program has them that reads them in its own way. */
struct bytes {
    unsigned char file[FILE_SIZE];
    uint64_t broken_from; /* what lies there and behind can't be read */
    int closed;
};

static int64_t read_bytes(void* data, void* buffer, size_t count, uint64_t offset) {
    const struct bytes* bytes = data;
    if (offset + count > bytes->broken_from) return -1;
    memcpy(buffer, bytes->file + offset, count);
    return (int64_t)count;
}

static void close_bytes(void* data) {
    ++((struct bytes*)data)->closed;
}

static vdisk_source source_of(struct bytes* bytes) {
    vdisk_source source;
    FILE* file = fopen(image, "rb");
    if (file == NULL || fread(bytes->file, 1, FILE_SIZE, file) != FILE_SIZE) exit(99);
    fclose(file);
    bytes->broken_from = FILE_SIZE;
    bytes->closed = 0;
    memset(&source, 0, sizeof source);
    source.struct_size = sizeof source;
    source.name = "what a program has";
    source.size = FILE_SIZE;
    source.read = read_bytes;
    source.close = close_bytes;
    source.data = bytes;
    return source;
}

static void a_program_gives_the_bytes(void) {
    static struct bytes bytes;
    unsigned char buffer[CLUSTER];
    const vdisk_source source = source_of(&bytes);
    vdisk_file* file = vdisk_file_open_source(&source, NULL, NULL);
    vdisk_disk* disk = vdisk_file_open_disk(file, 0);
    CHECK(strcmp(vdisk_file_format(file), "qcow2") == 0);
    vdisk_file_close(file);
    CHECK(bytes.closed == 0);
    CHECK(vdisk_read(disk, buffer, CLUSTER, 0) == CLUSTER && all_are(buffer, CLUSTER, 0xA5));
    bytes.broken_from = STORED_AT + 100;
    CHECK(vdisk_read(disk, buffer, CLUSTER, 0) == -1 && vdisk_last_error_kind() == VDISK_ERROR_IO);
    CHECK(strstr(vdisk_last_error(), "what a program has") != NULL);
    CHECK(vdisk_read(disk, buffer, 100, 0) == 100 && all_are(buffer, 100, 0xA5));
    vdisk_close(disk);
    CHECK(bytes.closed == 1);
}

static void bytes_that_are_not_opened_are_closed_all_the_same(void) {
    static struct bytes bytes;
    vdisk_source source = source_of(&bytes);
    CHECK(vdisk_file_open_source(&source, "nonsense=1", NULL) == NULL && bytes.closed == 1);
    CHECK(vdisk_last_error_kind() == VDISK_ERROR_USAGE && strstr(vdisk_last_error(), "what a program has") != NULL);
    bytes.broken_from = 0;
    CHECK(vdisk_file_open_source(&source, NULL, NULL) == NULL && bytes.closed == 2);
    CHECK(vdisk_last_error_kind() == VDISK_ERROR_IO);
    CHECK(vdisk_identify_source(&source) == NULL && vdisk_last_error_kind() == VDISK_ERROR_IO);
    source.size = 0;
    CHECK(vdisk_file_open_source(&source, NULL, NULL) == NULL && bytes.closed == 3);
    CHECK(vdisk_file_open_source(NULL, NULL, NULL) == NULL);
    source.struct_size = 1;
    CHECK(vdisk_file_open_source(&source, NULL, NULL) == NULL && bytes.closed == 3);
    source = source_of(&bytes);
    source.read = NULL;
    CHECK(vdisk_file_open_source(&source, NULL, NULL) == NULL && bytes.closed == 0);
}

static void a_format_is_told_without_opening(void) {
    static struct bytes bytes;
    vdisk_source source = source_of(&bytes);
    const char* format = vdisk_identify(image);
    CHECK(format != NULL && strcmp(format, "qcow2") == 0);
    put_be(bytes.file + 24, UINT64_MAX, 8); /* a size that can't be opened */
    CHECK(vdisk_file_open_source(&source, NULL, NULL) == NULL);
    format = vdisk_identify_source(&source);
    CHECK(format != NULL && strcmp(format, "qcow2") == 0 && bytes.closed == 1);
    memset(bytes.file, 0x11, sizeof bytes.file);
    format = vdisk_identify_source(&source);
    CHECK(format != NULL && strcmp(format, "") == 0);
    CHECK(vdisk_identify("/nonexistent") == NULL && vdisk_last_error_kind() == VDISK_ERROR_IO);
    CHECK(vdisk_identify(NULL) == NULL && vdisk_identify_source(NULL) == NULL);
}

int main(void) {
    write_image();
    CHECK(strcmp(vdisk_last_error(), "") == 0 && vdisk_last_error_kind() == VDISK_ERROR_NONE);
    CHECK(vdisk_version()[0] != '\0');
    run(reads_end_at_the_disk_and_fail_in_the_damaged_range_alone);
    run(extents_tile_the_disk);
    run(a_file_lists_its_disks);
    run(wrong_arguments_are_errors);
    run(a_format_can_be_given);
    run(threads_share_a_disk_and_have_errors_of_their_own);
    run(a_program_gives_the_bytes);
    run(bytes_that_are_not_opened_are_closed_all_the_same);
    run(a_format_is_told_without_opening);
    unlink(image);
    if (failures > 0) fprintf(stderr, "FAILED (failures=%d)\n", failures);
    printf("Ran %d tests\n", tests_run);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
