// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "open/report.hpp"

namespace vdisk::tools {
namespace {

struct Audit {
    ImageArguments images;
    Printing printing;

    int operator()() {
        printing.several = images.several();
        return images.for_each(!printing.json, [this](const ImageArgument& image) { return audit(image); });
    }

private:
    int audit(const ImageArgument& image) const {
        const auto options = image.options("auditing");
        if (options.has_error()) return report(options.error());
        const auto file = image.open_file(options.value());
        if (file.has_error()) return report(file.error());
        auto audited = wiped(audit_file(file.value(), options.value()));
        if (audited.has_error()) return report(std::move(audited).error().in(file.value().source->name()));
        return print_report(file.value(), audited.value(), printing);
    }
};

} // namespace

Action add_audit(CommandLine& line) {
    auto action = std::make_shared<Audit>();
    action->images.add_to(line);
    action->printing.add_to(line);
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
