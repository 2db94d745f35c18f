// SPDX-License-Identifier: Apache-2.0
// A HyperVStorage file with everything that hvconfig does with one. The last byte chooses how it is opened.
#include "hyperv/machine.hpp"
#include "hyperv/remnants.hpp"
#include "hyperv/saved_memory.hpp"
#include "hyperv/value.hpp"
#include "io/memory_source.hpp"
#include "target.hpp"

#include <algorithm>

using namespace vdisk;
using namespace vdisk::hyperv;
using vdisk::fuzz::require;

namespace {

constexpr std::uint64_t kMostMemory = 256U << 10;
constexpr std::size_t kMostPaths = 32; // looking a path up goes over all siblings

void check_value(const Storage& storage, KeyId key) {
    const std::uint64_t size = storage.value_size(key);
    const auto whole = storage.value(key);
    if (whole.has_error()) return;
    require(whole.value().size() == size);
    for (std::uint64_t at = 0; at < size; at += 1000) {
        std::vector<std::byte> piece(std::min<std::uint64_t>(1000, size - at));
        require(storage.read_value(key, at, piece).value() == piece.size());
        require(fuzz::same(piece, std::span(whole.value()).subspan(at, piece.size())));
    }
    (void)decode_utf16(whole.value());
}

void check_path(const Storage& storage, KeyId key) {
    const std::string path = path_of(storage, key);
    if (!path.starts_with('/')) return; // not in the tree
    const auto found = find_keys(storage, path);
    require(found.has_value() && std::ranges::find(found.value(), key) != found.value().end());
}

void check_memory(const StoragePtr& storage) {
    const auto memory = SavedMemory::open(storage);
    if (memory.has_error()) return;
    std::uint64_t seen = 0;
    (void)memory.value().read_all([&seen](std::uint64_t, std::span<const std::byte> bytes) -> Result<void> {
        seen += bytes.size();
        if (seen > kMostMemory) return fail(ErrorKind::cancelled, "enough");
        return ok();
    });
}

} // namespace

void vdisk::fuzz::hyperv(Input input) {
    if (input.empty()) return;
    const auto choice = std::to_integer<unsigned>(input.back());
    input = input.first(input.size() - 1);
    const auto opened =
        Storage::open(std::make_shared<const MemorySource>(std::vector<std::byte>(input.begin(), input.end()), "input"),
                      {.replay = (choice & 1U) != 0, .best_effort = (choice & 2U) != 0});
    if (opened.has_error()) {
        require(!opened.error().what.empty());
        return;
    }
    const Storage& storage = *opened.value();
    for (KeyId key = 0; key < storage.keys().size(); ++key) {
        check_value(storage, key);
        if (key < kMostPaths) check_path(storage, key);
    }
    (void)describe_machine(storage);
    (void)find_remnants(storage);
    check_memory(opened.value());
}
