/* SPDX-License-Identifier: Apache-2.0 */
/* What programs on Windows call in the place of two of the functions with narrow names. */
#include "wide.h"

#include "error.h"

#include <stdlib.h>
#include <windows.h>

/* `path` as UTF-8, to be freed; NULL with an error if it can't be. */
static char* narrow(const wchar_t* path, const char* function, void** error) {
    if (path == NULL) {
        door_fail(error, kDomainArguments, kArgumentInvalid, "%s: no path", function);
        return NULL;
    }
    const int size = WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, path, -1, NULL, 0, NULL, NULL);
    char* const text = size <= 0 ? NULL : malloc((size_t)size);
    if (text != NULL && WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, path, -1, text, size, NULL, NULL) == size)
        return text;
    free(text);
    door_fail(error, kDomainArguments, kArgumentInvalid, "%s: the path is no UTF-16", function);
    return NULL;
}

DOOR_EXPORT int libvhdi_check_file_signature_wide(const wchar_t* path, void** error) {
    char* const text = narrow(path, __func__, error);
    if (text == NULL) return -1;
    const int answer = libvhdi_check_file_signature(text, error);
    free(text);
    return answer;
}

DOOR_EXPORT int libvhdi_file_open_wide(struct door_file* file, const wchar_t* path, int flags, void** error) {
    char* const text = narrow(path, __func__, error);
    if (text == NULL) return -1;
    const int answer = libvhdi_file_open(file, text, flags, error);
    free(text);
    return answer;
}
