/* SPDX-License-Identifier: Apache-2.0 */
/* The libraries behind the door on Windows: ours is in the same file, and the libvhdi in whose place it stands is what
 * a person renamed and left beside it. */
#include "libraries.h"

#include <stdlib.h>
#include <windows.h>

#define REAL_NAME L"libvhdi-original.dll"

static HMODULE real;
static INIT_ONCE real_loaded = INIT_ONCE_STATIC_INIT;

const struct door_vdisk* door_vdisk(void) {
    static const struct door_vdisk vdisk = {
        .identify = vdisk_identify,
        .open = vdisk_open,
        .close = vdisk_close,
        .size = vdisk_size,
        .read = vdisk_read,
        .remarks = vdisk_remarks,
        .extent_at = vdisk_extent_at,
        .last_error = vdisk_last_error,
        .last_error_kind = vdisk_last_error_kind,
    };
    return &vdisk;
}

/* Names are UTF-8 here. */
int door_file_exists(const char* path) {
    const int size = MultiByteToWideChar(CP_UTF8, 0, path, -1, NULL, 0);
    WCHAR* const name = size <= 0 ? NULL : malloc((size_t)size * sizeof *name);
    const int there = name != NULL && MultiByteToWideChar(CP_UTF8, 0, path, -1, name, size) == size &&
                      GetFileAttributesW(name) != INVALID_FILE_ATTRIBUTES;
    free(name);
    return there;
}

/* The folder of this library, with the name of the real one. What it needs lies beside it, too. */
static BOOL CALLBACK load_real(INIT_ONCE* once, void* parameter, void** context) {
    (void)once, (void)parameter, (void)context;
    static WCHAR path[32768]; /* no path is longer */
    HMODULE own = NULL;
    GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                       (const WCHAR*)(const void*)&real, &own);
    const DWORD room = sizeof path / sizeof *path - sizeof REAL_NAME / sizeof(WCHAR);
    const DWORD length = GetModuleFileNameW(own, path, room);
    WCHAR* const slash = length == 0 || length >= room ? NULL : wcsrchr(path, L'\\');
    if (slash == NULL) return TRUE;
    wcscpy(slash + 1, REAL_NAME);
    real = LoadLibraryExW(path, NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
    return TRUE;
}

door_function* door_real(const char* name) {
    InitOnceExecuteOnce(&real_loaded, load_real, NULL, NULL);
    return real == NULL ? NULL : (door_function*)(void*)GetProcAddress(real, name);
}
