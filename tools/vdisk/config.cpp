// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/system/program.hpp"
#include "base/text.hpp"

#include <cstdio>

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
    Printing printing;

    int operator()() const {
        const auto file = image.open_file();
        if (file.has_error()) return report(file.error());
        auto configs = file.value().disks->configurations();
        if (configs.has_error()) return report(std::move(configs).error().in(file.value().source->name()));
        if (list_only) return print_list(file.value(), configs.value());
        const auto chosen = choose(configs.value(), file.value().source->name());
        if (chosen.has_error()) return report(chosen.error());
        mention_others(configs.value(), *chosen.value());
        return printing.json ? print_json(file.value(), *chosen.value()) : print(*chosen.value());
    }

    int print_list(const OpenedFile& file, const Configurations& configs) const {
        if (printing.json) {
            Facts list = Facts::array();
            for (const Configuration& config : configs) list.push_back(described(config));
            printing.print_json({{"file", file.source->name()}, {"configurations", std::move(list)}});
            return kDone;
        }
        for (const Configuration& config : configs)
            fmt::print("{}  {} bytes\n", printable(config.name), config.data.size());
        return kDone;
    }

    static Facts described(const Configuration& config) {
        Facts facts{{"name", printable(config.name)}, {"size", config.data.size()}};
        if (!config.problem.empty()) facts["damage"] = printable(config.problem);
        return facts;
    }

    // Its bytes as text where they are that, else as digits.
    int print_json(const OpenedFile& file, const Configuration& config) const {
        Facts facts{{"file", file.source->name()}};
        facts.update(described(config));
        if (is_utf8(config.data)) facts["text"] = config.data;
        else facts["hex"] = hex(std::as_bytes(std::span(config.data)));
        printing.print_json(facts);
        return config.problem.empty() ? kDone : kPartial;
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
        const std::string text = system::is_terminal(system::kStandardOutput) ? for_terminal(config.data) : config.data;
        std::fwrite(text.data(), 1, text.size(), stdout); // whether it was written is looked at when the tool ends
        if (config.problem.empty()) return kDone;
        warn(fmt::format("configuration '{}': {}", printable(config.name), config.problem));
        return kPartial;
    }
};

} // namespace

Action add_config(CommandLine& line) {
    auto action = std::make_shared<Config>();
    action->image.add_to(line);
    line.optional_operand("NAME", action->name, "which configuration, where there are several");
    line.flag("--list", action->list_only, "list their names and sizes");
    action->printing.add_to(line);
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
