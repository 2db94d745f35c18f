/* SPDX-License-Identifier: Apache-2.0 */
/* The functions of libvhdi.h that only Windows has. As those of exports.h without "_wide"; paths are UTF-16. */
#ifndef VDISK_VHDI_WIDE_H
#define VDISK_VHDI_WIDE_H

#include "exports.h"

#include <wchar.h>

int libvhdi_check_file_signature_wide(const wchar_t* path, void** error);
int libvhdi_file_open_wide(struct door_file* file, const wchar_t* path, int flags, void** error);

#endif
