/* SPDX-License-Identifier: Apache-2.0 */
/* Loading the plugin out of what stands in a library's place on an enabled machine: by libc alone, and so that a plugin
 * that is damaged or gone breaks no program. */
#ifndef VDISK_PLUGIN_FILE_H
#define VDISK_PLUGIN_FILE_H

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { kLongestPath = 1000 };

static int ends_in_file(uint64_t offset, uint64_t length, const struct stat* status) {
    const uint64_t size = (uint64_t)status->st_size;
    return length <= size && offset <= size - length;
}

/* Whether an ELF file has all that its headers name. The loader maps a cut file without a word, and the program is
   killed where it touches what is not there. */
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

/* The plugin at `path`, loaded until the process ends; NULL, with one line in `excuse`, where it can't be. */
static void* load_plugin(const char* path, char* excuse, size_t excuse_size) {
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) {
        snprintf(excuse, excuse_size, "%.128s: %.64s", path, strerror(errno));
        return NULL;
    }
    const int whole = is_whole(file);
    close(file);
    void* const plugin = whole ? dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) : NULL;
    if (!whole) snprintf(excuse, excuse_size, "%.128s is damaged", path);
    else if (plugin == NULL) snprintf(excuse, excuse_size, "%.250s", dlerror());
    return plugin;
}

#endif
