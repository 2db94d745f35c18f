// SPDX-License-Identifier: Apache-2.0
#include "disk/table_pieces.hpp"

namespace vdisk {
namespace {

constexpr std::size_t kMostTold = 16;

} // namespace

void LostPieces::add(std::uint64_t offset, std::uint64_t length, const Error& why) {
    bytes_ += length;
    if (!first_.empty()) {
        HostRange& last = first_.back().range;
        if (last.offset.value + last.length == offset) {
            last.length += length;
            return;
        }
    }
    if (first_.size() < kMostTold) first_.push_back({{HostOffset{offset}, length}, why.what});
}

void LostPieces::tell(std::vector<Remark>& remarks) const {
    if (none()) return;
    remarks.push_back(Remark::doubt(fmt::format("{} bytes of its tables can't be read, the first at offset {} ({}): "
                                                "what they map is an error, and no check of the tables saw them",
                                                bytes_, first_.front().range.offset.value, first_.front().why)));
}

void LostPieces::tell(AuditReport& report) const {
    for (const Piece& piece : first_)
        report.add(Severity::error, "lost-table", {.host = piece.range.offset, .length = piece.range.length},
                   "{} bytes of a table at offset {} can't be read: {}", piece.range.length, piece.range.offset.value,
                   piece.why);
    if (!none())
        report.add(Severity::note, "leftovers-unknown", {},
                   "what nothing refers to is not looked for: {} bytes of tables can't be read", bytes_);
}

} // namespace vdisk
