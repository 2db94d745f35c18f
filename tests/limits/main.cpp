// SPDX-License-Identifier: Apache-2.0
#include "limits.hpp"
#include "temporary_folder.hpp"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>

namespace vdisk::test {

void require(bool condition, const std::string& what) {
    if (condition) return;
    std::printf("  %s\n", what.c_str());
    std::fflush(stdout);
    std::_Exit(1);
}

void require_at_most(std::uint64_t value, std::uint64_t most, const std::string& what) {
    require(value <= most, what + ": " + std::to_string(value) + ", more than " + std::to_string(most));
}

void write_file(const std::filesystem::path& path, const Bytes& bytes, std::uint64_t size) {
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    require(static_cast<bool>(out.flush()), "cannot write " + path.string());
    if (size > bytes.size()) std::filesystem::resize_file(path, size);
}

} // namespace vdisk::test

namespace {

using namespace vdisk::test;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMemoryIsOurs = false; // a sanitizer's shadow counts too
#else
constexpr bool kMemoryIsOurs = true;
#endif

struct Outcome {
    bool good = false;
    long memory = 0; // KiB at its highest
};

Outcome in_child(const std::function<void(const Folder&)>& work, const Folder& folder) {
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child == 0) {
        try {
            work(folder);
        } catch (const std::exception& error) {
            require(false, error.what());
        }
        std::fflush(stdout);
        std::_Exit(0);
    }
    int status = 0;
    rusage usage{};
    if (child < 0 || ::wait4(child, &status, 0, &usage) != child) std::abort();
    if (WIFSIGNALED(status)) std::printf("  ended by signal %d\n", WTERMSIG(status));
    return {.good = WIFEXITED(status) && WEXITSTATUS(status) == 0, .memory = usage.ru_maxrss};
}

bool run(const LimitCase& limit) {
    const TemporaryFolder folder;
    std::printf("%s:\n", limit.name.c_str());
    if (!in_child(limit.make, folder.path()).good) return false;
    const Outcome checked = in_child(limit.check, folder.path());
    std::printf("  %ld MiB\n", checked.memory >> 10);
    return checked.good && (!kMemoryIsOurs || checked.memory <= kMostMemory);
}

} // namespace

// Runs the cases whose names contain the argument, or all.
int main(int argc, char** argv) {
    const std::string wanted = argc > 1 ? argv[1] : "";
    int ran = 0;
    int failed = 0;
    for (const auto& limits : {machine_limits(), pbs_limits(), qcow_limits(), qcow2_limits(), vdi_limits(),
                               vhd_limits(), vma_limits(), vmdk_limits(), stream_limits(), hyperv_limits()})
        for (const LimitCase& limit : limits) {
            if (limit.name.find(wanted) == std::string::npos) continue;
            ++ran;
            if (run(limit)) continue;
            ++failed;
            std::printf("FAIL: %s\n", limit.name.c_str());
        }
    if (failed > 0) std::printf("FAILED (failures=%d)\n", failed);
    std::printf("Ran %d tests\n", ran);
    return failed == 0 && ran > 0 ? 0 : 1;
}
