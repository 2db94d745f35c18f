/* SPDX-License-Identifier: Apache-2.0 */
/* Does with libvhdi.dll what libtsk does: finds it by name, asks for its functions by theirs, and calls them in
 * libtsk's order, from two threads. Prints the size of the disk and a CRC-32 of its bytes; or why it can't be read.
 * load_door.exe IMAGE [DLL] */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

enum { kPiece = 65536, kThreads = 2 };

static HMODULE library;
#define FUNCTION(type, name, types) type(*name) types
static FUNCTION(int, initialize, (void**, void**));
static FUNCTION(int, check_wide, (const wchar_t*, void**));
static FUNCTION(int, open_wide, (void*, const wchar_t*, int, void**));
static FUNCTION(int, media_size, (void*, uint64_t*, void**));
static FUNCTION(intptr_t, read_at, (void*, void*, size_t, int64_t, void**));
static FUNCTION(int, close_file, (void*, void**));
static FUNCTION(int, free_file, (void**, void**));
static FUNCTION(void, free_error, (void**));
static FUNCTION(int, backtrace, (void*, char*, size_t));
static FUNCTION(void, set_verbose, (int));

static void find(void* function, const char* name) {
    FARPROC const found = GetProcAddress(library, name);
    if (found == NULL) {
        printf("no function %s\n", name);
        exit(3);
    }
    memcpy(function, &found, sizeof found);
}

static void fail(const char* what, void** error) {
    char text[1024] = "";
    if (backtrace(*error, text, sizeof text) != 0) strcpy(text, "no text");
    free_error(error);
    printf("%s: %s\n", what, text);
    fflush(stdout);
    ExitProcess(1);
}

static void* file;
static uint64_t size;
static volatile LONG64 next;
static uint32_t* sums; /* of each piece */

static uint32_t crc32(uint32_t crc, const unsigned char* bytes, size_t count) {
    crc = ~crc;
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320U : 0);
    }
    return ~crc;
}

/* Every other piece: the threads read at the same time. */
static DWORD WINAPI read_pieces(void* unused) {
    (void)unused;
    unsigned char* const piece = malloc(kPiece);
    for (;;) {
        const uint64_t at = (uint64_t)InterlockedExchangeAdd64(&next, kPiece);
        if (at >= size) break;
        const size_t wanted = size - at < kPiece ? (size_t)(size - at) : kPiece;
        void* error = NULL;
        if (read_at(file, piece, wanted, (int64_t)at, &error) != (intptr_t)wanted) fail("read", &error);
        sums[at / kPiece] = crc32(0, piece, wanted);
    }
    free(piece);
    return 0;
}

int main(void) {
    int count = 0;
    wchar_t** const words = CommandLineToArgvW(GetCommandLineW(), &count);
    library = LoadLibraryW(count > 2 ? words[2] : L"libvhdi.dll");
    if (count < 2 || library == NULL) {
        printf("no library: %lu\n", GetLastError());
        return 3;
    }
    find(&initialize, "libvhdi_file_initialize");
    find(&check_wide, "libvhdi_check_file_signature_wide");
    find(&open_wide, "libvhdi_file_open_wide");
    find(&media_size, "libvhdi_file_get_media_size");
    find(&read_at, "libvhdi_file_read_buffer_at_offset");
    find(&close_file, "libvhdi_file_close");
    find(&free_file, "libvhdi_file_free");
    find(&free_error, "libvhdi_error_free");
    find(&backtrace, "libvhdi_error_backtrace_sprint");
    find(&set_verbose, "libvhdi_notify_set_verbose");

    void* error = NULL;
    set_verbose(0);
    if (initialize(&file, &error) != 1) fail("initialize", &error);
    const int ours = check_wide(words[1], &error);
    if (ours < 0) fail("check", &error);
    if (ours == 0) {
        printf("not ours\n");
        return 2;
    }
    if (open_wide(file, words[1], 1, &error) != 1) fail("open", &error);
    if (media_size(file, &size, &error) != 1) fail("size", &error);
    sums = calloc((size_t)(size / kPiece + 1), sizeof *sums);
    HANDLE threads[kThreads];
    for (int i = 0; i < kThreads; i++) threads[i] = CreateThread(NULL, 0, read_pieces, NULL, 0, NULL);
    WaitForMultipleObjects(kThreads, threads, TRUE, INFINITE);
    uint32_t crc = 0;
    for (uint64_t at = 0; at < size; at += kPiece)
        crc = crc32(crc, (const unsigned char*)&sums[at / kPiece], sizeof *sums);
    if (close_file(file, &error) != 0) fail("close", &error);
    if (free_file(&file, &error) != 1) fail("free", &error);
    printf("%llu %08x\n", (unsigned long long)size, (unsigned)crc);
    return 0;
}
