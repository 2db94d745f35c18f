// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/text.hpp"
#include "common/output.hpp"
#include "vdisk/copy.hpp"
#include "vdisk/hashes.hpp"

namespace vdisk::tools {
namespace {

struct Export {
    ImageArgument image;
    std::string output;
    bool overwrite = false;
    bool vm_state = false;
    std::vector<std::string> algorithms{};

    int operator()() const { return vm_state ? export_saved_state() : export_disk(); }

private:
    int export_disk() const {
        const auto disk = image.open_disk();
        return disk.has_error() ? report(disk.error()) : write(*disk.value().image, 0);
    }

    int export_saved_state() const {
        const auto file = image.open_file();
        if (file.has_error()) return report(file.error());
        const auto state = open_saved_state(file.value());
        return state.has_error() ? report(state.error()) : write(*state.value().image, state.value().start.value);
    }

    int write(const Image& source, std::uint64_t start) const {
        const auto hashes = make_hashes(algorithms);
        if (hashes.has_error()) return report(hashes.error());
        const auto out = Output::open(output, overwrite);
        if (out.has_error()) return report(out.error());
        std::vector<Sink*> sinks = sinks_of(hashes.value());
        sinks.push_back(out.value().get());
        const auto lost = copy_disk(source, start, sinks, "exporting");
        if (lost.has_error()) return report(Error(lost.error()).in(printable(output)));
        if (auto done = out.value()->finish(source.size() - start); done.has_error())
            return report(std::move(done).error().in(printable(output)));
        warn_of_lost(lost.value(), "are zeros in the output");
        if (auto printed = print_hashes(output == "-" ? stderr : stdout, hashes.value(), output); printed.has_error())
            return report(printed.error());
        return lost.value().empty() ? kDone : kPartial;
    }
};

} // namespace

Action add_export(CLI::App& command) {
    auto action = std::make_shared<Export>();
    action->image.add_to(command);
    command.add_option("OUT", action->output, "the raw file to write, '-' for standard output")->required();
    command.add_flag("--vm-state", action->vm_state,
                     "write the machine's RAM and devices that were saved with the selected snapshot");
    add_algorithms(command, "--hash", action->algorithms, "also print hashes of what is written");
    command.add_flag("--force", action->overwrite, "overwrite OUT if it exists");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
