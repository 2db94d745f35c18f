/* SPDX-License-Identifier: Apache-2.0 */
/* The libraries behind the door, each loaded when it is first asked for. Thread-safe. */
#ifndef VDISK_VHDI_LIBRARIES_H
#define VDISK_VHDI_LIBRARIES_H

#include "vdisk.h"

/* What is used of vdisk.h. */
struct door_vdisk {
    const char* (*identify)(const char* path);
    vdisk_disk* (*open)(const char* path, const vdisk_open_options* options);
    void (*close)(vdisk_disk* disk);
    uint64_t (*size)(const vdisk_disk* disk);
    int64_t (*read)(const vdisk_disk* disk, void* buffer, size_t count, uint64_t offset);
    const char* (*remarks)(const vdisk_disk* disk);
    int (*extent_at)(const vdisk_disk* disk, uint64_t offset, uint64_t wanted, vdisk_extent* extent);
    const char* (*last_error)(void);
    enum vdisk_error_kind (*last_error_kind)(void);
};

/* Ours; NULL where the plugin is damaged or gone, which is said on standard error, once. All is then left to the real
   libvhdi. */
const struct door_vdisk* door_vdisk(void);

/* Whether there is a file of that name. */
int door_file_exists(const char* path);

/* The function `name` of the libvhdi in whose place this library stands; NULL where there is none. */
typedef void door_function(void);
door_function* door_real(const char* name);

#endif
