/* SPDX-License-Identifier: Apache-2.0 */
/* Forks while threads read disks through libvdisk.so. The children go on with the handles that they find, and what they
   read is compared with the raw disk.
       fork_test ROUNDS IMAGE RAW [IMAGE RAW]... */
#include <vdisk.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 8, THREADS = 3, PIECE = 64 << 10, SECONDS = 120 };

struct image {
    const char* path;
    unsigned char* raw;
    uint64_t size;
    vdisk_disk* disk;
};

static struct image images[MOST];
static int image_count;
static volatile sig_atomic_t stop;
static int rounds;

static void fail(const char* what, const char* of) {
    fprintf(stderr, "%s: %s (last error: %s)\n", of, what, vdisk_last_error());
    _exit(1);
}

static void load(struct image* image, const char* path, const char* raw) {
    FILE* file = fopen(raw, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) fail("can't be opened", raw);
    image->path = path;
    image->size = (uint64_t)ftell(file);
    image->raw = malloc(image->size);
    rewind(file);
    if (image->raw == NULL || fread(image->raw, 1, image->size, file) != image->size) fail("can't be read", raw);
    fclose(file);
}

static void compare(const struct image* image, const vdisk_disk* disk, uint64_t offset) {
    unsigned char buffer[PIECE] = {0};
    const uint64_t left = image->size - offset;
    const int64_t wanted = left < PIECE ? (int64_t)left : PIECE;
    if (vdisk_read(disk, buffer, PIECE, offset) != wanted) fail("read failed", image->path);
    if (memcmp(buffer, image->raw + offset, (size_t)wanted) != 0) fail("other bytes", image->path);
}

static void compare_all(const struct image* image, const vdisk_disk* disk) {
    uint64_t at;
    for (at = 0; at < image->size; at += PIECE) compare(image, disk, at);
}

/* From front to back, so that others expand ahead, then here and there. */
static void* keep_reading(void* argument) {
    const struct image* image = argument;
    unsigned random = 1;
    uint64_t at = 0;
    while (!stop) {
        compare(image, image->disk, at);
        random = random * 1103515245U + 12345U;
        at = random % 50 == 0 ? (random >> 8) % image->size : at + PIECE;
        if (at >= image->size) at = 0;
    }
    return NULL;
}

static void open_disks(void) {
    int i;
    for (i = 0; i < image_count; ++i) {
        images[i].disk = vdisk_open(images[i].path, NULL);
        if (images[i].disk == NULL) fail("not opened", images[i].path);
    }
}

/* Ends this process by 1 unless the child ended by 0. */
static void expect(pid_t child, const char* what) {
    int status = 0;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "%s: status %#x%s\n", what, (unsigned)status,
                WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? ", it hung" : "");
        _exit(1);
    }
}

static void start_child(int round) {
    const struct image* image = &images[round % image_count];
    alarm(SECONDS);
    compare_all(image, image->disk);
}

static void end_child(int round) {
    const struct image* image = &images[round % image_count];
    int i;
    for (i = 0; i < image_count; ++i) vdisk_close(images[i].disk);
    if (round % 4 == 0) { /* another one, opened here */
        vdisk_disk* disk = vdisk_open(image->path, NULL);
        if (disk == NULL) fail("not opened in the child", image->path);
        compare(image, disk, image->size / 2);
        vdisk_close(disk);
    }
    _exit(0);
}

static void read_as_child(int round) {
    pid_t below;
    start_child(round);
    below = fork();
    if (below == 0) {
        start_child(round + 1);
        end_child(round + 1);
    }
    expect(below, "a grandchild");
    end_child(round);
}

static void children_read_what_their_parent_opened(void) {
    pthread_t threads[MOST * THREADS];
    const int count = image_count * THREADS;
    int i;
    for (i = 0; i < count; ++i)
        if (pthread_create(&threads[i], NULL, keep_reading, &images[i % image_count]) != 0)
            fail("no thread", "fork_test");
    for (i = 0; i < rounds; ++i) {
        const struct timespec pause = {0, (i % 20) * 500000L};
        pid_t child;
        nanosleep(&pause, NULL);
        child = fork();
        if (child == 0) read_as_child(i);
        expect(child, "a child");
    }
    stop = 1;
    for (i = 0; i < count; ++i) pthread_join(threads[i], NULL);
}

/* Forks at the call of the progress function that it counts down to. */
struct forking {
    int calls_left;
    pid_t child;
};

static int fork_in_progress(void* data, uint64_t done, uint64_t total) {
    struct forking* forking = data;
    (void)done;
    (void)total;
    if (forking->calls_left-- == 0) {
        forking->child = fork();
        if (forking->child == 0) alarm(SECONDS);
    }
    return 0;
}

/* The child's opening fails or gives the right bytes; the parent's goes on. */
static void a_child_forked_while_a_disk_is_opened_gets_an_end(const struct image* image, int calls) {
    struct forking forking = {0, -1};
    vdisk_open_options options = {0};
    vdisk_disk* disk;
    forking.calls_left = calls;
    options.struct_size = sizeof options;
    options.progress = fork_in_progress;
    options.progress_data = &forking;
    disk = vdisk_open(image->path, &options);
    if (forking.child == 0) {
        if (disk != NULL) compare_all(image, disk);
        vdisk_close(disk);
        _exit(0);
    }
    if (disk == NULL) fail("not opened", image->path);
    compare_all(image, disk);
    vdisk_close(disk);
    if (forking.child > 0) expect(forking.child, "a child forked during opening");
}

int main(int argc, char** argv) {
    int i;
    rounds = argc > 1 ? atoi(argv[1]) : 0;
    for (i = 2; i + 1 < argc && image_count < MOST; i += 2) load(&images[image_count++], argv[i], argv[i + 1]);
    if (image_count == 0) {
        fprintf(stderr, "usage: fork_test ROUNDS IMAGE RAW [IMAGE RAW]...\n");
        return 2;
    }
    open_disks();
    children_read_what_their_parent_opened();
    for (i = 0; i < image_count; ++i) vdisk_close(images[i].disk);
    for (i = 0; i < image_count * 4; ++i)
        a_child_forked_while_a_disk_is_opened_gets_an_end(&images[i % image_count], i / image_count * 3);
    return 0;
}
