// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/commands.hpp"

#include "base/text.hpp"
#include "common/json_output.hpp"
#include "common/progress_bar.hpp"
#include "hvconfig/memory_writer.hpp"
#include "hyperv/saved_memory.hpp"

namespace vdisk::tools {
namespace {

using hyperv::MemoryLoss;
using hyperv::SavedMemory;

struct Memory {
    FileArgument file;
    std::string output;
    std::string format = "raw";
    bool overwrite = false;
    bool json = false;

    int operator()() const {
        const auto storage = file.open();
        if (storage.has_error()) return report(storage.error());
        warn_of_findings(*storage.value());
        const auto memory = SavedMemory::open(storage.value());
        if (memory.has_error()) return report(memory.error());
        for (const MemoryLoss& loss : memory.value().losses()) warn(to_line(loss));
        if (memory.value().regions().empty())
            return report(fail(ErrorKind::corrupt, "{}: no region of memory can be placed", printable(file.path)));
        const auto losses = write(memory.value());
        if (losses.has_error()) return report(losses.error());
        for (const MemoryLoss& loss : losses.value()) warn(to_line(loss));
        if (json) print_json(memory.value().losses(), losses.value());
        const bool whole = memory.value().losses().empty() && losses.value().empty();
        return whole ? status_of(*storage.value()) : kPartial;
    }

private:
    void print_json(std::span<const MemoryLoss> placed, std::span<const MemoryLoss> read) const {
        Facts facts{{"file", printable(file.path)}, {"output", printable(output)}, {"format", format}};
        facts["lost"] = Facts::array();
        for (const auto losses : {placed, read})
            for (const MemoryLoss& loss : losses)
                facts["lost"].push_back({{"what", printable(loss.what)},
                                         {"address", loss.address},
                                         {"length", loss.length},
                                         {"why", printable(loss.why)}});
        fmt::print("{}", json_document(facts));
    }

    static std::string to_line(const MemoryLoss& loss) {
        if (loss.length == 0) return fmt::format("{}: {}", loss.what, loss.why);
        return fmt::format("{}: address {:#x}, {} bytes are not rebuilt: {}", loss.what, loss.address, loss.length,
                           loss.why);
    }

    // An output of nothing but holes would look like memory of zeros.
    Error nothing(const std::vector<MemoryLoss>& losses) const {
        for (const MemoryLoss& loss : losses) warn(to_line(loss));
        return fail(ErrorKind::corrupt, "{}: not one page of memory could be rebuilt", printable(file.path));
    }

    Result<std::vector<MemoryLoss>> write(const SavedMemory& memory) const {
        const bool lime = format == "lime";
        const std::uint64_t size = lime ? 0 : memory.end(); // how many ranges there are shows in the writing
        VDISK_TRY(out, Output::open({.path = output, .overwrite = overwrite, .size = size, .out_of_order = lime}));
        if (json && out->is_standard_output())
            return fail(ErrorKind::usage, "OUT can't be standard output: the JSON goes there");
        const auto writer = lime ? lime_writer(*out) : raw_writer(*out);
        ProgressBar bar("rebuilding", ProgressBar::Counts::bytes);
        bool anything = false;
        VDISK_TRY(losses, memory.read_all(
                              [&](std::uint64_t address, std::span<const std::byte> bytes) {
                                  anything = true;
                                  return writer->pages(address, bytes);
                              },
                              [&](std::uint64_t done, std::uint64_t total) {
                                  bar.update(done, total);
                                  return true;
                              }));
        if (!anything) return nothing(losses);
        VDISK_CHECK(writer->finish(memory.end()));
        return losses;
    }
};

} // namespace

Action add_memory(CommandLine& line) {
    auto action = std::make_shared<Memory>();
    action->file.add_to(line);
    line.operand("OUT", action->output, "the file to write, '-' for standard output");
    line.writes(action->output);
    line.option("-O,--output-format", "FORMAT", action->format,
                "raw (an offset is an address; usual) or lime (only what is there)")
        .one_of({"raw", "lime"});
    line.flag("--force", action->overwrite, "overwrite OUT if it exists");
    line.flag("--json", action->json, "tell what could not be rebuilt as JSON, on standard output");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
