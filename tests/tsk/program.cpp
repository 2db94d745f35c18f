// SPDX-License-Identifier: Apache-2.0
// A program that is linked to libtsk as usual.
#include "session.hpp"

int main(int argc, char** argv) {
    return session(argc - 1, argv + 1) == 0 ? 0 : 1;
}
