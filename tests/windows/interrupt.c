/* SPDX-License-Identifier: Apache-2.0 */
/* Starts a program in the console that this one has, waits until there is a file with something in it, presses Ctrl-C,
 * and prints the status that the program ends with.
 * interrupt.exe FILE COMMAND-LINE: FILE may have wildcards in its name */
#include <stdio.h>
#include <windows.h>

enum { kWait = 60000, kStep = 10 };

/* Whoever has the console gets Ctrl-C, and so does this program. */
static BOOL WINAPI stay(DWORD event) {
    (void)event;
    return TRUE;
}

static int is_begun(const char* pattern) {
    WIN32_FIND_DATAA found;
    const HANDLE search = FindFirstFileA(pattern, &found);
    if (search == INVALID_HANDLE_VALUE) return 0;
    FindClose(search);
    return found.nFileSizeHigh != 0 || found.nFileSizeLow != 0;
}

static int fail(const char* what) {
    printf("%s: error %lu\n", what, GetLastError());
    return 3;
}

int main(int count, char** words) {
    if (count != 3) return 3;
    STARTUPINFOA start = {.cb = sizeof start};
    PROCESS_INFORMATION program;
    SetConsoleCtrlHandler(stay, TRUE);
    if (!CreateProcessA(NULL, words[2], NULL, NULL, TRUE, 0, NULL, NULL, &start, &program)) return fail("no program");
    for (int waited = 0; !is_begun(words[1]); waited += kStep) {
        if (waited >= kWait || WaitForSingleObject(program.hProcess, kStep) == WAIT_OBJECT_0) {
            TerminateProcess(program.hProcess, 3);
            return fail("there was no such file");
        }
    }
    if (!GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0)) return fail("no event");
    if (WaitForSingleObject(program.hProcess, kWait) != WAIT_OBJECT_0) {
        TerminateProcess(program.hProcess, 3);
        return fail("it goes on");
    }
    DWORD status = 0;
    GetExitCodeProcess(program.hProcess, &status);
    printf("status %08lx\n", status);
    return 0;
}
