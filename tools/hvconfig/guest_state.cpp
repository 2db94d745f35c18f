// SPDX-License-Identifier: Apache-2.0
#include "hyperv/guest_state.hpp"

#include "base/parse.hpp"
#include "base/text.hpp"
#include "common/json_output.hpp"
#include "common/output.hpp"
#include "hvconfig/commands.hpp"
#include "hvconfig/text_output.hpp"

#include <algorithm>

namespace vdisk::tools {
namespace {

using hyperv::GuestState;
using hyperv::GuestStateFile;

constexpr unsigned kFirmwareVariables = 1;
constexpr unsigned kTpmState = 3;
constexpr std::uint64_t kMostVariables = 16U << 20; // firmware keeps 128 KiB
constexpr std::uint64_t kCopiedAtOnce = 1U << 20;

std::string name_of(unsigned id) {
    const std::string_view name = hyperv::guest_state_name(id);
    return name.empty() ? fmt::format("{}", id) : std::string(name);
}

Facts describe(const hyperv::GuestStateHeader& header) {
    Facts facts{{"offset", header.offset}};
    facts["state"] = header.blank ? "blank" : header.good() ? "good" : printable(header.fault);
    if (header.blank || !header.signature_good) return facts;
    facts["version"] = hyperv::guest_state_version(header.version);
    facts["sequence"] = header.sequence;
    return facts;
}

Facts describe(const GuestStateFile& file, const GuestState& state) {
    Facts facts{{"id", file.id}};
    if (state.version() >> 16 != 1) facts["name"] = name_of(file.id);
    facts["offset"] = file.offset;
    facts["size"] = file.size;
    facts["allocated"] = file.allocated;
    facts["encrypted"] = file.encrypted;
    if (!file.nonce.empty()) facts["nonce"] = file.nonce;
    if (!file.fault.empty()) facts["damage"] = file.fault;
    return facts;
}

Facts describe(const hyperv::UefiVariable& variable) {
    Facts facts{{"name", printable(variable.name)},
                {"vendor", to_string(variable.vendor)},
                {"attributes", hyperv::uefi_attributes(variable.attributes)},
                {"size", variable.size},
                {"offset", variable.offset}};
    if (!variable.time.empty()) facts["time"] = variable.time;
    if (!variable.name_exact) facts["damage"] = "its name is not valid UTF-16, or does not end";
    return facts;
}

class Description {
public:
    explicit Description(const GuestState& state) : state_(state) {}

    Facts run(const std::string& path) {
        Facts facts{{"file", printable(path)}};
        facts["version"] = hyperv::guest_state_version(state_.version());
        facts["active header copy"] = state_.active() + 1;
        facts["because"] = state_.why();
        for (std::size_t i = 0; i < state_.headers().size(); ++i)
            facts[fmt::format("header copy {}", i + 1)] = describe(state_.headers()[i]);
        describe_encryption(facts);
        facts["files"] = Facts::array();
        for (const GuestStateFile& file : state_.files()) facts["files"].push_back(describe(file, state_));
        if (state_.version() >> 16 != 1) {
            describe_variables(facts);
            describe_tpm(facts);
        }
        findings_.insert(findings_.begin(), state_.findings().begin(), state_.findings().end());
        if (!findings_.empty()) facts["damage"] = findings_;
        return facts;
    }

    [[nodiscard]] const std::vector<std::string>& findings() const noexcept { return findings_; }

private:
    void describe_encryption(Facts& facts) const {
        const hyperv::GuestStateHeader& header = state_.headers()[state_.active()];
        facts["encryption"] = header.algorithm == 0   ? "none"
                              : header.algorithm == 1 ? "AES-GCM"
                                                      : fmt::format("algorithm {}", header.algorithm);
        facts["keys"] = Facts::array();
        for (std::size_t i = 0; i < header.key_nonces.size(); ++i)
            if (!header.key_nonces[i].empty())
                facts["keys"].push_back(Facts{{"place", i + 1}, {"nonce", header.key_nonces[i]}});
        if (header.reprovisioned) facts["reprovisioned"] = true;
    }

    void describe_variables(Facts& facts) {
        const GuestStateFile* const file = state_.find(kFirmwareVariables);
        if (file == nullptr || file->encrypted || !file->fault.empty()) return;
        facts["UEFI variables"] = Facts::array();
        const auto bytes = content(*file);
        if (bytes.has_error()) return findings_.push_back(bytes.error().what);
        const hyperv::UefiVariables found = hyperv::parse_uefi_variables(bytes.value());
        for (const hyperv::UefiVariable& variable : found.list) {
            facts["UEFI variables"].push_back(describe(variable));
            if (!variable.name_exact)
                findings_.push_back(fmt::format("UEFI variable at offset {}: its name is damaged", variable.offset));
        }
        if (!found.fault.empty()) findings_.push_back(fmt::format("UEFI variables: {}", found.fault));
    }

