// SPDX-License-Identifier: Apache-2.0
#include "format/proxmox/sqlite.hpp"

#include "base/checked.hpp"
#include "base/parse.hpp"
#include "base/text.hpp"

#include <boost/endian/buffers.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <set>
#include <span>

namespace vdisk::sqlite {
namespace {

using boost::endian::big_uint16_buf_t;
using boost::endian::big_uint32_buf_t;

struct RawHeader {
    std::array<char, 16> magic;
    big_uint16_buf_t page_size; // 1: 65536
    std::uint8_t write_version;
    std::uint8_t read_version;
    std::uint8_t reserved; // bytes at the end of each page
    std::array<std::uint8_t, 35> others;
    big_uint32_buf_t encoding; // 1: UTF-8
    std::array<std::uint8_t, 40> rest;
};
static_assert(sizeof(RawHeader) == 100);

struct RawLogHeader {
    big_uint32_buf_t magic; // odd: words of the checksums are big-endian
    big_uint32_buf_t format;
    big_uint32_buf_t page_size;
    big_uint32_buf_t sequence;
    big_uint32_buf_t salt_1;
    big_uint32_buf_t salt_2;
    big_uint32_buf_t sum_1;
    big_uint32_buf_t sum_2;
};
static_assert(sizeof(RawLogHeader) == 32);

struct RawFrame {
    big_uint32_buf_t page;
    big_uint32_buf_t size_after; // pages of the database where a transaction ends; else 0
    big_uint32_buf_t salt_1;
    big_uint32_buf_t salt_2;
    big_uint32_buf_t sum_1;
    big_uint32_buf_t sum_2;
};
static_assert(sizeof(RawFrame) == 24);

constexpr std::uint32_t kLogMagic = 0x377F0682;
constexpr std::uint32_t kLogFormat = 3007000;
constexpr std::uint8_t kInterior = 0x05, kLeaf = 0x0D; // pages of a table's tree
constexpr std::size_t kMostColumns = 32767;            // SQLite's own limit

// The checksum that goes on from frame to frame.
class LogSum {
public:
    explicit LogSum(bool big_endian) : big_endian_(big_endian) {}
    void add(std::span<const std::byte> bytes) {
        for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
            first_ += word(bytes, at) + second_;
            second_ += word(bytes, at + 4) + first_;
        }
    }
    [[nodiscard]] bool is(const big_uint32_buf_t& first, const big_uint32_buf_t& second) const noexcept {
        return first.value() == first_ && second.value() == second_;
    }

private:
    [[nodiscard]] std::uint32_t word(std::span<const std::byte> bytes, std::size_t at) const {
        std::uint32_t value = 0;
        for (std::size_t i = 0; i < 4; ++i)
            value = value << 8 | std::to_integer<std::uint32_t>(bytes[at + (big_endian_ ? i : 3 - i)]);
        return value;
    }

    bool big_endian_;
    std::uint32_t first_ = 0;
    std::uint32_t second_ = 0;
};

std::uint64_t big_endian(std::span<const std::byte> bytes) {
    std::uint64_t value = 0;
    for (const std::byte each : bytes) value = value << 8 | std::to_integer<std::uint64_t>(each);
    return value;
}

// Takes numbers and bytes from the front; once something is not there, nothing is.
class Taker {
public:
    explicit Taker(std::span<const std::byte> bytes) : bytes_(bytes) {}

