// SPDX-License-Identifier: Apache-2.0
// What stands in libtsk's place on an enabled machine: it has that libtsk's SONAME and asks for the real one by its
// absolute path. The functions that the plugin stands in for are jumps here: into the plugin, or, where that is gone,
// damaged or lacks a library, into libtsk. So a broken installation of ours breaks no program. Needs libc alone, and
// keeps the caller's errno. Thread-safe.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { kLongestPath = 1000 };

// `tsk-vdisk enable` writes paths over these placeholders in the file.
__attribute__((visibility("hidden"))) const char vdisk_plugin_path[kLongestPath + 1] = "TSK_VDISK_PLUGIN";
__attribute__((visibility("hidden"))) const char vdisk_libtsk_path[kLongestPath + 1] = "TSK_VDISK_REAL";

enum Function {
    kOpen,
    kOpenSing,
    kOpenUtf8,
    kOpenUtf8Sing,
    kOpenOpt,
    kOpenSingOpt,
    kOpenUtf8Opt,
    kOpenUtf8SingOpt,
    kToId,
    kToIdUtf8,
    kToName,
    kToDesc,
    kSupported,
    kPrint,
    kRead,
    kFunctions
};

static const char* const names[kFunctions] = {
    "tsk_img_open",           "tsk_img_open_sing",      "tsk_img_open_utf8",     "tsk_img_open_utf8_sing",
    "tsk_img_open_opt",       "tsk_img_open_sing_opt",  "tsk_img_open_utf8_opt", "tsk_img_open_utf8_sing_opt",
    "tsk_img_type_toid",      "tsk_img_type_toid_utf8", "tsk_img_type_toname",   "tsk_img_type_todesc",
    "tsk_img_type_supported", "tsk_img_type_print",     "tsk_img_read",
};

static void* functions[kFunctions]; // nullptr for what neither the plugin nor this libtsk has
static char excuse[256];            // why there is no plugin; empty if there is one
static pthread_once_t found = PTHREAD_ONCE_INIT, told = PTHREAD_ONCE_INIT;

static int ends_in_file(uint64_t offset, uint64_t length, const struct stat* status) {
    const uint64_t size = (uint64_t)status->st_size;
    return length <= size && offset <= size - length;
}

// Whether an ELF file has all that its headers name. The loader maps a cut file without a word, and the program is
// killed where it touches what is not there.
static int is_whole(int file) {
    struct stat status;
    ElfW(Ehdr) header;
    if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode) ||
        pread(file, &header, sizeof header, 0) != (ssize_t)sizeof header ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phentsize != sizeof(ElfW(Phdr)) ||
        !ends_in_file(header.e_shoff, (uint64_t)header.e_shnum * header.e_shentsize, &status))
        return 0;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        ElfW(Phdr) segment;
        const off_t at = (off_t)(header.e_phoff + (uint64_t)i * sizeof segment);
        if (pread(file, &segment, sizeof segment, at) != (ssize_t)sizeof segment ||
            !ends_in_file(segment.p_offset, segment.p_filesz, &status))
            return 0;
    }
    return 1;
}

static void* open_plugin(void) {
    const int file = open(vdisk_plugin_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) {
        snprintf(excuse, sizeof excuse, "%.128s: %.64s", vdisk_plugin_path, strerror(errno));
        return NULL;
    }
    const int whole = is_whole(file);
    close(file);
    void* const plugin = whole ? dlopen(vdisk_plugin_path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) : NULL;
    if (!whole) snprintf(excuse, sizeof excuse, "%.128s is damaged", vdisk_plugin_path);
    else if (plugin == NULL) snprintf(excuse, sizeof excuse, "%.250s", dlerror());
    return plugin;
}

static void find_functions(void) {
    void* const plugin = open_plugin();
    void* const libtsk = dlopen(vdisk_libtsk_path, RTLD_NOLOAD | RTLD_LAZY); // is loaded: this library asks for it
    for (int i = 0; i < kFunctions; i++) {
        if (plugin != NULL) functions[i] = dlsym(plugin, names[i]);
        if (functions[i] == NULL && libtsk != NULL) functions[i] = dlsym(libtsk, names[i]);
    }
}

static void tell(void) {
    fprintf(stderr, "tsk-vdisk: virtual disks are not read: %s (see tsk-vdisk status)\n", excuse);
}

__attribute__((noinline)) static void* function(enum Function which) {
    const int saved = errno;
    pthread_once(&found, find_functions);
    if (excuse[0] != 0 && which <= kOpenUtf8SingOpt) pthread_once(&told, tell);
    errno = saved;
    return functions[which];
}

// Calls are the last thing that a function does, so that they are jumps: the plugin sees the caller's return address.
#define DOOR(result, otherwise, name, which, parameters, arguments)                                                    \
    result name parameters {                                                                                           \
        result(*const target) parameters = (result(*) parameters)function(which);                                      \
        return target != NULL ? target arguments : otherwise;                                                          \
    }

typedef unsigned TypeId;
typedef void Image;

DOOR(Image*, NULL, tsk_img_open, kOpen, (int count, const char* const images[], TypeId type, unsigned sector_size),
     (count, images, type, sector_size))
DOOR(Image*, NULL, tsk_img_open_sing, kOpenSing, (const char* image, TypeId type, unsigned sector_size),
     (image, type, sector_size))
DOOR(Image*, NULL, tsk_img_open_utf8, kOpenUtf8,
     (int count, const char* const images[], TypeId type, unsigned sector_size), (count, images, type, sector_size))
DOOR(Image*, NULL, tsk_img_open_utf8_sing, kOpenUtf8Sing, (const char* image, TypeId type, unsigned sector_size),
     (image, type, sector_size))
DOOR(Image*, NULL, tsk_img_open_opt, kOpenOpt,
     (int count, const char* const images[], TypeId type, unsigned sector_size, const void* options),
     (count, images, type, sector_size, options))
DOOR(Image*, NULL, tsk_img_open_sing_opt, kOpenSingOpt,
     (const char* image, TypeId type, unsigned sector_size, const void* options), (image, type, sector_size, options))
DOOR(Image*, NULL, tsk_img_open_utf8_opt, kOpenUtf8Opt,
     (int count, const char* const images[], TypeId type, unsigned sector_size, const void* options),
     (count, images, type, sector_size, options))
DOOR(Image*, NULL, tsk_img_open_utf8_sing_opt, kOpenUtf8SingOpt,
     (const char* image, TypeId type, unsigned sector_size, const void* options), (image, type, sector_size, options))
DOOR(TypeId, 0xffff, tsk_img_type_toid, kToId, (const char* word), (word)) // TSK_IMG_TYPE_UNSUPP
DOOR(TypeId, 0xffff, tsk_img_type_toid_utf8, kToIdUtf8, (const char* word), (word))
DOOR(const char*, NULL, tsk_img_type_toname, kToName, (TypeId type), (type))
DOOR(const char*, NULL, tsk_img_type_todesc, kToDesc, (TypeId type), (type))
DOOR(TypeId, 0, tsk_img_type_supported, kSupported, (void), ())

DOOR(ssize_t, -1, tsk_img_read, kRead, (Image * image, long long offset, char* bytes, size_t length),
     (image, offset, bytes, length))

void tsk_img_type_print(FILE* out) {
    void (*const target)(FILE*) = (void (*)(FILE*))function(kPrint);
    if (target != NULL) target(out);
}