    Result<std::vector<std::byte>> content(const GuestStateFile& file) const {
        VDISK_TRY(source, state_.content(file));
        if (source->size() > kMostVariables)
            return fail(ErrorKind::limit_exceeded, "UEFI variables: have {} bytes, the limit is {}", source->size(),
                        kMostVariables);
        return read_bytes(*source, 0, source->size(), "UEFI variables");
    }

    void describe_tpm(Facts& facts) const {
        const GuestStateFile* const file = state_.find(kTpmState);
        facts["TPM state"] = file == nullptr        ? "none"
                             : !file->fault.empty() ? "damaged"
                             : file->encrypted      ? fmt::format("{} bytes, encrypted", file->size)
                                                    : fmt::format("{} bytes", file->size);
    }

    const GuestState& state_;
    std::vector<std::string> findings_;
};

class StateText {
public:
    explicit StateText(TextOutput& out) : out_(out) {}

    void print(const Facts& facts) {
        for (const auto& [name, value] : facts.members()) {
            if (value.is_array()) list(name, value);
            else if (value.is_object()) out_.print("{}: {}\n", name, on_one_line(value));
            else out_.print("{}: {}\n", name, shown(value));
        }
    }

private:
    static std::string shown(const Facts& value) {
        const std::string* const text = value.text();
        return text != nullptr ? printable(*text) : value.dump();
    }

    static std::string on_one_line(const Facts& facts) {
        std::string line;
        for (const auto& [name, value] : facts.members())
            line += fmt::format("{}{} {}", line.empty() ? "" : ", ", name, shown(value));
        return line;
    }

    void list(std::string_view name, const Facts& values) {
        out_.print("{}: {}\n", name, values.size());
        for (const Facts& value : values.elements())
            out_.print("  {}\n", value.is_object() ? on_one_line(value) : shown(value));
    }

    TextOutput& out_;
};

struct GuestStateCommand {
    std::string path;
    std::optional<std::string> extracted;
    std::string output;
    bool overwrite = false;
    bool json = false;

    int operator()() const {
        const auto file = open_input(path);
        if (file.has_error()) return report(file.error());
        auto state = GuestState::open(file.value());
        if (state.has_error()) return report(with_the_right_tool(std::move(state).error(), path));
        return extracted ? extract(state.value()) : tell(state.value());
    }

private:
    int tell(const GuestState& state) const {
        Description description(state);
        const Facts facts = description.run(path);
        for (const std::string& finding : description.findings()) warn(fmt::format("{}: {}", printable(path), finding));
        TextOutput out;
        if (json) out.put(json_document(facts));
        else StateText(out).print(facts);
        return description.findings().empty() ? kDone : kPartial;
    }

    int extract(const GuestState& state) const {
        const auto file = wanted(state);
        if (file.has_error()) return report(file.error());
        const auto written = write(state, *file.value());
        if (written.has_error()) return report(written.error());
        for (const std::string& finding : state.findings()) warn(fmt::format("{}: {}", printable(path), finding));
        if (json)
            fmt::print("{}", json_document({{"file", printable(path)},
                                            {"id", file.value()->id},
                                            {"size", file.value()->size},
                                            {"output", printable(output)}}));
        return state.findings().empty() ? kDone : kPartial;
    }

    // By its number or its name.
    Result<const GuestStateFile*> wanted(const GuestState& state) const {
        const auto number = parse_number<unsigned>(*extracted);
        const auto found = std::ranges::find_if(state.files(), [&](const GuestStateFile& file) {
            return number ? file.id == *number : lower(name_of(file.id)) == lower(*extracted);
        });
        if (found != state.files().end()) return &*found;
        return fail(ErrorKind::usage, "{}: has no file '{}'; 'hvconfig guest-state' lists them", printable(path),
                    printable(*extracted));
    }

    Result<void> write(const GuestState& state, const GuestStateFile& file) const {
        VDISK_TRY(source, state.content(file));
        VDISK_TRY(out, Output::open({.path = output, .overwrite = overwrite, .size = source->size()}));
        if (json && out->is_standard_output())
            return fail(ErrorKind::usage, "--output can't be standard output: the JSON goes there");
        for (std::uint64_t at = 0; at < source->size(); at += kCopiedAtOnce) {
            VDISK_TRY(piece, read_bytes(*source, at, std::min(kCopiedAtOnce, source->size() - at), "file"));
            VDISK_CHECK(out->write(piece));
        }
        return out->finish(source->size());
    }
};

} // namespace

Action add_guest_state(CommandLine& line) {
    auto action = std::make_shared<GuestStateCommand>();
    line.operand("FILE", action->path, "a .vmgs file");
    line.option("--extract", "ID", action->extracted, "write the content of this file in it, by number or name")
        .needs("output");
    line.option("-o,--output", "OUT", action->output, "the file to write, '-' for standard output").needs("extract");
    line.writes(action->output);
    line.flag("--force", action->overwrite, "overwrite OUT if it exists").needs("extract");
    line.flag("--json", action->json, "print JSON, as vdisk-json(5) describes it");
    return [action] { return (*action)(); };
}

} // namespace vdisk::tools
