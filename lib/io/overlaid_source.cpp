// SPDX-License-Identifier: Apache-2.0
#include "io/overlaid_source.hpp"

#include <algorithm>
#include <map>

namespace vdisk {
namespace {

std::uint64_t end_of(const Overlay& piece) {
    return piece.at + piece.length;
}

Overlay part_of(const Overlay& piece, std::uint64_t start, std::uint64_t end) {
    Overlay part{.at = start, .length = end - start};
    if (piece.from) part.from = *piece.from + (start - piece.at);
    return part;
}

// The overlays, cut so that none hides another, in ascending order.
std::vector<Overlay> visible(std::span<const Overlay> overlays) {
    std::map<std::uint64_t, Overlay> pieces;
    for (const Overlay& each : overlays) {
        if (each.length == 0) continue;
        auto next = pieces.lower_bound(each.at);
        if (next != pieces.begin() && end_of(std::prev(next)->second) > each.at) --next;
        while (next != pieces.end() && next->second.at < end_of(each)) {
            const Overlay old = next->second;
            next = pieces.erase(next);
            if (old.at < each.at) pieces.emplace(old.at, part_of(old, old.at, each.at));
            if (end_of(old) > end_of(each)) pieces.emplace(end_of(each), part_of(old, end_of(each), end_of(old)));
        }
        pieces.emplace(each.at, each);
    }
    std::vector<Overlay> list;
    list.reserve(pieces.size());
    for (const auto& [at, piece] : pieces) list.push_back(piece);
    return list;
}

class OverlaidSource final : public ByteSource {
public:
    OverlaidSource(SourcePtr source, std::vector<Overlay> pieces, const OverlaidEnd& end)
        : source_(std::move(source)), pieces_(std::move(pieces)), lost_end_(end.lost),
          size_(std::max({source_->size(), end.size, end.lost})),
          why_(std::make_shared<const Error>(fail_at(source_->size(), ErrorKind::truncated,
                                                     "{}: the file was cut off at {}, it had at least {} bytes",
                                                     source_->name(), source_->size(), end.lost))) {
        if (!pieces_.empty()) size_ = std::max(size_, end_of(pieces_.back()));
    }

    [[nodiscard]] std::uint64_t size() const noexcept override { return size_; }
    [[nodiscard]] std::string_view name() const noexcept override { return source_->name(); }

    [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
        if (offset >= size_) return std::size_t{0};
        out = out.first(static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size_ - offset)));
        for (std::size_t done = 0; done < out.size();) {
            const Run run = run_at(offset + done, out.size() - done);
            const auto piece = out.subspan(done, static_cast<std::size_t>(run.length));
            switch (run.kind) {
            case Kind::stored: VDISK_CHECK(read_exact(*source_, run.from, piece)); break;
            case Kind::zeros: std::ranges::fill(piece, std::byte{0}); break;
            case Kind::lost: return Error(*why_);
            }
            done += piece.size();
        }
        return out.size();
    }

    [[nodiscard]] std::uint64_t worth_preparing() const noexcept override { return source_->worth_preparing(); }

    void prepare(std::uint64_t offset, std::uint64_t length) const override {
        const std::uint64_t end = offset + std::min(length, size_ - std::min(offset, size_));
        while (offset < end) {
            const Run run = run_at(offset, end - offset);
            if (run.kind == Kind::stored) source_->prepare(run.from, run.length);
            offset += run.length;
        }
    }

    [[nodiscard]] Readability readability(std::uint64_t offset, std::uint64_t wanted) const override {
        if (offset >= size_ || wanted == 0) return {};
        const Run run = run_at(offset, std::min(wanted, size_ - offset));
        if (run.kind == Kind::stored) return source_->readability(run.from, run.length);
        return {run.length, run.kind == Kind::lost ? why_ : nullptr};
    }

    [[nodiscard]] Origin origin(std::uint64_t offset, std::uint64_t wanted) const override {
        const Run run = run_at(offset, std::min(wanted, size_ - offset));
        if (run.kind == Kind::stored) return source_->origin(run.from, run.length);
        return {.length = run.length, .zeros = run.kind == Kind::zeros};
    }

    [[nodiscard]] std::vector<const FileSource*> files() const override { return source_->files(); }

private:
    enum class Kind : std::uint8_t { stored, zeros, lost };
    struct Run {
        Kind kind;
        std::uint64_t length;
        std::uint64_t from = 0;
    };

    // The longest run from `offset`, which lies inside, that comes from one place: at most `wanted` bytes.
    Run run_at(std::uint64_t offset, std::uint64_t wanted) const {
        const auto next = std::ranges::upper_bound(pieces_, offset, {}, &Overlay::at);
        if (next != pieces_.begin() && end_of(*std::prev(next)) > offset) {
            const Overlay piece = part_of(*std::prev(next), offset, end_of(*std::prev(next)));
            const std::uint64_t length = std::min(wanted, piece.length);
            return piece.from ? Run{Kind::stored, length, *piece.from} : Run{Kind::zeros, length};
        }
        const std::uint64_t gap = std::min(wanted, (next == pieces_.end() ? size_ : next->at) - offset);
        if (offset < source_->size()) return {Kind::stored, std::min(gap, source_->size() - offset), offset};
        if (offset < lost_end_) return {Kind::lost, std::min(gap, lost_end_ - offset)};
        return {Kind::zeros, gap};
    }

    SourcePtr source_;
    std::vector<Overlay> pieces_; ///< ascending, none touches another's bytes
    std::uint64_t lost_end_;
    std::uint64_t size_;
    std::shared_ptr<const Error> why_;
};

} // namespace

SourcePtr overlaid(SourcePtr source, std::span<const Overlay> overlays, const OverlaidEnd& end) {
    return std::make_shared<const OverlaidSource>(std::move(source), visible(overlays), end);
}

} // namespace vdisk
