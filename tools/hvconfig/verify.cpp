// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/commands.hpp"

#include "base/text.hpp"
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
            out.put("{\"findings\":");
            print_findings(storage, out);
            out.put("}\n");
        } else {
            for (const hyperv::Finding& finding : storage.findings()) out.print("{}\n", to_line(storage, finding));
            out.print("{}: {} keys in {} key tables, {}\n", printable(file.path), storage.keys().size(),
                      storage.key_tables().live.size(),
                      storage.findings().empty() ? "no faults" : fmt::format("{} findings", storage.findings().size()));
        }
        if (auto done = out.finish(); done.has_error()) return report(done.error());
        return storage.findings().empty() ? kDone : kPartial;
    }
};

} // namespace

Action add_verify(CLI::App& command) {
    auto action = std::make_shared<Verify>();
    action->file.add_to(command);
    command.add_flag("--json", action->json, "print JSON");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
