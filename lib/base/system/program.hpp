// SPDX-License-Identifier: Apache-2.0
/// What a program has of the system: its words, its environment, its standard streams, and how it ends.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdisk::system {

constexpr int kStandardOutput = 1;
constexpr int kStandardError = 2;

/// The value of an environment variable, which is UTF-8 on Windows; nothing if there is none.
[[nodiscard]] std::optional<std::string> environment(const char* name);

/// The same, and nothing in a program that has more rights than who started it.
[[nodiscard]] std::optional<std::string> trusted_environment(const char* name);

/// Each variable of the environment whose name begins with `prefix`, as "NAME=VALUE".
[[nodiscard]] std::vector<std::string> variables(std::string_view prefix);

/// What system this is, in words: "Linux 6.1.0 x86_64".
[[nodiscard]] std::string name_and_version();

/// The folder for what programs keep for this user and can make again: by the XDG base directory specification
/// $XDG_CACHE_HOME, else $HOME/.cache, of which a path that is not absolute is to be ignored; on Windows
/// %LOCALAPPDATA%. Empty if there is none.
[[nodiscard]] std::filesystem::path cache_home();

/// The words of the command line, the program's name first: main()'s, but on Windows as UTF-8.
[[nodiscard]] std::vector<std::string> words(int count, char** given);

/// The name that the program was started by, without folders and endings.
[[nodiscard]] std::string program_name();

/// Makes the standard streams what tools take them for: bytes go through as they are, characters are UTF-8, and what is
/// closed is held, so that no file gets its number. Lets the process open as many files as it ever may, and learn how
/// its children end. Call it first.
void prepare_program() noexcept;

/// Whether a standard stream is a terminal; and one on which a line can be drawn anew by control sequences.
[[nodiscard]] bool is_terminal(int stream) noexcept;
[[nodiscard]] bool takes_control_sequences(int stream) noexcept;

/// Has `clean_up` called when somebody ends the program (a signal, Ctrl-C), unless whoever started it has it ignore
/// that. The program still ends by it. `clean_up` must take no lock and allocate nothing. Makes a file that grows too
/// large an error of writing.
void at_ending(void (*clean_up)() noexcept) noexcept;

/// While one lives nobody ends the program but by force. One thread, one at a time.
class EndingHeld {
public:
    EndingHeld() noexcept;
    ~EndingHeld();
    EndingHeld(const EndingHeld&) = delete;
    EndingHeld& operator=(const EndingHeld&) = delete;

private:
    alignas(16) unsigned char before_[128]{}; // the signals that were held before
};

} // namespace vdisk::system
