// SPDX-License-Identifier: Apache-2.0
#include "vdisk/map_picture.hpp"

#include "base/checked.hpp"
#include "base/text.hpp"
#include "common/pieces.hpp"
#include "common/progress_bar.hpp"
#include "vdisk/page.hpp"

#include <algorithm>
#include <map>
#include <numeric>

namespace vdisk::tools {
namespace {

constexpr std::size_t kColumnsOfStrip = 256;
constexpr std::size_t kParts = 16;       // into which a disk is cut to be seen larger
constexpr std::size_t kRunsOfPart = 100; // whose places are listed
constexpr std::uint64_t kHeight = 40;
constexpr std::uint64_t kLeastHeight = 3; // of what is there at all: what is rare and small is what is looked for
constexpr std::uint64_t kWidthOfColumn = 4;

Shade shade_of(MapRun::Kind kind) {
    switch (kind) {
    case MapRun::Kind::data: return Shade::data;
    case MapRun::Kind::zero: return Shade::zero;
    case MapRun::Kind::compressed: return Shade::compressed;
    case MapRun::Kind::encrypted: return Shade::encrypted;
    case MapRun::Kind::unallocated: return Shade::unallocated;
    case MapRun::Kind::unreadable: return Shade::unreadable;
    }
    return Shade::unreadable;
}

constexpr std::array<std::string_view, kShades> kClasses{"data",        "compressed", "encrypted", "zero",
                                                         "unallocated", "unreadable", "leaked",    "used"};

constexpr Shade shade_number(std::size_t number) {
    return static_cast<Shade>(number);
}

std::uint64_t total(const Shares& shares) {
    return std::accumulate(shares.begin(), shares.end(), std::uint64_t{0});
}

// Heights of what a column of `bytes` is made of, none of what is there being too low to be seen.
Shares heights_of(const Shares& shares, std::uint64_t bytes) {
    Shares heights{};
    for (std::size_t i = 0; i < kShades; ++i)
        if (shares[i] > 0)
            heights[i] = std::max(
                kLeastHeight, static_cast<std::uint64_t>(static_cast<double>(shares[i]) / static_cast<double>(bytes) *
                                                         static_cast<double>(kHeight)));
    const auto largest = std::ranges::max_element(heights);
    const std::uint64_t others = total(heights) - *largest;
    if (total(shares) == bytes || *largest + others > kHeight)
        *largest = kHeight - std::min(others, kHeight - kLeastHeight);
    return heights;
}

// The outlines of one shade, columns of one height as one.
class Outline {
public:
    void column(std::uint64_t x, std::uint64_t y, std::uint64_t height) {
        if (height == 0) return;
        if (width_ > 0 && x_ + width_ == x && y_ == y && height_ == height) {
            width_ += kWidthOfColumn;
            return;
        }
        end();
        x_ = x, y_ = y, width_ = kWidthOfColumn, height_ = height;
    }

    std::string finish() {
        end();
        return std::move(path_);
    }

private:
    void end() {
        if (width_ > 0) path_ += fmt::format("M{} {}h{}v{}h-{}z", x_, y_, width_, height_, width_);
        width_ = 0;
    }

