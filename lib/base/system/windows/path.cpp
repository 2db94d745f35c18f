// SPDX-License-Identifier: Apache-2.0
#include "base/system/path.hpp"

#include "base/system/windows/handles.hpp"
#include "base/utf16.hpp"

#include <algorithm>
#include <cstring>
#include <cwchar>

namespace vdisk {
namespace system {
namespace {

constexpr char32_t kNoCharacter = 0xFFFF;

// A character of UTF-8, or of its extension to single surrogates, and how many bytes it has; {kNoCharacter, 1} for a
// byte that belongs to none, {kNoCharacter, 0} where the text ends within one.
struct Decoded {
    char32_t character;
    std::size_t bytes;
};

Decoded decode(const char* text, std::size_t left) noexcept {
    constexpr Decoded kBad{kNoCharacter, 1};
    const auto byte = [&](std::size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[i])); };
    if (left == 0) return {kNoCharacter, 0};
    const char32_t first = byte(0);
    if (first < 0x80) return {first, 1};
    if (first < 0xC2 || first > 0xF4) return kBad;
    const std::size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    char32_t character = first & (0xFF >> (length + 1));
    for (std::size_t i = 1; i < length; ++i) {
        if (i == left) return {kNoCharacter, 0};
        if ((byte(i) & 0xC0) != 0x80) return kBad;
        character = character << 6 | (byte(i) & 0x3F);
    }
    const bool overlong = (length == 3 && character < 0x800) || (length == 4 && character < 0x10000);
    return overlong || character > 0x10FFFF ? kBad : Decoded{character, length};
}

} // namespace

std::string narrow(std::wstring_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        char32_t character = text[i];
        if (is_high_surrogate(character) && i + 1 < text.size() && is_low_surrogate(text[i + 1]))
            character = joined_surrogates(character, text[++i]);
        append_utf8(out, character);
    }
    return out;
}

std::wstring wide(std::string_view text) {
    std::wstring out;
    out.reserve(text.size());
    while (!text.empty()) {
        const Decoded next = decode(text.data(), text.size());
        if (next.character < 0x10000) out += static_cast<wchar_t>(next.character);
        else {
            out += static_cast<wchar_t>(0xD800 + ((next.character - 0x10000) >> 10));
            out += static_cast<wchar_t>(0xDC00 + ((next.character - 0x10000) & 0x3FF));
        }
        text.remove_prefix(std::max<std::size_t>(next.bytes, 1));
    }
    return out;
}

} // namespace system

std::string utf8(const std::filesystem::path& path) {
    return system::narrow(path.native());
}

} // namespace vdisk

// libstdc++ makes a path of narrow text by the C library's conversion to wide characters, which here knows none but
// ASCII: the linker takes this one in its place. So whoever makes a path of UTF-8, by whichever function of
// std::filesystem, gets it. One call gives one unit of UTF-16: of a character that has two, the first is given for
// three of its bytes and the second for the last, with the state in between.
extern "C" std::size_t mbrtowc(wchar_t* out, const char* text, std::size_t count, mbstate_t* state) {
    static thread_local mbstate_t own{};
    mbstate_t& pending = state == nullptr ? own : *state;
    if (text == nullptr) {
        pending = 0;
        return 0;
    }
    if (count == 0) return static_cast<std::size_t>(-2);
    const auto put = [&](char32_t unit) {
        if (out != nullptr) *out = static_cast<wchar_t>(unit);
    };
    if (pending != 0) {
        put(static_cast<char32_t>(pending));
        pending = 0;
        return 1;
    }
    // What ends within a character is as bad as what is none.
    const vdisk::system::Decoded next = vdisk::system::decode(text, count);
    if (next.bytes < 4) {
        put(next.character);
        return next.character == 0 ? 0 : std::max<std::size_t>(next.bytes, 1);
    }
    put(0xD800 + ((next.character - 0x10000) >> 10));
    pending = static_cast<mbstate_t>(0xDC00 + ((next.character - 0x10000) & 0x3FF));
    return 3;
}

// The C library has these in one piece with its own mbrtowc(), which would come along.
extern "C" std::size_t mbrlen(const char* text, std::size_t count, mbstate_t* state) {
    return mbrtowc(nullptr, text, count, state);
}

extern "C" std::size_t mbsrtowcs(wchar_t* out, const char** text, std::size_t most, mbstate_t* state) {
    std::size_t units = 0;
    const char* at = *text;
    for (; out == nullptr || units < most; ++units) {
        const std::size_t taken = mbrtowc(out == nullptr ? nullptr : out + units, at, std::strlen(at) + 1, state);
        if (taken == 0) {
            at = nullptr;
            break;
        }
        at += taken;
    }
    if (out != nullptr) *text = at;
    return units;
}
