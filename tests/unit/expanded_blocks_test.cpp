// SPDX-License-Identifier: Apache-2.0
// How much memory and how many threads decoding ahead takes.
#include "io/expanded_blocks.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <thread>

using namespace vdisk;

BOOST_AUTO_TEST_SUITE(expanded_blocks)

namespace {

constexpr std::size_t kUnit = 5000; // bytes of a block
constexpr std::size_t kWork = 700;  // what making one takes besides

// Bytes that blocks have, and those that are being made.
class Counted {
public:
    void add(std::size_t bytes) {
        const std::size_t now = alive_ += bytes;
        for (std::size_t most = peak_; most < now && !peak_.compare_exchange_weak(most, now);) {
        }
    }
    void remove(std::size_t bytes) { alive_ -= bytes; }
    std::size_t peak() const { return peak_; }

    ExpandedBlocks::Expand expand() {
        return [this]() -> Result<BlockPtr> {
            add(kUnit + kWork);
            std::this_thread::yield();
            BlockPtr block(new Block(kUnit), [this](const Block* used) {
                delete used;
                remove(kUnit);
            });
            remove(kWork);
            return block;
        };
    }

private:
    std::atomic<std::size_t> alive_{0};
    std::atomic<std::size_t> peak_{0};
};

} // namespace

BOOST_AUTO_TEST_CASE(what_a_reader_in_order_has_made_ahead_stays_within_the_room_there_is) {
    constexpr std::uint64_t kBlocks = 400;
    for (const std::size_t threads : {1U, 2U, 8U, 16U}) {
        Counted counted; // outlives the blocks
        const std::size_t room = (threads + 2) * kUnit + threads * kWork;
        ExpandedBlocks blocks({.cache_bytes = room, .helpers = threads - 1, .at_once = threads, .few = true});
        for (std::uint64_t at = 0; at < kBlocks; ++at) {
            for (std::uint64_t next = at; next < std::min(at + threads, kBlocks); ++next)
                blocks.prepare({.offset = next}, counted.expand(), kUnit + kWork);
            auto block = blocks.get({.offset = at}, counted.expand(), kUnit + kWork);
            BOOST_REQUIRE(block.has_value());
            while (block.value().use_count() > 2) std::this_thread::yield(); // a thread that made it still has it
            block.value().reset();
            blocks.demote({.offset = at});
        }
        BOOST_TEST(counted.peak() <= room, threads << " threads: " << counted.peak() << " of " << room);
        BOOST_TEST(blocks.expanded() == kBlocks);
    }
}

BOOST_AUTO_TEST_CASE(threads_are_started_when_there_is_work_for_them) {
    std::atomic<bool> go{false};
    const auto wait = [&]() -> Result<BlockPtr> {
        while (!go) std::this_thread::yield();
        return std::make_shared<const Block>(1);
    };
    ExpandedBlocks blocks({.cache_bytes = 100, .helpers = 4});
    BOOST_TEST(blocks.threads() == 0U);
    blocks.prepare({.offset = 0}, wait);
    BOOST_TEST(blocks.threads() == 1U);
    blocks.prepare({.offset = 0}, wait); // the same one
    BOOST_TEST(blocks.threads() == 1U);
    for (std::uint64_t at = 1; at < 3; ++at) blocks.prepare({.offset = at}, wait);
    BOOST_TEST(blocks.threads() == 3U);
    for (std::uint64_t at = 3; at < 20; ++at) blocks.prepare({.offset = at}, wait);
    BOOST_TEST(blocks.threads() == 4U);
    go = true;
}

BOOST_AUTO_TEST_CASE(a_thread_that_has_done_its_work_does_the_next) {
    const auto expand = [] { return Result<BlockPtr>(std::make_shared<const Block>(1)); };
    ExpandedBlocks blocks({.cache_bytes = 100, .helpers = 4});
    for (std::uint64_t at = 0; at < 10; ++at) {
        blocks.prepare({.offset = at}, expand);
        while (blocks.expanded() <= at || blocks.idle() < blocks.threads()) std::this_thread::yield();
    }
    BOOST_TEST(blocks.threads() == 1U);
}

BOOST_AUTO_TEST_CASE(memory_of_large_blocks_is_used_again_and_counted) {
    constexpr std::size_t kLarge = 6U << 20;
    const auto pool = std::make_shared<BlockPool>(2 * kLarge + 2000);
    const auto fill = [](Block& block) { // all of it can be written to
        std::ranges::fill(block.room(), std::byte{1});
        return block.data()[block.size() - 1] == std::byte{1};
    };
    auto first = pool->take(kLarge - 70'000);
    BOOST_TEST(fill(*first));
    first.reset();
    for (const std::size_t size :
         {kLarge - 70'005, kLarge, 5 * kLarge / 6, kLarge, kLarge / 2}) { // the same, grown once
        const auto again = pool->take(size);
        BOOST_TEST(again->size() == size);
        BOOST_TEST(again->taken() == pool->peak());
        BOOST_TEST(fill(*again));
    }
    BOOST_TEST(pool->peak() == kLarge);
    BOOST_TEST(pool->take(kLarge / 2 - 1)->taken() == kLarge / 2 - 1); // cut: it would be more than twice as large
    auto one = pool->take(kLarge);
    auto two = pool->take(kLarge);
    auto three = pool->take(kLarge);
    BOOST_TEST(pool->peak() == 3 * kLarge);
    two.reset(); // too much to wait
    three.reset();
    const auto small = pool->take(1000);
    const auto fourth = pool->take(kLarge); // what waited
    BOOST_TEST(pool->peak() == 3 * kLarge);
    one.reset();
    const auto medium = pool->take(2U << 20); // what waits, cut to it
    const auto fifth = pool->take(kLarge);
    BOOST_TEST((fill(*small) && fill(*fourth) && fill(*medium) && fill(*fifth)));
    BOOST_TEST(pool->peak() == 3 * kLarge);
}

BOOST_AUTO_TEST_CASE(memory_that_something_else_takes_does_not_wait_to_be_used_again) {
    constexpr std::size_t kLarge = 6U << 20;
    const auto pool = std::make_shared<BlockPool>(2 * kLarge);
    const auto waits = [&] {
        pool->take(kLarge).reset();
        return pool->take(kLarge / 2 + 1)->taken() == kLarge;
    };
    BOOST_TEST(waits());
    {
        const BlockPool::Beside exactly(pool, 2 * kLarge);
        BOOST_TEST(waits());
        const BlockPool::Beside one_more(pool, 1);
        BOOST_TEST(!waits());
    }
    BOOST_TEST(waits());
}

BOOST_AUTO_TEST_SUITE_END()
