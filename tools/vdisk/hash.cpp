// SPDX-License-Identifier: Apache-2.0
#include "vdisk/commands.hpp"

#include "base/text.hpp"
#include "common/inputs.hpp"
#include "vdisk/copy.hpp"
#include "vdisk/hashes.hpp"

namespace vdisk::tools {
namespace {

struct Hash {
    ImageArgument image;
    std::vector<std::string> algorithms{};
    bool lost_as_zeros = false;
    bool json = false;

    int operator()() const {
        const auto disk = image.open_disk();
        if (disk.has_error()) return report(disk.error());
        const Image& source = *disk.value().image;
        const auto hashes = make_hashes(algorithms.empty() ? kUsualAlgorithms : algorithms);
        if (hashes.has_error()) return report(hashes.error());
        warn_of_writers();
        const auto lost =
            copy_disk(source, 0, sinks_of(hashes.value()), "hashing", lost_as_zeros ? OnLoss::zeros : OnLoss::stop);
        if (lost.has_error()) return report(lost.error());
        warn_of_lost(lost.value(), lost_as_zeros ? "count as zeros" : "have no hash");
        const bool whole = lost.value().empty();
        const bool changed = warn_of_changes();
        const std::span told(hashes.value().data(), whole || lost_as_zeros ? hashes.value().size() : 0);
        const auto printed =
            json ? print_json(told, source.size(), lost.value()) : print_hashes(stdout, told, image.path);
        return printed.has_error() ? report(printed.error()) : whole && !changed ? kDone : kPartial;
    }

private:
    Result<void> print_json(std::span<const std::unique_ptr<HashSink>> hashes, std::uint64_t size,
                            std::span<const LostRange> lost) const {
        Facts facts = Facts::object();
        facts["image"] = printable(image.path);
        facts["size"] = size;
        for (const auto& hash : hashes) {
            VDISK_TRY(digest, hash->finish());
            facts["hashes"][hash->algorithm()] = digest;
        }
        for (const LostRange& range : lost)
            facts["lost"].push_back(
                {{"offset", range.offset}, {"length", range.length}, {"why", printable(range.why)}});
        fmt::print("{}\n", facts.dump(2));
        return ok();
    }
};

} // namespace

Action add_hash(CLI::App& command) {
    auto action = std::make_shared<Hash>();
    action->image.add_to(command);
    add_algorithms(command, "-a,--algorithm", action->algorithms,
                   "the hashes to take at once, with commas between them; md5,sha1,sha256 if not given");
    command.add_flag(
        "--lost-as-zeros", action->lost_as_zeros,
        "where bytes can't be read, hash zeros for them, as 'vdisk export' writes; without it there is no hash then");
    command.add_flag("--json", action->json, "print JSON");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
