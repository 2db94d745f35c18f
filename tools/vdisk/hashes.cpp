// SPDX-License-Identifier: Apache-2.0
#include "vdisk/hashes.hpp"

#include "base/text.hpp"
#include "common/pieces.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace vdisk::tools {
namespace {

std::string upper(std::string text) {
    std::ranges::transform(text, text.begin(),
                           [](char c) { return 'a' <= c && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
    return text;
}

} // namespace

void add_algorithms(CommandLine& line, const std::string& option, std::vector<std::string>& algorithms,
                    const std::string& help) {
    line.list(option, "NAME,...", algorithms, help).one_of(kAlgorithms);
}

Result<void> HashSink::write(std::span<const std::byte> bytes) {
    hasher_.add(bytes);
    return ok();
}

Result<void> HashSink::skip(std::uint64_t length) {
    static const std::vector<std::byte> zeros(kPiece);
    for (; length > 0; length -= std::min(length, kPiece))
        hasher_.add(std::span(zeros).first(static_cast<std::size_t>(std::min(length, kPiece))));
    return ok();
}

Result<std::string> HashSink::finish() {
    const auto digest = hasher_.finish();
    if (!digest) return fail(ErrorKind::io, "{}: libcrypto failed", algorithm_);
    return hex(*digest);
}

Result<HashSinks> make_hashes(std::span<const std::string> algorithms) {
    HashSinks hashes;
    for (const std::string& algorithm : algorithms) {
        hashes.push_back(std::make_unique<HashSink>(algorithm));
        if (!hashes.back()->good())
            return fail(ErrorKind::unsupported, "{}: this machine's libcrypto does not have it", algorithm);
    }
    return hashes;
}

std::vector<Sink*> sinks_of(const HashSinks& hashes) {
    std::vector<Sink*> sinks;
    for (const auto& hash : hashes) sinks.push_back(hash.get());
    return sinks;
}

Result<std::map<std::string, std::string>> finish(const HashSinks& hashes) {
    std::map<std::string, std::string> digests;
    for (const auto& hash : hashes) {
        VDISK_TRY(digest, hash->finish());
        digests.emplace(hash->algorithm(), std::move(digest));
    }
    return digests;
}

Result<void> print_hashes(std::FILE* file, std::span<const std::unique_ptr<HashSink>> hashes, const std::string& name) {
    for (const auto& hash : hashes) {
        VDISK_TRY(digest, hash->finish());
        const std::string line = fmt::format("{} ({}) = {}\n", upper(hash->algorithm()), printable(name), digest);
        if (std::fputs(line.c_str(), file) == EOF)
            return fail(ErrorKind::io, "printing a hash: {}", std::strerror(errno));
    }
    return ok();
}

} // namespace vdisk::tools
