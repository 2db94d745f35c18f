// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/files_argument.hpp"

#include "base/text.hpp"
#include "hvconfig/json_dump.hpp"
#include "hvconfig/values.hpp"

namespace vdisk::tools {
namespace {

struct Verify {
    FilesArgument files;
    bool json = false;

    int operator()() const {
        return files.for_each({".vmcx", ".vmrs", ".vsv"}, [this](const FileArgument& file) { return check(file); });
    }

private:
    int check(const FileArgument& file) const {
        const auto opened = file.open();
        if (opened.has_error()) return report(opened.error());
        const hyperv::Storage& storage = *opened.value();
        TextOutput out;
        if (json) print_json(file.path, storage, out);
        else print_text(file.path, storage, out);
        return storage.findings().empty() ? kDone : kPartial;
    }

    void print_json(const std::string& path, const hyperv::Storage& storage, TextOutput& out) const {
        const bool one_line = files.several();
        out.print("{{\"vdisk_json\":{},\"file\":{},\"findings\":", kJsonVersion, json_string(path));
        print_findings(storage, out, one_line ? JsonLayout::one_line : JsonLayout::indented);
        out.print(",{}\"size\":{},\"told_size\":{}}}\n", one_line ? "" : "\n", storage.raw_source()->size(),
                  storage.told_size());
    }

    void print_text(const std::string& path, const hyperv::Storage& storage, TextOutput& out) const {
        const std::string name = printable(path);
        for (const hyperv::Finding& finding : storage.findings())
            out.print("{}{}\n", files.several() ? name + ": " : "", to_line(storage, finding));
        say_if_short(name, storage, out);
        out.print("{}: {} keys in {} key tables, {}\n", name, storage.keys().size(), storage.key_tables().live.size(),
                  storage.findings().empty() ? "no faults" : fmt::format("{} findings", storage.findings().size()));
    }

    // No fault of its own: what is missing of it is a finding where it matters.
    static void say_if_short(const std::string& name, const hyperv::Storage& storage, TextOutput& out) {
        const std::uint64_t size = storage.raw_source()->size();
        if (storage.told_size() <= size) return;
        out.print("{}: ends at offset {}, but its header and object tables tell of bytes up to {}\n", name, size,
                  storage.told_size());
    }
};

} // namespace

Action add_verify(CommandLine& line) {
    auto action = std::make_shared<Verify>();
    action->files.add_to(line);
    line.flag("--json", action->json, "print JSON, as vdisk-json(5) describes it");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