    std::span<const std::byte> bytes(std::uint64_t count) {
        if (count > bytes_.size()) good_ = false;
        if (!good_) return {};
        const auto taken = bytes_.first(static_cast<std::size_t>(count));
        bytes_ = bytes_.subspan(taken.size());
        return taken;
    }
    std::uint64_t number(std::size_t count) { return big_endian(bytes(count)); }
    // Seven bits a byte, of a ninth all eight.
    std::uint64_t varint() {
        std::uint64_t value = 0;
        for (int i = 0; i < 9; ++i) {
            const std::uint64_t byte = number(1);
            if (i == 8) return value << 8 | byte;
            value = value << 7 | (byte & 0x7FU);
            if ((byte & 0x80U) == 0) break;
        }
        return value;
    }
    [[nodiscard]] bool good() const noexcept { return good_; }
    [[nodiscard]] std::size_t left() const noexcept { return bytes_.size(); }

private:
    std::span<const std::byte> bytes_;
    bool good_ = true;
};

// Bytes that a value of this serial type takes; nothing for a reserved one.
std::optional<std::uint64_t> length_of(std::uint64_t type) {
    constexpr std::array<std::uint64_t, 10> kLengths{0, 1, 2, 3, 4, 6, 8, 8, 0, 0};
    if (type < kLengths.size()) return kLengths[static_cast<std::size_t>(type)];
    if (type < 12) return std::nullopt;
    return (type - 12) / 2;
}

Value value_of(std::uint64_t type, std::span<const std::byte> bytes) {
    if (type >= 12) return std::string(as_text(bytes));
    if (type == 8 || type == 9) return static_cast<std::int64_t>(type - 8);
    if (type == 0 || type == 7) return std::monostate();
    const unsigned unused = 64 - 8 * static_cast<unsigned>(bytes.size());
    return static_cast<std::int64_t>(big_endian(bytes) << unused) >> unused;
}

// Nothing if the record is not what its header says.
std::optional<std::vector<Value>> columns_of(std::span<const std::byte> record) {
    Taker all(record);
    const std::uint64_t header_size = all.varint();
    const std::size_t taken = record.size() - all.left();
    if (!all.good() || header_size < taken) return std::nullopt;
    Taker types(all.bytes(header_size - taken));
    std::vector<Value> columns;
    while (types.left() > 0 && all.good()) {
        const std::uint64_t type = types.varint();
        const auto length = length_of(type);
        if (!types.good() || !length || columns.size() == kMostColumns) return std::nullopt;
        const auto bytes = all.bytes(*length);
        if (all.good()) columns.push_back(value_of(type, bytes));
    }
    return all.good() ? std::optional(std::move(columns)) : std::nullopt;
}

} // namespace

std::int64_t Row::integer(std::size_t column) const noexcept {
    const auto* const value = column < columns.size() ? std::get_if<std::int64_t>(&columns[column]) : nullptr;
    return value == nullptr ? 0 : *value;
}

std::string Row::text(std::size_t column) const {
    const auto* const value = column < columns.size() ? std::get_if<std::string>(&columns[column]) : nullptr;
    return value == nullptr ? "" : *value;
}

// Goes through a table's tree with a stack of its own. Each page has one place in one tree, so none is read twice.
class Database::Walk {
public:
    Walk(const Database& database, const Limits& limits, std::vector<std::string>& problems)
        : database_(database), limits_(limits), problems_(problems) {}

    void run(std::uint32_t root, const std::function<void(const Row&)>& take) {
        std::vector<std::uint32_t> ahead{root};
        while (!ahead.empty()) {
            const std::uint32_t number = ahead.back();
            ahead.pop_back();
            if (const auto bytes = page(number)) visit(number, *bytes, ahead, take);
        }
    }

private:
    std::optional<std::vector<std::byte>> page(std::uint32_t number) {
        if (!seen_.insert(number).second) {
            problem(number, "is used twice");
            return std::nullopt;
        }
        auto bytes = database_.page(number);
        if (bytes.has_value()) return std::move(bytes).value();
        problem(number, bytes.error().what);
        return std::nullopt;
    }

    void problem(std::uint32_t number, std::string_view what) {
        constexpr std::size_t kMost = 20;
        if (problems_.size() < kMost)
            problems_.push_back(
                fmt::format("{}: page {}: {}, what it holds is not told", database_.file_->name(), number, what));
    }

