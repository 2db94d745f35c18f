// SPDX-License-Identifier: Apache-2.0
#include "hvconfig/commands.hpp"

#include "base/text.hpp"
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
        const bool whole = memory.value().losses().empty() && losses.value().empty();
        return whole ? status_of(*storage.value()) : kPartial;
    }

private:
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
        const auto writer = lime ? lime_writer(*out) : raw_writer(*out);
        ProgressBar bar("rebuilding");
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

Action add_memory(CLI::App& command) {
    auto action = std::make_shared<Memory>();
    action->file.add_to(command);
    command.add_option("OUT", action->output, "the file to write, '-' for standard output")->required();
    command.add_option("-f,--format", action->format, "raw (an offset is an address) or lime (only what is there)")
        ->check(CLI::IsMember({"raw", "lime"}))
        ->capture_default_str();
    command.add_flag("--force", action->overwrite, "overwrite OUT if it exists");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
