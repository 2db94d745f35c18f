// SPDX-License-Identifier: Apache-2.0
#include "open/report.hpp"
#include "vdisk/commands.hpp"

namespace vdisk::tools {
namespace {

struct Audit {
    ImageArgument image;
    bool json = false;

    int operator()() const {
        const auto options = image.options("auditing");
        if (options.has_error()) return report(options.error());
        const auto file = image.open_file(options.value());
        if (file.has_error()) return report(file.error());
        const auto audited = wiped(audit_file(file.value(), options.value()));
        if (audited.has_error()) return report(audited.error());
        return print_report(file.value(), audited.value(), json);
    }
};

} // namespace

Action add_audit(CLI::App& command) {
    auto action = std::make_shared<Audit>();
    action->image.add_to(command);
    command.add_flag("--json", action->json, "print JSON");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
