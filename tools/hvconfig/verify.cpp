// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/commands.hpp"

#include "base/text.hpp"
#include "common/json_output.hpp"
#include "hvconfig/json_dump.hpp"

namespace vdisk::tools {
namespace {

struct Verify {
    FileArgument file;
    bool json = false;

    int operator()() const {
        const auto opened = file.open();
        if (opened.has_error()) return report(opened.error());
        const hyperv::Storage& storage = *opened.value();
        TextOutput out;
        if (json) {
            out.print("{{\"vdisk_json\":{},\"findings\":", kJsonVersion);
            print_findings(storage, out);
            out.print(",\n\"size\":{},\"told_size\":{}}}\n", storage.raw_source()->size(), storage.told_size());
        } else {
            for (const hyperv::Finding& finding : storage.findings()) out.print("{}\n", to_line(storage, finding));
            say_if_short(storage, out);
            out.print("{}: {} keys in {} key tables, {}\n", printable(file.path), storage.keys().size(),
                      storage.key_tables().live.size(),
                      storage.findings().empty() ? "no faults" : fmt::format("{} findings", storage.findings().size()));
        }
        return storage.findings().empty() ? kDone : kPartial;
    }

private:
    // No fault of its own: what is missing of it is a finding where it matters.
    void say_if_short(const hyperv::Storage& storage, TextOutput& out) const {
        const std::uint64_t size = storage.raw_source()->size();
        if (storage.told_size() <= size) return;
        out.print("{}: ends at offset {}, but its header and object tables tell of bytes up to {}\n",
                  printable(file.path), size, storage.told_size());
    }
};

} // namespace

Action add_verify(CommandLine& line) {
    auto action = std::make_shared<Verify>();
    action->file.add_to(line);
    line.flag("--json", action->json, "print JSON, as vdisk-json(5) describes it");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