    std::string path_;
    std::uint64_t x_ = 0, y_ = 0, width_ = 0, height_ = 0;
};

std::string exact(std::uint64_t bytes) {
    return bytes < 1024 ? fmt::format("{} bytes", bytes) : fmt::format("{} bytes ({})", bytes, human_size(bytes));
}

} // namespace

std::string_view to_string(Shade shade) noexcept {
    switch (shade) {
    case Shade::data: return "data";
    case Shade::compressed: return "compressed";
    case Shade::encrypted: return "encrypted";
    case Shade::zero: return "zeros";
    case Shade::unallocated: return "not allocated";
    case Shade::unreadable: return "unreadable";
    case Shade::leaked: return "leaked";
    case Shade::used: return "referred to";
    }
    return "";
}

Cells::Cells(std::uint64_t size, std::size_t most) : size_(size) {
    bytes_ = std::max<std::uint64_t>(1, div_ceil(size, most * kSector)) * kSector;
    shares_.resize(static_cast<std::size_t>(div_ceil(size, bytes_)));
}

void Cells::add(std::uint64_t offset, std::uint64_t length, Shade shade) {
    while (length > 0) {
        const std::uint64_t taken = std::min(length, bytes_ - offset % bytes_);
        shares_[static_cast<std::size_t>(offset / bytes_)][static_cast<std::size_t>(shade)] += taken;
        offset += taken;
        length -= taken;
    }
}

Shares Cells::sum(std::size_t first, std::size_t count) const {
    Shares all{};
    for (std::size_t cell = first; cell < std::min(first + count, shares_.size()); ++cell)
        for (std::size_t i = 0; i < kShades; ++i) all[i] += shares_[cell][i];
    return all;
}

std::string Cells::strip(std::size_t first, std::size_t count, std::string_view title) const {
    const std::size_t each = std::max<std::size_t>(1, (count + kColumnsOfStrip - 1) / kColumnsOfStrip);
    std::array<Outline, kShades> outlines;
    std::uint64_t x = 0;
    for (std::size_t cell = first; cell < first + count; cell += each, x += kWidthOfColumn) {
        const std::size_t end = std::min(cell + each, first + count);
        const Shares heights = heights_of(sum(cell, end - cell), offset_of(end) - offset_of(cell));
        std::uint64_t y = kHeight;
        for (std::size_t i = 0; i < kShades; ++i) outlines[i].column(x, y -= std::min(y, heights[i]), heights[i]);
    }
    const std::string shown = escaped(fmt::format("{}: {}", title, in_words(sum(first, count))));
    std::string svg = fmt::format("<svg class=\"strip\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {} {}\" "
                                  "preserveAspectRatio=\"none\"><title>{}</title>",
                                  shown, std::max<std::uint64_t>(x, 1), kHeight, shown);
    for (std::size_t i = 0; i < kShades; ++i)
        if (const std::string path = outlines[i].finish(); !path.empty())
            svg += fmt::format("<path fill=\"url(#shade-{})\" d=\"{}\"/>", kClasses[i], path);
    const auto at = [&](std::size_t cell) { return escaped(human_size(offset_of(cell))); };
    return svg + fmt::format("</svg>\n<p class=\"scale\" aria-hidden=\"true\"><span>{}</span><span>{}</span>"
                             "<span>{}</span></p>\n",
                             at(first), at(first + count / 2), at(first + count));
}

std::string patterns() {
    constexpr std::array<std::string_view, kShades> kMarks{
        "",
        "<path d=\"M-2 2l4-4M0 8l8-8M6 10l4-4\"/>",
        "<path d=\"M0 0l8 8M8 0l-8 8\"/>",
        "<circle cx=\"4\" cy=\"4\" r=\"1.2\"/>",
        "",
        "<path d=\"M0 2h8M0 6h8\"/>",
        "<path d=\"M2 0v8M6 0v8\"/>",
        "",
    };
    std::string text = "<svg class=\"patterns\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>\n";
    for (std::size_t i = 0; i < kShades; ++i)
        text += fmt::format("<pattern id=\"shade-{0}\" class=\"shade {0}\" width=\"8\" height=\"8\" "
                            "patternUnits=\"userSpaceOnUse\"><rect width=\"8\" height=\"8\"/>{1}</pattern>\n",
                            kClasses[i], kMarks[i]);
    return text + "</defs></svg>\n";
}

std::string_view strip_style() {
    return R"css(.patterns { position: absolute; }
.strip { display: block; width: 100%; height: 3em; border: 1px solid gray; box-sizing: border-box; }
.scale { display: flex; justify-content: space-between; margin: 0 0 1em; font-size: 85%; }
.swatch { width: 1.1em; height: 1.1em; vertical-align: -0.15em; margin-right: 0.3em; }
.swatch rect { stroke: gray; }
.shade path, .shade circle { stroke: var(--mark); fill: var(--mark); stroke-width: 1.2; }
.shade.data rect { fill: #2a6fb0; } .shade.compressed rect { fill: #3c9a8f; } .shade.encrypted rect { fill: #7b5ea7; }
.shade.zero rect { fill: #c9c9c9; } .shade.zero circle { fill: #555; stroke: none; }
.shade.unallocated rect { fill: var(--paper); } .shade.unreadable rect { fill: #c62828; }
.shade.leaked rect { fill: #e08e0b; } .shade.used rect { fill: var(--paper); }
:root { --mark: #fff; --paper: #fff; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #1b1b1b; } }
)css";
}

std::string swatch(Shade shade) {
    return fmt::format(
        "<svg class=\"swatch\" aria-hidden=\"true\" viewBox=\"0 0 16 16\"><rect width=\"16\" height=\"16\" "
        "fill=\"url(#shade-{})\"/></svg>",
        kClasses[static_cast<std::size_t>(shade)]);
}

std::string in_words(const Shares& shares) {
    std::string words;
    for (std::size_t i = 0; i < kShades; ++i)
        if (shares[i] > 0)
            words +=
                fmt::format("{}{} {}", words.empty() ? "" : ", ", to_string(shade_number(i)), human_size(shares[i]));
    return words.empty() ? "nothing" : words;
}

namespace {

// What the walk over a disk's map left.
class DiskPicture {
public:
    DiskPicture(const Image& disk, const std::vector<std::string>& names)
        : names_(names), size_(disk.size()), all_(size_, kParts * kColumnsOfStrip),
          parts_((all_.count() + kColumnsOfStrip - 1) / kColumnsOfStrip) {
        ProgressBar bar("mapping", ProgressBar::Counts::bytes);
        DiskMap map(disk);
        while (const auto run = map.next_run()) {
            add(*run);
            bar.update(run->end(), size_);
        }
        ProgressBar::wipe();
    }

    bool unreadable() const { return all_.sum(0, all_.count())[static_cast<std::size_t>(Shade::unreadable)] > 0; }

    std::string html() const {
        std::string text = "<h4>The whole disk</h4>\n" + all_.strip(0, all_.count(), "The whole disk") + totals();
        if (layers_.size() > 1) text += "<h4>What comes from which file</h4>\n" + layer_strips();
        return text + "<h4>In parts, larger</h4>\n" + larger_parts();
    }

private:
    struct Part {
        std::vector<MapRun> runs{};
        std::uint64_t more = 0;
    };

    void add(const MapRun& run) {
        const Shade shade = shade_of(run.kind);
        all_.add(run.start.value, run.length, shade);
        if (run.kind != MapRun::Kind::unallocated)
            layers_.try_emplace(run.depth, size_, kColumnsOfStrip)
                .first->second.add(run.start.value, run.length, shade);
        const std::uint64_t bytes = all_.offset_of(1);
        const auto part_at = [&](std::uint64_t at) { return static_cast<std::size_t>(at / bytes) / kColumnsOfStrip; };
        for (std::size_t part = part_at(run.start.value); part <= part_at(run.end() - 1); ++part) {
            if (parts_[part].runs.size() < kRunsOfPart) parts_[part].runs.push_back(run);
            else ++parts_[part].more;
        }
    }

    std::string name_of(std::size_t depth) const {
        return depth < names_.size() ? fmt::format("{}: {}", depth, names_[depth]) : fmt::format("{}", depth);
    }

    static std::vector<std::string> row(std::string name, const Shares& shares) {
        std::vector<std::string> cells{std::move(name)};
        for (std::size_t i = 0; i <= static_cast<std::size_t>(Shade::unreadable); ++i)
            cells.push_back(shares[i] == 0 ? "-" : exact(shares[i]));
        return cells;
    }

    std::string totals() const {
        HtmlTable table{.caption = "Bytes of the disk by kind, and by the layer that they come from",
                        .heads = {"Layer"}};
        for (std::size_t i = 0; i <= static_cast<std::size_t>(Shade::unreadable); ++i)
            table.heads.push_back(swatch(shade_number(i)) + std::string(to_string(shade_number(i))));
        table.rows.push_back(row("all", all_.sum(0, all_.count())));
        if (layers_.size() > 1)
            for (const auto& [depth, cells] : layers_)
                table.rows.push_back(row(escaped(name_of(depth)), cells.sum(0, cells.count())));
        return table.html();
    }

    std::string layer_strips() const {
        std::string text;
        for (const auto& [depth, cells] : layers_) {
            const std::string title = fmt::format("Layer {}", name_of(depth));
            text += fmt::format("<p>{}</p>\n", escaped(title)) + cells.strip(0, cells.count(), title);
        }
        return text;
    }

    std::string larger_parts() const {
        std::string text;
        for (std::size_t part = 0; part < parts_.size(); ++part) {
            const std::size_t first = part * kColumnsOfStrip;
            const std::size_t count = std::min(kColumnsOfStrip, all_.count() - first);
            const std::string title = fmt::format("Part {} of {}, from byte {} to {}", part + 1, parts_.size(),
                                                  all_.offset_of(first), all_.offset_of(first + count));
            text +=
                fmt::format("<details>\n<summary>{}: {}</summary>\n", title, escaped(in_words(all_.sum(first, count))));
            text += all_.strip(first, count, title) + runs_of(parts_[part], title) + "</details>\n";
        }
        return text;
    }

    static std::string runs_of(const Part& part, const std::string& title) {
        HtmlTable table{.caption = title + ": the runs that it is made of",
                        .heads = {"Start", "Length", "Kind", "Layer", "File", "Offset in it"}};
        for (const MapRun& run : part.runs) {
            const bool placed = run.place.file != nullptr;
            const std::string why = run.why ? ": " + escaped(run.why->what) : "";
            table.rows.push_back({fmt::format("{}", run.start.value), fmt::format("{}", run.length),
                                  std::string(to_string(shade_of(run.kind))) + why, fmt::format("{}", run.depth),
                                  placed ? escaped(run.place.file->name()) : "-",
                                  placed ? fmt::format("{}", run.place.offset) : "-"});
        }
        if (part.more == 0) return table.html();
        return table.html() + fmt::format("<p>{} more runs, which <code>vdisk map</code> lists.</p>\n", part.more);
    }

    const std::vector<std::string>& names_;
    std::uint64_t size_;
    Cells all_;
    std::map<std::size_t, Cells> layers_{}; // by depth, of those that the disk has bytes of
    std::vector<Part> parts_;
};

} // namespace

std::string map_pictures(const Image& disk, const std::vector<std::string>& names, bool& unreadable) {
    if (disk.size() == 0) return "<p>The disk has no bytes.</p>\n";
    const DiskPicture picture(disk, names);
    unreadable = picture.unreadable();
    return picture.html();
}

} // namespace vdisk::tools
