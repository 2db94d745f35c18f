// SPDX-License-Identifier: Apache-2.0
/// A disk as a flat buffer, against which layouts are checked, and sources that misbehave.
#pragma once

#include "image/image.hpp"
#include "io/memory_source.hpp"
#include "random_bytes.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>

namespace vdisk::test {

inline SourcePtr memory(Bytes bytes, std::string name = "memory") {
    return std::make_shared<const MemorySource>(std::move(bytes), std::move(name));
}

/// `good`, which must outlive it, with one byte changed: a copy of megabytes for each bit takes a sanitizer minutes.
class ChangedSource final : public ByteSource {
public:
    ChangedSource(const Bytes& good, std::size_t place, std::byte value) : good_(good), place_(place), value_(value) {}

    [[nodiscard]] std::uint64_t size() const noexcept override { return good_.size(); }
    [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
        if (offset >= good_.size()) return std::size_t{0};
        const std::size_t count = std::min(out.size(), good_.size() - static_cast<std::size_t>(offset));
        std::copy_n(good_.begin() + static_cast<std::ptrdiff_t>(offset), count, out.begin());
        if (place_ >= offset && place_ - offset < count) out[place_ - offset] = value_;
        return count;
    }
    [[nodiscard]] std::string_view name() const noexcept override { return "memory"; }

private:
    const Bytes& good_;
    std::size_t place_;
    std::byte value_;
};

/// `good` with one bit changed.
inline SourcePtr with_changed_bit(const Bytes& good, std::size_t place, unsigned bit) {
    return std::make_shared<const ChangedSource>(good, place, good[place] ^ static_cast<std::byte>(1U << bit));
}

/// Of many variants one in so many is tried: under the address sanitizer an allocation of a large window takes two
/// hundred times as long, and each of the sanitizers makes decoding many times slower.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr unsigned kTriedOneIn = 7;
#else
inline constexpr unsigned kTriedOneIn = 1;
#endif

/// The value, or the end of the test case with the error's text.
template<class T> T required(Result<T> result) {
    if (result.has_error()) BOOST_FAIL(result.error().what);
    return std::move(result).value();
}

/// Reads [offset, offset + length) and compares with the model, clipped to its end.
inline bool reads_as(const ByteSource& disk, const Bytes& model, std::uint64_t offset, std::size_t length) {
    Bytes out(length, std::byte{0xEE});
    const auto got = disk.read_at(offset, out);
    if (got.has_error()) {
        BOOST_TEST_MESSAGE("read " << offset << "+" << length << ": " << got.error().what);
        return false;
    }
    const std::size_t start = std::min<std::size_t>(offset, model.size());
    const std::size_t expected = std::min(length, model.size() - start);
    return got.value() == expected && std::equal(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(expected),
                                                 model.begin() + static_cast<std::ptrdiff_t>(start));
}

/// Reads of many sizes at and around every multiple of `step`, the whole disk, and past its end.
inline void check_against_model(const ByteSource& disk, const Bytes& model, std::uint64_t step, Random& random) {
    BOOST_TEST(disk.size() == model.size());
    BOOST_TEST(reads_as(disk, model, 0, model.size()));
    BOOST_TEST(reads_as(disk, model, 0, model.size() + 100));
    BOOST_TEST(reads_as(disk, model, model.size(), 10));
    BOOST_TEST(reads_as(disk, model, model.size() + step, 10));
    std::size_t wrong = 0;
    for (std::uint64_t boundary = step; boundary < model.size(); boundary += step)
        for (const std::uint64_t before : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{511}, step / 2})
            for (const std::uint64_t length : {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{1024}, step + 3})
                wrong += reads_as(disk, model, boundary - std::min(before, boundary), length) ? 0U : 1U;
    for (int i = 0; i < 300; ++i)
        wrong += reads_as(disk, model, below(random, model.size()), 1 + below(random, 4 * step)) ? 0U : 1U;
    BOOST_TEST(wrong == 0U);
}

/// Fails every read that touches [from, to) with an `io` error while `broken` is set.
class FaultySource final : public ByteSource {
public:
    FaultySource(SourcePtr inner, std::uint64_t from, std::uint64_t to)
        : inner_(std::move(inner)), from_(from), to_(to) {}
    std::uint64_t size() const noexcept override { return inner_->size(); }
    std::string_view name() const noexcept override { return inner_->name(); }
    Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
        reads_.fetch_add(1);
        if (broken && offset < to_ && offset + out.size() > from_)
            return fail(ErrorKind::io, "broken on purpose at {}", offset);
        return inner_->read_at(offset, out);
    }
    std::uint64_t reads() const { return reads_; }

    std::atomic<bool> broken{true};

private:
    SourcePtr inner_;
    std::uint64_t from_;
    std::uint64_t to_;
    mutable std::atomic<std::uint64_t> reads_{0};
};

/// Reads that touch [from, to) wait until open(); they fail if nobody calls it for a long time.
class GatedSource final : public ByteSource {
public:
    GatedSource(SourcePtr inner, std::uint64_t from, std::uint64_t to)
        : inner_(std::move(inner)), from_(from), to_(to) {}
    std::uint64_t size() const noexcept override { return inner_->size(); }
    std::string_view name() const noexcept override { return inner_->name(); }
    Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
        if (offset < to_ && offset + out.size() > from_) {
            std::unique_lock lock(mutex_);
            ++waiting_;
            changed_.notify_all();
            if (!changed_.wait_for(lock, kLong, [&] { return open_; }))
                return fail(ErrorKind::io, "nobody opened the gate at {}", offset);
        }
        return inner_->read_at(offset, out);
    }
    /// Waits until a read has come to the gate; false if none does for a long time.
    bool wait_for_reader() const {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, kLong, [&] { return waiting_ > 0; });
    }
    void open() const {
        const std::lock_guard lock(mutex_);
        open_ = true;
        changed_.notify_all();
    }

private:
    static constexpr std::chrono::seconds kLong{60};
    SourcePtr inner_;
    std::uint64_t from_;
    std::uint64_t to_;
    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    mutable std::size_t waiting_ = 0;
    mutable bool open_ = false;
};

/// One who waits for the file at `held`, through `gate`, while this thread reads what `others` says: whether all of it
/// is right, also what was waited for.
template<class Read, class Others>
bool reads_while_another_waits(const GatedSource& gate, const Read& held, const Others& others) {
    bool good = false;
    std::thread waiting([&] { good = held(); });
    const bool read = gate.wait_for_reader() && others();
    gate.open();
    waiting.join();
    return read && good;
}

} // namespace vdisk::test
