// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

namespace vdisk::tools {
namespace {

struct PrintBitmap {
    ImageArgument image;
    std::string name;
    Printing printing;

    int operator()() const {
        const auto file = image.open_file();
        if (file.has_error()) return report(file.error());
        auto bitmap = file.value().disks->bitmap(name);
        if (bitmap.has_error()) return report(std::move(bitmap).error().in(file.value().source->name()));
        for (const std::string& warning : bitmap.value().warnings) warn(fmt::format("bitmap '{}': {}", name, warning));
        bool whole = bitmap.value().warnings.empty();
        const auto printed = printing.json ? print_json(bitmap.value(), whole) : print_text(bitmap.value(), whole);
        if (printed.has_error()) return report(printed.error());
        return whole ? kDone : kPartial;
    }

    // One line a dirty range: offset and length in bytes.
    static Result<void> print_text(const DirtyBitmap& bitmap, bool& whole) {
        return bitmap.visit([&](const DirtyRange& range) -> Result<void> {
            if (range.unreadable) {
                whole = false;
                warn(fmt::format("unknown: disk offset {}, {} bytes: {}", range.offset.value, range.length,
                                 range.unreadable->what));
            } else {
                fmt::print("{} {}\n", range.offset.value, range.length);
            }
            return ok();
        });
    }

    // Range by range, because there may be more of them than memory.
    static Result<void> print_json(const DirtyBitmap& bitmap, bool& whole) {
        Facts head = bitmap.facts;
        head["warnings"] = bitmap.warnings;
        std::string text = json_document(head);
        text.resize(text.rfind("\n}")); // the closing brace comes behind the ranges
        fmt::print("{},\n  \"ranges\": [", text);
        std::string_view separator = "\n";
        auto visited = bitmap.visit([&](const DirtyRange& range) -> Result<void> {
            Facts row = {{"offset", range.offset.value},
                         {"length", range.length},
                         {"state", range.unreadable ? "unknown" : "dirty"}};
            if (range.unreadable) {
                whole = false;
                row["why"] = range.unreadable->what;
            }
            fmt::print("{}    {}", separator, row.dump());
            separator = ",\n";
            return ok();
        });
        fmt::print("\n  ]\n}}\n");
        return visited;
    }
};

} // namespace

Action add_bitmap(CommandLine& line) {
    auto print = std::make_shared<PrintBitmap>();
    print->image.add_to(line);
    line.operand("NAME", print->name, "the bitmap, as 'vdisk info' lists it");
    print->printing.add_to(line);
    return [print] { return (*print)(); };
}

} // namespace vdisk::tools
