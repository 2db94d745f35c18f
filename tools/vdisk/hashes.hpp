// SPDX-License-Identifier: Apache-2.0
/// Several hashes of the same bytes, taken at once.
#pragma once

#include "base/digest.hpp"
#include "common/command_line.hpp"
#include "common/sink.hpp"

#include <map>
#include <string>

namespace vdisk::tools {

/// All that there are.
inline const std::vector<std::string> kAlgorithms{"md5", "sha1", "sha256", "sha512", "sha3-256", "blake2b512"};

/// What `--algorithm` takes if it is not given.
inline const std::vector<std::string> kUsualAlgorithms{"md5", "sha1", "sha256"};

/// Adds an option that takes names of algorithms with commas between them.
void add_algorithms(CommandLine& line, const std::string& option, std::vector<std::string>& algorithms,
                    const std::string& help);

/// Hashes what it takes.
class HashSink final : public Sink {
public:
    explicit HashSink(const std::string& algorithm) : algorithm_(algorithm), hasher_(algorithm.c_str()) {}
    [[nodiscard]] Result<void> write(std::span<const std::byte> bytes) override;
    [[nodiscard]] Result<void> skip(std::uint64_t length) override;

    [[nodiscard]] const std::string& algorithm() const noexcept { return algorithm_; }
    [[nodiscard]] bool good() const noexcept { return hasher_.good(); }
    /// In hexadecimal. Call it once, last.
    [[nodiscard]] Result<std::string> finish();

private:
    std::string algorithm_;
    Hasher hasher_;
};

/// A hash for each of `algorithms`. Error: `unsupported` where libcrypto lacks one, as it does MD5 in FIPS mode.
using HashSinks = std::vector<std::unique_ptr<HashSink>>;
[[nodiscard]] Result<HashSinks> make_hashes(std::span<const std::string> algorithms);

/// They as takers of bytes; valid as long as `hashes`.
[[nodiscard]] std::vector<Sink*> sinks_of(const HashSinks& hashes);

/// Their digests by algorithm. Call it once, last.
[[nodiscard]] Result<std::map<std::string, std::string>> finish(const HashSinks& hashes);

/// Prints each to `file` as `sha256sum --tag` does: "SHA256 (name) = 0123...".
[[nodiscard]] Result<void> print_hashes(std::FILE* file, std::span<const std::unique_ptr<HashSink>> hashes,
                                        const std::string& name);

} // namespace vdisk::tools
