// SPDX-License-Identifier: Apache-2.0
#include "base/facts.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <ostream>

namespace vdisk {

using Json = nlohmann::ordered_json;

// The library's values and ours.
struct FactsInJson {
    static constexpr int kDeepest = 32;

    static Json json_of(const Facts& facts) {
        return std::visit([](const auto& value) { return json_of(value); }, facts.value_);
    }

    static std::optional<Facts> facts_of(const Json& json, int depth) {
        if (depth > kDeepest) return std::nullopt;
        switch (json.type()) {
        case Json::value_t::boolean: return Facts(json.get<bool>());
        case Json::value_t::number_unsigned: return Facts(json.get<std::uint64_t>());
        case Json::value_t::number_integer: return Facts(json.get<std::int64_t>());
        case Json::value_t::number_float: return Facts(json.get<double>());
        case Json::value_t::string: return Facts(json.get<std::string>());
        case Json::value_t::array:
        case Json::value_t::object: return nested(json, depth);
        case Json::value_t::null: return Facts();
        case Json::value_t::binary:
        case Json::value_t::discarded: break;
        }
        return std::nullopt;
    }

private:
    static Json json_of(std::monostate) { return nullptr; }
    template<class Value> static Json json_of(const Value& value) { return value; }

    static Json json_of(const Facts::List& list) {
        Json json = Json::array();
        for (const Facts& element : list) json.push_back(json_of(element));
        return json;
    }

    static Json json_of(const Facts::Object& object) {
        Json json = Json::object();
        for (const auto& [key, value] : object) json[key] = json_of(value);
        return json;
    }

    static std::optional<Facts> nested(const Json& json, int depth) {
        Facts facts = json.is_array() ? Facts::array() : Facts::object();
        for (const auto& [key, value] : json.items()) {
            auto converted = facts_of(value, depth + 1);
            if (!converted) return std::nullopt;
            if (json.is_array()) facts.push_back(std::move(*converted));
            else facts[key] = std::move(*converted);
        }
        return facts;
    }
};

Facts::Facts() noexcept = default;
Facts::Facts(std::nullptr_t) noexcept {}
Facts::Facts(const Facts&) = default;
Facts::Facts(Facts&&) noexcept = default;
Facts& Facts::operator=(const Facts&) = default;
Facts& Facts::operator=(Facts&&) noexcept = default;
Facts::~Facts() = default;

Facts::Facts(double value) : value_(value) {}
Facts::Facts(std::string text) : value_(std::move(text)) {}
Facts::Facts(std::string_view text) : value_(std::string(text)) {}
Facts::Facts(const char* text) : value_(std::string(text)) {}
Facts::Facts(List list) : value_(std::move(list)) {}
Facts::Facts(std::initializer_list<Member> members) : value_(Object(members)) {}

Facts Facts::object() {
    Facts facts;
    facts.value_ = Object();
    return facts;
}

Facts Facts::array() {
    return {List()};
}

std::optional<Facts> Facts::parse(std::string_view json) {
    const Json parsed = Json::parse(json, nullptr, false);
    return parsed.is_discarded() ? std::nullopt : FactsInJson::facts_of(parsed, 0);
}

Facts& Facts::operator[](std::string_view key) {
    if (is_null()) value_ = Object();
    auto& object = std::get<Object>(value_);
    const auto found = std::ranges::find(object, key, &Member::key);
    if (found != object.end()) return found->value;
    return object.emplace_back(Member{std::string(key), Facts()}).value;
}

const Facts* Facts::find(std::string_view key) const noexcept {
    const auto* object = std::get_if<Object>(&value_);
    if (object == nullptr) return nullptr;
    const auto found = std::ranges::find(*object, key, &Member::key);
    return found == object->end() ? nullptr : &found->value;
}

const Facts& Facts::operator[](std::string_view key) const noexcept {
    static const Facts null;
    const Facts* found = find(key);
    return found == nullptr ? null : *found;
}

void Facts::erase(std::string_view key) {
    if (auto* object = std::get_if<Object>(&value_))
        std::erase_if(*object, [&](const Member& member) { return member.key == key; });
}

void Facts::update(const Facts& others) {
    for (const auto& [key, value] : others.members()) (*this)[key] = value;
}

void Facts::push_back(Facts element) {
    if (is_null()) value_ = List();
    std::get<List>(value_).push_back(std::move(element));
}

std::span<const Facts::Member> Facts::members() const noexcept {
    const auto* object = std::get_if<Object>(&value_);
    return object == nullptr ? std::span<const Member>() : std::span<const Member>(*object);
}

std::span<const Facts> Facts::elements() const noexcept {
    const auto* list = std::get_if<List>(&value_);
    return list == nullptr ? std::span<const Facts>() : std::span<const Facts>(*list);
}

std::size_t Facts::size() const noexcept {
    return members().size() + elements().size();
}

bool Facts::is_null() const noexcept {
    return std::holds_alternative<std::monostate>(value_);
}

bool Facts::is_object() const noexcept {
    return std::holds_alternative<Object>(value_);
}

bool Facts::is_array() const noexcept {
    return std::holds_alternative<List>(value_);
}

const bool* Facts::boolean() const noexcept {
    return std::get_if<bool>(&value_);
}

const std::uint64_t* Facts::number() const noexcept {
    return std::get_if<std::uint64_t>(&value_);
}

const std::string* Facts::text() const noexcept {
    return std::get_if<std::string>(&value_);
}

std::string Facts::dump(bool indented) const {
    return FactsInJson::json_of(*this).dump(indented ? 2 : -1, ' ', false, Json::error_handler_t::replace);
}

bool operator==(const Facts& a, const Facts& b) {
    return a.value_ == b.value_;
}

std::ostream& operator<<(std::ostream& out, const Facts& facts) {
    return out << facts.dump();
}

} // namespace vdisk
