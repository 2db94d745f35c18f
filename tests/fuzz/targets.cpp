// SPDX-License-Identifier: Apache-2.0
/// All fuzz targets, one of which a process runs: the one that VDISK_FUZZ_TARGET names, or else the program's own name.
#include "format/parallels/parallels.hpp"
#include "format/qcow/qcow.hpp"
#include "format/qcow2/qcow2.hpp"
#include "format/qed/qed.hpp"
#include "format/vdi/vdi.hpp"
#include "format/vhd/vhd.hpp"
#include "format/vmdk/vmdk.hpp"
#include "format_target.hpp"
#include "open/machine/machines.hpp"
#include "open/ova/ova.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>

namespace vdisk::fuzz {
namespace {

struct Target {
    std::string_view name; ///< of its folder in the corpus too
    void (*run)(Input input);
};

template<const Format& format> void of_format(Input input) {
    run(format, input);
}

constexpr std::array kTargets{
    Target{"fuzz_doors", doors},
    Target{"fuzz_guest_state", guest_state},
    Target{"fuzz_hyperv", hyperv},
    Target{"fuzz_index_cache", index_cache},
    Target{"fuzz_libvirt", of_format<kLibvirtFormat>},
    Target{"fuzz_luks", luks},
    Target{"fuzz_model", model},
    Target{"fuzz_ova", of_format<kOvaFormat>},
    Target{"fuzz_ovf", of_format<kOvfFormat>},
    Target{"fuzz_parallels", of_format<kParallelsFormat>},
    Target{"fuzz_pbs", pbs},
    Target{"fuzz_pmxcfs", of_format<kPmxcfsFormat>},
    Target{"fuzz_proxmox", of_format<kProxmoxFormat>},
    Target{"fuzz_pvs", of_format<kPvsFormat>},
    Target{"fuzz_qcow", of_format<kQcowFormat>},
    Target{"fuzz_qcow2", of_format<kQcow2Format>},
    Target{"fuzz_qed", of_format<kQedFormat>},
    Target{"fuzz_reference", reference},
    Target{"fuzz_selector", selector},
    Target{"fuzz_streams", streams},
    Target{"fuzz_utm", of_format<kUtmFormat>},
    Target{"fuzz_vbox", vbox},
    Target{"fuzz_vdi", of_format<kVdiFormat>},
    Target{"fuzz_vhd", of_format<kVhdFormat>},
    Target{"fuzz_vhdx", vhdx},
    Target{"fuzz_vma", vma},
    Target{"fuzz_vmdk", of_format<kVmdkFormat>},
    Target{"fuzz_vmx", of_format<kVmxFormat>},
};

const Target* chosen = nullptr;

} // namespace
} // namespace vdisk::fuzz

/// What of the address sanitizer costs time and finds nothing here: an execution frees some kilobytes, so they are
/// still in a small quarantine when they are touched; stacks of allocations need few frames; what fills memory that was
/// not written to with the same bytes each time hides that it is read; and memory that is given back is wanted again.
/// For a finding that needs more: ASAN_OPTIONS=malloc_context_size=30.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() {
    return "quarantine_size_mb=16:thread_local_quarantine_size_kb=256:malloc_context_size=6:max_malloc_fill_size=0:"
           "allocator_release_to_os_interval_ms=-1";
}

/// Called once before all inputs. Ends the program, with all names, if none of them is asked for.
extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** argv) {
    using namespace vdisk::fuzz;
    const char* const asked = std::getenv("VDISK_FUZZ_TARGET");
    const std::string name = asked != nullptr ? asked : std::filesystem::path((*argv)[0]).filename().string();
    const auto* const found = std::ranges::find(kTargets, name, &Target::name);
    if (found != kTargets.end()) {
        chosen = found;
        return 0;
    }
    std::fprintf(stderr, "VDISK_FUZZ_TARGET is none of:\n");
    for (const Target& target : kTargets) std::fprintf(stderr, "%s\n", target.name.data());
    std::exit(2);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    vdisk::fuzz::chosen->run(std::as_bytes(std::span(data, size)));
    return 0;
}
