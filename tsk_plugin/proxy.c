// SPDX-License-Identifier: Apache-2.0
// What stands in libtsk's place on an enabled machine: it has that libtsk's SONAME and asks for the real one by its
// absolute path. The functions that the plugin stands in for are jumps here: into the plugin, or, where that is gone,
// damaged or lacks a library, into libtsk. So a broken installation of ours breaks no program. Needs libc alone, and
// keeps the caller's errno. Thread-safe.
#define _GNU_SOURCE
#include "plugin_file.h"

#include <pthread.h>

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

static void find_functions(void) {
    void* const plugin = load_plugin(vdisk_plugin_path, excuse, sizeof excuse);
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