    void visit(std::uint32_t number, std::span<const std::byte> bytes, std::vector<std::uint32_t>& ahead,
               const std::function<void(const Row&)>& take) {
        Taker header(bytes.subspan(number == 1 ? sizeof(RawHeader) : 0));
        const auto type = static_cast<std::uint8_t>(header.number(1));
        header.bytes(2);
        const std::uint64_t cells = header.number(2);
        header.bytes(3);
        if (type != kInterior && type != kLeaf) return problem(number, "is no page of a table");
        const auto last = type == kInterior ? static_cast<std::uint32_t>(header.number(4)) : 0;
        std::vector<std::uint32_t> below;
        std::uint64_t used = 0; // cells that overlap would be read again and again
        for (std::uint64_t i = 0; i < cells; ++i) {
            const std::uint64_t at = header.number(2);
            if (!header.good() || at >= database_.usable_) return problem(number, "has a cell outside of it");
            Taker cell(bytes.first(database_.usable_).subspan(static_cast<std::size_t>(at)));
            const std::size_t before = cell.left();
            if (type == kInterior) {
                below.push_back(static_cast<std::uint32_t>(cell.number(4)));
                cell.varint();
            } else {
                read_row(number, cell, take);
            }
            used += before - cell.left();
            if (used > database_.usable_) return problem(number, "has cells that overlap");
        }
        if (type == kInterior) below.push_back(last);
        ahead.insert(ahead.end(), below.rbegin(), below.rend());
    }

    void read_row(std::uint32_t number, Taker& cell, const std::function<void(const Row&)>& take) {
        const std::uint64_t size = cell.varint();
        Row row{.id = static_cast<std::int64_t>(cell.varint()), .columns = {}};
        if (size > limits_.registry_bytes)
            return problem(number, fmt::format("a row has {} bytes, the limit is {}", size, limits_.registry_bytes));
        const auto payload = payload_of(cell, size);
        auto columns = payload ? columns_of(*payload) : std::nullopt;
        if (!columns) return problem(number, "a row is damaged");
        row.columns = std::move(*columns);
        take(row);
    }

    // What does not fit into the page goes on in others, each with the number of the next one in front.
    std::optional<std::vector<std::byte>> payload_of(Taker& cell, std::uint64_t size) {
        const std::uint64_t usable = database_.usable_, most = usable - 35, least = (usable - 12) * 32 / 255 - 23;
        std::uint64_t here = size;
        if (size > most) {
            here = least + (size - least) % (usable - 4);
            if (here > most) here = least;
        }
        const auto own = cell.bytes(here);
        std::vector<std::byte> payload(own.begin(), own.end());
        auto next = here < size ? static_cast<std::uint32_t>(cell.number(4)) : 0;
        if (!cell.good()) return std::nullopt;
        while (payload.size() < size) {
            const auto more = page(next);
            if (!more) return std::nullopt;
            Taker taker(*more);
            next = static_cast<std::uint32_t>(taker.number(4));
            const auto bytes = taker.bytes(std::min<std::uint64_t>(size - payload.size(), usable - 4));
            payload.insert(payload.end(), bytes.begin(), bytes.end());
        }
        return payload;
    }

    const Database& database_;
    const Limits& limits_;
    std::vector<std::string>& problems_;
    std::set<std::uint32_t> seen_;
};

Result<Database> Database::open(SourcePtr file, SourcePtr log, const Limits& limits) {
    Database database(std::move(file), std::move(log));
    VDISK_CHECK(database.read_header());
    for (const SourcePtr& each : {database.file_, database.log_})
        if (each && each->size() > limits.sqlite_bytes)
            return fail(ErrorKind::limit_exceeded, "{}: has {} bytes, the limit for a database is {}", each->name(),
                        each->size(), limits.sqlite_bytes);
    if (database.log_) VDISK_CHECK(database.read_log());
    return database;
}

