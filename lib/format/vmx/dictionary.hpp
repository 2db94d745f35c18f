// SPDX-License-Identifier: Apache-2.0
/// VMware's text files of the form `key = "value"`: a machine's settings (.vmx), its snapshots (.vmsd).
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace vdisk::vmx {

/// Values by their keys, which VMware takes in any case.
class Dictionary {
public:
    /// Takes lines that are none of that form for comments. A key that comes again replaces what came before, as VMware
    /// does it. Values become UTF-8 by the line `.encoding`.
    [[nodiscard]] static Dictionary parse(std::string_view text);

    /// The value; nullptr if the key is missing. `key` is in lower case.
    [[nodiscard]] const std::string* find(std::string_view key) const noexcept;
    /// The value; empty if the key is missing.
    [[nodiscard]] std::string text(std::string_view key) const;
    [[nodiscard]] std::optional<std::uint64_t> number(std::string_view key) const;
    /// Whether it is "TRUE", in any case; nothing if the key is missing.
    [[nodiscard]] std::optional<bool> truth(std::string_view key) const;

    /// By keys in lower case.
    [[nodiscard]] const std::map<std::string, std::string, std::less<>>& values() const noexcept { return values_; }

private:
    std::map<std::string, std::string, std::less<>> values_;
};

} // namespace vdisk::vmx
