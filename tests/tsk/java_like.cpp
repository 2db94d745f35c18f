// SPDX-License-Identifier: Apache-2.0
// A program that has libtsk in it as a JVM has: by a module loaded RTLD_LOCAL, so that libtsk's names are in nobody's
// scope but the module's; and with a library in it that is called libjvm.so. java_like LIBJVM MODULE ARGUMENT...
#include "session.hpp"

#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>

int main(int argc, char** argv) {
    if (argc < 4) return 2;
    setenv("SESSION_JAVA", "1", 1);
    void* const machine = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    void* const module = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
    auto* const run = module == nullptr ? nullptr : reinterpret_cast<decltype(&session)>(dlsym(module, "session"));
    if (machine == nullptr || run == nullptr) {
        std::fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    const int wrong = run(argc - 3, argv + 3);
    dlclose(module);
    return wrong == 0 ? 0 : 1;
}
