// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "open/report.hpp"

namespace vdisk::tools {
namespace {

struct Info {
    ImageArguments images;
    Printing printing;

    int operator()() {
        printing.several = images.several();
        return images.for_each(!printing.json, [this](const ImageArgument& image) { return tell(image); });
    }

private:
    int tell(const ImageArgument& image) const {
        auto options = image.options();
        if (options.has_error()) return report(options.error());
        auto file = image.open_file(options.value());
        if (file.has_error()) return report(file.error());
        auto disk = wiped(vdisk::open_disk(file.value(), options.value()));
        tell_remarks(disk.has_value() ? disk.value().remarks() : file.value().remarks());
        // A disk that can't be opened, for want of its parent say, leaves what the file itself tells;
        // where one of several would have to be selected, that is all that was asked for.
        const Facts facts = disk.has_value() ? describe(disk.value()) : describe(file.value());
        if (printing.json) printing.print_json(facts);
        else fmt::print("{}", to_text(file.value(), facts));
        const Selector& selector = file.value().context.selector;
        const bool nothing_selected = !selects_disk(selector) && select_disk(*file.value().disks, selector).has_error();
        if (disk.has_value() || nothing_selected) return tells_damage(facts) ? kPartial : kDone;
        report(disk.error());
        return kPartial;
    }
};

} // namespace

Action add_info(CommandLine& line) {
    auto action = std::make_shared<Info>();
    action->images.add_to(line);
    action->printing.add_to(line);
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