Result<void> Database::read_header() {
    VDISK_TRY(raw, read_struct<RawHeader>(*file_, 0, "SQLite header"));
    if (std::string_view(raw.magic.data(), raw.magic.size()) != kMagic)
        return fail(ErrorKind::not_this_format, "{}: is no SQLite database", file_->name());
    page_size_ = raw.page_size.value() == 1 ? 65536 : raw.page_size.value();
    if (page_size_ < 512 || !is_power_of_two(page_size_))
        return fail_at(16, ErrorKind::corrupt, "{}: the page size is {}, no power of two from 512 to 65536",
                       file_->name(), page_size_);
    constexpr std::uint32_t kLeastUsable = 480;
    usable_ = page_size_ - raw.reserved;
    if (usable_ < kLeastUsable)
        return fail_at(20, ErrorKind::corrupt, "{}: {} bytes of each page are reserved, which leaves fewer than {}",
                       file_->name(), raw.reserved, kLeastUsable);
    if (raw.encoding.value() != 1)
        return fail_at(56, ErrorKind::unsupported, "{}: the texts' encoding is {}, known is 1 (UTF-8)", file_->name(),
                       raw.encoding.value());
    pages_ = file_->size() / page_size_;
    return ok();
}

Result<void> Database::read_log() {
    if (log_->size() < sizeof(RawLogHeader)) return ok();
    VDISK_TRY(header, read_struct<RawLogHeader>(*log_, 0, "SQLite log header"));
    if ((header.magic.value() & ~1U) != kLogMagic || header.format.value() != kLogFormat ||
        header.page_size.value() != page_size_)
        return ok();
    LogSum sum((header.magic.value() & 1U) != 0);
    sum.add(std::as_bytes(std::span(&header, 1)).first(24));
    if (!sum.is(header.sum_1, header.sum_2)) return ok();
    std::map<std::uint32_t, std::uint64_t> open; // of a transaction that has not ended yet
    const std::uint64_t step = sizeof(RawFrame) + page_size_;
    for (std::uint64_t at = sizeof header; fits(at, step, log_->size()); at += step) {
        VDISK_TRY(bytes, read_bytes(*log_, at, step, "frame of the SQLite log"));
        RawFrame frame;
        std::memcpy(&frame, bytes.data(), sizeof frame);
        if (frame.salt_1.value() != header.salt_1.value() || frame.salt_2.value() != header.salt_2.value()) break;
        sum.add(std::span(bytes).first(8));
        sum.add(std::span(bytes).subspan(sizeof frame));
        if (!sum.is(frame.sum_1, frame.sum_2)) break;
        open[frame.page.value()] = at + sizeof frame;
        if (frame.size_after.value() == 0) continue;
        pages_ = frame.size_after.value();
        for (const auto& [number, place] : open) in_log_[number] = place;
        open.clear();
    }
    return ok();
}

Result<std::vector<std::byte>> Database::page(std::uint32_t number) const {
    if (number == 0 || number > pages_) return fail(ErrorKind::corrupt, "there is none of that number, but {}", pages_);
    if (const auto logged = in_log_.find(number); logged != in_log_.end())
        return read_bytes(*log_, logged->second, page_size_, "page of the SQLite log");
    return read_bytes(*file_, std::uint64_t{number - 1} * page_size_, page_size_, "page of the SQLite database");
}

Result<void> Database::read(std::string_view table, const Limits& limits, const std::function<void(const Row&)>& take,
                            std::vector<std::string>& problems) const {
    enum Column : std::size_t { type, name, table_name, root };
    std::optional<std::uint32_t> found;
    Walk(*this, limits, problems).run(1, [&](const Row& row) {
        const std::int64_t page = row.integer(root);
        if (row.text(type) == "table" && row.text(name) == table && page > 0 && page <= 0xFFFFFFFF)
            found = static_cast<std::uint32_t>(page);
    });
    if (!found)
        return fail(ErrorKind::corrupt, "{}: has no table '{}'{}{}", file_->name(), table, problems.empty() ? "" : ": ",
                    problems.empty() ? "" : problems.front());
    Walk(*this, limits, problems).run(*found, take);
    return ok();
}

} // namespace vdisk::sqlite
