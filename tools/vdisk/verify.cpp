// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

namespace vdisk::tools {
namespace {

struct Verify {
    ImageArgument image;
    bool json = false;

    int operator()() const {
        const auto options = image.options("verifying");
        if (options.has_error()) return report(options.error());
        const auto file = image.open_file(options.value());
        if (file.has_error()) return report(file.error());
        const auto verified = wiped(file.value().disks->verify(options.value().progress));
        if (verified.has_error()) return report(verified.error());
        return print_report(file.value(), verified.value(), json);
    }
};

} // namespace

Action add_verify(CLI::App& command) {
    auto action = std::make_shared<Verify>();
    action->image.add_to(command);
    command.add_flag("--json", action->json, "print JSON");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
