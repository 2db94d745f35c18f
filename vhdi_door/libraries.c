/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "libraries.h"

#include "tsk_plugin/plugin_file.h"

#include <gnu/libc-version.h>
#include <pthread.h>
#include <unistd.h>

/* `tsk-vdisk enable` writes paths over these placeholders in its copy of the file. Where it has not, the library was
   preloaded for one program, and what it needs is found beside it. */
__attribute__((visibility("hidden"))) const char door_plugin_path[kLongestPath + 1] = "TSK_VDISK_PLUGIN";
__attribute__((visibility("hidden"))) const char door_real_path[kLongestPath + 1] = "TSK_VDISK_REAL";

static struct door_vdisk vdisk;
static int have_vdisk;
static void* real;
static pthread_once_t vdisk_loaded = PTHREAD_ONCE_INIT, real_loaded = PTHREAD_ONCE_INIT;

/* Not in the programs' own words: the compiler knows nothing of what enable writes there. */
static const char* written(const volatile char* path) {
    return path[0] == '/' ? (const char*)path : NULL;
}

/* `name` in the folder of the library that holds `address`. */
static const char* beside(const void* address, const char* name, char* path, size_t size) {
    Dl_info info;
    if (dladdr(address, &info) == 0 || info.dli_fname == NULL) return "";
    const char* const slash = strrchr(info.dli_fname, '/');
    const int folder = slash == NULL ? 1 : (int)(slash - info.dli_fname);
    snprintf(path, size, "%.*s/%s", folder, slash == NULL ? "." : info.dli_fname, name);
    return path;
}

static int find(void* library, void* function, const char* name) {
    void* const found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

static int find_all(void* library) {
    return find(library, &vdisk.identify, "vdisk_identify") && find(library, &vdisk.open, "vdisk_open") &&
           find(library, &vdisk.close, "vdisk_close") && find(library, &vdisk.size, "vdisk_size") &&
           find(library, &vdisk.read, "vdisk_read") && find(library, &vdisk.remarks, "vdisk_remarks") &&
           find(library, &vdisk.extent_at, "vdisk_extent_at") && find(library, &vdisk.last_error, "vdisk_last_error") &&
           find(library, &vdisk.last_error_kind, "vdisk_last_error_kind");
}

static void load_vdisk(void) {
    const int saved = errno;
    char excuse[256] = "", path[kLongestPath + 1];
    const char* file = written(door_plugin_path);
    if (file == NULL) file = beside(&vdisk, "libtsk_vdisk.so", path, sizeof path);
    void* const plugin = load_plugin(file, excuse, sizeof excuse);
    have_vdisk = plugin != NULL && find_all(plugin);
    if (plugin != NULL && !have_vdisk) snprintf(excuse, sizeof excuse, "%.128s is of another version", file);
    /* What stands in libtsk's place says the same, where a program has it. */
    if (!have_vdisk && dlsym(RTLD_DEFAULT, "tsk_img_open") == NULL)
        fprintf(stderr, "tsk-vdisk: virtual disks are not read: %s (see tsk-vdisk status)\n", excuse);
    errno = saved;
}

const struct door_vdisk* door_vdisk(void) {
    pthread_once(&vdisk_loaded, load_vdisk);
    return have_vdisk ? &vdisk : NULL;
}

int door_file_exists(const char* path) {
    return access(path, F_OK) == 0;
}

/* Bound to its own functions before all others: it exports those that it calls, and such calls must not come here. */
static void load_real(void) {
    const int saved = errno;
    char path[kLongestPath + 1];
    const char* file = written(door_real_path);
    if (file == NULL)
        file = beside((const void*)&gnu_get_libc_version, "libvhdi.so.1", path, sizeof path); /* where libc is */
    real = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE | RTLD_DEEPBIND);
    Dl_info own, its;
    door_function* const version = real == NULL ? NULL : (door_function*)dlsym(real, "libvhdi_get_version");
    const int is_this = version != NULL && dladdr((const void*)version, &its) != 0 && dladdr(&vdisk, &own) != 0 &&
                        its.dli_fbase == own.dli_fbase;
    if (version == NULL || is_this) real = NULL;
    errno = saved;
}

door_function* door_real(const char* name) {
    pthread_once(&real_loaded, load_real);
    return real == NULL ? NULL : (door_function*)dlsym(real, name);
}
