// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/text.hpp"

#include <cstdio>
#include <unistd.h>

namespace vdisk::tools {
namespace {

using Configurations = std::vector<Configuration>;

std::string list(const Configurations& configs) {
    std::string text;
    for (const Configuration& config : configs)
        text += fmt::format("\n  {}  {} bytes{}{}", printable(config.name), config.data.size(),
                            config.problem.empty() ? "" : "  ", config.problem);
    return text;
}

// Text as it is but for what a terminal would obey.
std::string for_terminal(std::string_view data) {
    std::string text;
    while (!data.empty()) {
        const std::size_t line = std::min(data.find_first_of("\n\t"), data.size());
        text += printable(data.substr(0, line));
        if (line < data.size()) text += data[line];
        data.remove_prefix(std::min(line + 1, data.size()));
    }
    return text;
}

struct Config {
    ImageArgument image;
    std::string name;
    bool list_only = false;

    int operator()() const {
        const auto file = image.open_file();
        if (file.has_error()) return report(file.error());
        const auto configs = file.value().disks->configurations();
        if (configs.has_error()) return report(configs.error());
        if (list_only) return print_list(configs.value());
        const auto chosen = choose(configs.value(), file.value().source->name());
        if (chosen.has_error()) return report(chosen.error());
        mention_others(configs.value(), *chosen.value());
        return print(*chosen.value());
    }

    static int print_list(const Configurations& configs) {
        for (const Configuration& config : configs)
            fmt::print("{}  {} bytes\n", printable(config.name), config.data.size());
        return kDone;
    }

    // What is not printed for want of a name is said.
    void mention_others(const Configurations& configs, const Configuration& chosen) const {
        if (!name.empty()) return;
        for (const Configuration& config : configs)
            if (&config != &chosen)
                warn(fmt::format("also holds the configuration '{}', {} bytes", printable(config.name),
                                 config.data.size()));
    }

    // The one of that name; without a name, the machine's own, or the only one.
    Result<const Configuration*> choose(const Configurations& configs, std::string_view path) const {
        std::vector<const Configuration*> fitting;
        for (const Configuration& config : configs)
            if (name.empty() || config.name == name || printable(config.name) == name) fitting.push_back(&config);
        if (name.empty() && fitting.size() > 1)
            std::erase_if(fitting, [](const Configuration* config) { return !config->is_main; });
        if (fitting.size() == 1) return fitting.front();
        if (configs.empty()) return fail(ErrorKind::usage, "{}: holds no configuration", path);
        if (name.empty())
            return fail(ErrorKind::usage, "{}: holds {} configurations, say which:{}", path, configs.size(),
                        list(configs));
        return fail(ErrorKind::usage, "{}: has {} configuration '{}'; there are:{}", path,
                    fitting.empty() ? "no" : "more than one", printable(name), list(configs));
    }

    // Byte by byte, unless people look at it.
    static int print(const Configuration& config) {
        const std::string text = ::isatty(STDOUT_FILENO) == 1 ? for_terminal(config.data) : config.data;
        std::fwrite(text.data(), 1, text.size(), stdout); // whether it was written is looked at when the tool ends
        if (config.problem.empty()) return kDone;
        warn(fmt::format("configuration '{}': {}", printable(config.name), config.problem));
        return kPartial;
    }
};

} // namespace

Action add_config(CLI::App& command) {
    auto action = std::make_shared<Config>();
    action->image.add_to(command);
    command.add_option("NAME", action->name, "which configuration, where there are several");
    command.add_flag("--list", action->list_only, "list their names and sizes");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
