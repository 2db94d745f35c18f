// SPDX-License-Identifier: Apache-2.0
// make_hyperv SHAPE COUNT OUT: files of a size that no fixture has. SHAPE is wide (COUNT keys, 50 a node), deep (a
// chain of COUNT nodes with a value at its end), memory (a saved state of COUNT MiB, every second one compressed), list
// (a host's list of COUNT machines and as many checkpoints) or checkpoint (a machine's; COUNT is its version).
// make_hyperv keys FILE OUT: the keys that FILE lists, a line each: "/path/of/the/key TYPE VALUE", where TYPE is
// string, int, bool or hex.
#include "hyperv_builder.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

namespace {

using namespace vdisk::test;

constexpr std::size_t kMib = 1U << 20;

Forest wide(std::size_t count) {
    Forest forest;
    const std::size_t root = forest.add({"configuration"});
    std::size_t node = root;
    while (forest.keys.size() < count) {
        const std::size_t i = forest.keys.size();
        if (i % 50 == 1) node = forest.add({"device" + std::to_string(i), 9}, root);
        else if (i % 5 == 0)
            forest.add({"pathname", 6, utf16("C:\\Users\\Public\\Documents\\disk" + std::to_string(i) + ".vhdx")},
                       node);
        else forest.add({"weight" + std::to_string(i % 50), 3, little(static_cast<std::uint64_t>(i))}, node);
    }
    return forest;
}

Forest deep(std::size_t count) {
    Forest forest;
    std::size_t parent = Forest::kRoot;
    for (std::size_t i = 0; i < count; ++i) parent = forest.add({"n"}, parent);
    forest.add({"value", 3, little<std::uint64_t>(5)}, parent);
    return forest;
}

std::vector<std::byte> memory_block(std::size_t number) {
    if (number % 2 == 1) { // each page one fill: compressible as guests' memory is
        std::vector<std::byte> tokens;
        for (std::size_t page = 0; page < 256; ++page) {
            const auto head = little<std::uint32_t>(0xFFFFFFFE);
            const auto pattern = little(static_cast<std::uint64_t>(number * 256 + page));
            tokens.insert(tokens.end(), head.begin(), head.end());
            tokens.insert(tokens.end(), pattern.begin(), pattern.end());
        }
        return tokens;
    }
    std::vector<std::byte> block(kMib);
    for (std::size_t i = 0; i < kMib; i += 8) {
        const auto value = little(static_cast<std::uint64_t>((number * kMib + i) * 0x9E3779B97F4A7C15ULL));
        std::copy(value.begin(), value.end(), block.begin() + static_cast<std::ptrdiff_t>(i));
    }
    return block;
}

Forest memory(std::size_t mib) {
    Forest forest;
    const std::size_t saved = forest.add({"savedstate"});
    std::vector<std::byte> region = little<std::uint64_t>(3);
    const auto pages = little(static_cast<std::uint64_t>(mib * 256));
    region.insert(region.end(), pages.begin(), pages.end());
    region.resize(48);
    forest.add({"RamMemoryBlock0", 7, region}, saved);
    for (std::size_t i = 0; i < mib; ++i) forest.add({"RamBlock" + std::to_string(i), 7, memory_block(i)}, saved);
    return forest;
}

Forest list(std::size_t count) {
    Forest forest;
    const std::size_t root = forest.add({"Configurations"});
    for (const char* kind : {"VirtualMachines", "Snapshots"}) {
        const std::size_t node = forest.add({kind}, root);
        for (std::size_t i = 0; i < count; ++i) {
            const std::string id = std::string(kind) + "-" + std::to_string(i);
            forest.add({id, 6, utf16("C:\\VM\\" + id + ".vmcx")}, node);
        }
    }
    return forest;
}

Forest checkpoint(std::size_t version) {
    Forest forest;
    const std::size_t properties = forest.add({"properties"}, forest.add({"configuration"}));
    forest.add({"name", 6, utf16("before the update")}, properties);
    forest.add({"type_id", 6, utf16("Snapshots")}, properties);
    forest.add({"version", 3, little(static_cast<std::uint64_t>(version))}, properties);
    return forest;
}

BuiltKey key_of(std::string name, const std::string& type, const std::string& value) {
    if (type == "int") return {std::move(name), 3, little(std::stoull(value))};
    if (type == "bool") return {std::move(name), 8, little<std::uint32_t>(value == "true" ? 1 : 0)};
    if (type == "string") return {std::move(name), 6, utf16(value)};
    std::vector<std::byte> bytes;
    for (std::size_t i = 0; i + 1 < value.size(); i += 2)
        bytes.push_back(static_cast<std::byte>(std::stoul(value.substr(i, 2), nullptr, 16)));
    return {std::move(name), 7, bytes};
}

Forest listed(const std::string& path) {
    Forest forest;
    std::map<std::string, std::size_t> nodes{{"", Forest::kRoot}};
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string key, type, value;
        words >> key >> type >> std::ws;
        std::getline(words, value);
        std::size_t parent = Forest::kRoot;
        for (std::size_t at = key.find('/', 1); at != std::string::npos; at = key.find('/', at + 1)) {
            const std::string node = key.substr(0, at);
            const auto known = nodes.find(node);
            parent = known != nodes.end() ? known->second : forest.add({node.substr(node.rfind('/') + 1)}, parent);
            nodes.emplace(node, parent);
        }
        forest.add(key_of(key.substr(key.rfind('/') + 1), type, value), parent);
    }
    return forest;
}

Forest forest_of(const std::string& shape, std::size_t count) {
    if (shape == "wide") return wide(count);
    if (shape == "deep") return deep(count);
    if (shape == "list") return list(count);
    if (shape == "checkpoint") return checkpoint(count);
    return memory(count);
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 4) return 2;
    const std::string shape = argv[1];
    const std::size_t count = std::strtoul(argv[2], nullptr, 10);
    const Forest forest = shape == "keys" ? listed(argv[2]) : forest_of(shape, count);
    const BuiltFile file = HypervBuilder({.alignment = 65536, .table_bytes = 65536}).build(forest);
    std::ofstream out(argv[3], std::ios::binary);
    out.write(reinterpret_cast<const char*>(file.bytes.data()), static_cast<std::streamsize>(file.bytes.size()));
    return out.flush() ? 0 : 1;
}
