// SPDX-License-Identifier: Apache-2.0
/// Named facts: what is told of a file as text or as JSON.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace vdisk {

/// A value as JSON has them; members of an object keep the order in which they were added, in which people want to
/// read them. Strings should be valid UTF-8 (see printable()). Copied as a whole; no references between two.
class Facts {
public:
    struct Member;
    using List = std::vector<Facts>;
    using Object = std::vector<Member>;

    Facts() noexcept; ///< null
    Facts(std::nullptr_t) noexcept;
    Facts(const Facts&);
    Facts(Facts&&) noexcept;
    Facts& operator=(const Facts&);
    Facts& operator=(Facts&&) noexcept;
    ~Facts();

    template<std::integral Number> Facts(Number value); ///< bool too
    Facts(double value);
    Facts(std::string text);
    Facts(std::string_view text);
    Facts(const char* text);
    template<class Value> Facts(const std::vector<Value>& list);
    Facts(List list);
    /// An object: {{"name", value}, ...}.
    Facts(std::initializer_list<Member> members);

    /// Without members or elements.
    [[nodiscard]] static Facts object();
    [[nodiscard]] static Facts array();

    /// Of JSON; nothing if it is none, or is nested deeper than 32 times.
    [[nodiscard]] static std::optional<Facts> parse(std::string_view json);

    /// The member, added as null at the end if there is none. Null becomes an object first; anything else than an
    /// object throws std::bad_variant_access.
    Facts& operator[](std::string_view key);
    /// The member; null if there is none.
    [[nodiscard]] const Facts& operator[](std::string_view key) const noexcept;
    [[nodiscard]] bool contains(std::string_view key) const noexcept { return find(key) != nullptr; }
    void erase(std::string_view key);
    /// Sets each member of `others`, an object or null.
    void update(const Facts& others);
    /// Adds to an array. Null becomes one first; anything else throws std::bad_variant_access.
    void push_back(Facts element);

    /// Of an object or array; none of anything else.
    [[nodiscard]] std::span<const Member> members() const noexcept;
    [[nodiscard]] std::span<const Facts> elements() const noexcept;
    /// Number of both.
    [[nodiscard]] std::size_t size() const noexcept;
    [[nodiscard]] bool empty() const noexcept { return size() == 0; }

    [[nodiscard]] bool is_null() const noexcept;
    [[nodiscard]] bool is_object() const noexcept;
    [[nodiscard]] bool is_array() const noexcept;
    /// Either.
    [[nodiscard]] bool is_nested() const noexcept { return is_object() || is_array(); }
    /// Null if it is something else.
    [[nodiscard]] const bool* boolean() const noexcept;
    [[nodiscard]] const std::uint64_t* number() const noexcept;
    [[nodiscard]] const std::string* text() const noexcept;

    /// As JSON, on one line or indented by two blanks a level; bytes that are not UTF-8 become U+FFFD.
    [[nodiscard]] std::string dump(bool indented = false) const;

    friend bool operator==(const Facts& a, const Facts& b);

private:
    friend struct FactsInJson;

    [[nodiscard]] const Facts* find(std::string_view key) const noexcept;

    std::variant<std::monostate, bool, std::uint64_t, std::int64_t, double, std::string, List, Object> value_;
};

struct Facts::Member {
    std::string key;
    Facts value;

    friend bool operator==(const Member&, const Member&) = default;
};

// Here, where a member is a complete type.
template<std::integral Number> Facts::Facts(Number value) {
    if constexpr (std::same_as<Number, bool>) value_ = value;
    else if (std::in_range<std::uint64_t>(value)) value_ = static_cast<std::uint64_t>(value);
    else value_ = static_cast<std::int64_t>(value);
}

template<class Value> Facts::Facts(const std::vector<Value>& list) : value_(List(list.begin(), list.end())) {}

/// As dump() has it.
std::ostream& operator<<(std::ostream& out, const Facts& facts);

} // namespace vdisk
