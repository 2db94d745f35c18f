// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "io/index_cache.hpp"

#include <chrono>
#include <thread>

namespace vdisk::test {

// Waits until the file's last change is long enough ago for its indexes to be kept.
inline void settle(const std::filesystem::path& path) {
    while (!IndexKey::of(*FileSource::open(path, FileKinds::regular_only).value(), "any").value().settled())
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

} // namespace vdisk::test
