// SPDX-License-Identifier: Apache-2.0
#include "format/pbs/verify.hpp"

#include "base/processors.hpp"
#include "io/expanded_blocks.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <system_error>
#include <thread>

namespace vdisk::pbs {
namespace {

constexpr std::uint64_t kKnownBytes = 160; // that one chunk's outcome takes in memory

} // namespace

std::size_t Verifier::DigestHash::operator()(const Digest& digest) const noexcept {
    std::size_t start = 0;
    std::memcpy(&start, digest.data(), sizeof start);
    return start;
}

// One index, whose chunks some threads take in turn.
class Verifier::Pass {
public:
    Pass(Verifier& all, ChunksPtr chunks, bool crc_alone)
        : all_(all), chunks_(std::move(chunks)), crc_alone_(crc_alone) {}

    Result<void> run(const Progress& progress) {
        std::vector<std::thread> helpers;
        try {
            for (std::size_t i = 1; i < threads_of(all_.limits_); ++i) helpers.emplace_back([this] { work({}); });
        } catch (const std::system_error&) { // no more threads to be had: those that are there do it
        }
        work(progress);
        for (std::thread& helper : helpers) helper.join();
        if (cancelled_) return fail(ErrorKind::cancelled, "cancelled");
        if (failure_) return Error(*failure_);
        return ok();
    }

    Outcome outcome_of(const Chunk& chunk) const {
        if (crc_alone_) return checked(chunks_->store->check_crc(*chunk.digest));
        Block content(static_cast<std::size_t>(chunk.length));
        return checked(chunks_->store->check({.digest = *chunk.digest, .key = chunks_->key.get()}, content.room()));
    }

private:
    static Outcome checked(const Result<ChunkStore::Condition>& read) {
        if (read.has_value()) return {.condition = read.value()};
        return {.condition = ChunkStore::Condition::sound, .why = read.error().what};
    }

    void work(const Progress& progress) {
        try {
            while (!cancelled_ && next(progress)) {
            }
        } catch (const std::exception& error) { // the standard library's: no memory
            fail_with(fail(ErrorKind::io, "verifying a chunk: {}", error.what()));
        }
    }

    // The chunk that nobody has begun; false if there is none. One whose entry can't be read is told with the others.
    bool next(const Progress& progress) {
        const IndexHeader& header = chunks_->table.header();
        const std::uint64_t number = next_.fetch_add(1);
        if (number >= std::min(header.chunks, header.entries)) return false;
        const auto found = chunks_->table.numbered(number);
        if (found.has_error()) return true;
        const Chunk& chunk = found.value();
        if (all_.claim(*chunk.digest)) all_.settle(*chunk.digest, outcome_of(chunk));
        if (progress && !progress(chunk.start, header.size)) cancelled_ = true;
        return true;
    }

    void fail_with(Error error) {
        next_ = chunks_->table.header().chunks; // nobody goes on
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = std::move(error);
    }

    Verifier& all_;
    ChunksPtr chunks_;
    bool crc_alone_;
    std::atomic<bool> cancelled_{false};
    std::atomic<std::uint64_t> next_{0}; // number of the chunk that nobody has begun
    std::mutex mutex_;                   // guards what follows
    ForkGuard guard_{&mutex_};
    std::optional<Error> failure_;
};

// Whether the chunk has to be read, and may be remembered.
bool Verifier::claim(const Digest& digest) {
    const std::lock_guard lock(mutex_);
    if (known_.size() >= limits_.audit_bytes / kKnownBytes) return false;
    return known_.try_emplace(digest).second;
}

void Verifier::settle(const Digest& digest, Outcome outcome) {
    const std::lock_guard lock(mutex_);
    ++read_;
    known_[digest] = std::move(outcome);
}

void Verifier::tell(const Chunk& chunk, const std::string& name, const Outcome& outcome) {
    const Place place{.disk = name, .guest = GuestOffset{chunk.start}, .length = chunk.length};
    if (!outcome.why.empty()) {
        report_.add(Severity::error, "lost", place, "disk offset {}, {} bytes: chunk {}: {}", chunk.start, chunk.length,
                    chunk.number, outcome.why);
        return;
    }
    switch (outcome.condition) {
    case ChunkStore::Condition::sound: break;
    case ChunkStore::Condition::wrong_crc:
        report_.add(Severity::warning, "wrong-crc", place,
                    "chunk {}: its digest proves it, but the CRC-32 of its file is wrong", chunk.number);
        break;
    case ChunkStore::Condition::renamed_bad:
        report_.add(Severity::warning, "renamed-chunk", place,
                    "chunk {}: its digest proves it, but the server took its file for a bad one and renamed it",
                    chunk.number);
        break;
    }
}

Result<void> Verifier::verify(const IndexDisk& disk, const std::string& name, const Progress& progress) {
    report_.add(disk.remarks(), "index-doubt", "index-note");
    const bool crc_alone = disk.is_encrypted() && !disk.has_key();
    VDISK_TRY(layout, disk.layout(crc_alone ? IndexDisk::WithoutKey::allowed : IndexDisk::WithoutKey::refused));
    const ChunksPtr& chunks = layout->chunks();
    const auto pass = std::make_unique<Pass>(*this, chunks, crc_alone); // guards must not lie on a stack
    VDISK_CHECK(pass->run(progress));
    if (crc_alone)
        report_.add(Severity::note, "not-proven", {.disk = name},
                    "there is no key: of the chunks no more than a CRC-32 was checked, as the server does it");
    for (std::uint64_t number = 0; number < disk.header().chunks; ++number) {
        const auto found = chunks->table.numbered(number);
        if (found.has_error()) {
            report_.add(Severity::error, "lost", {.disk = name}, "chunk {}: {}", number, found.error().what);
            continue;
        }
        const Chunk& chunk = found.value();
        if (!chunk.digest || layout->was_never_written(chunk)) {
            const std::uint64_t length = chunk.digest ? chunk.length : disk.header().size - chunk.start;
            report_.add(Severity::error, "lost", {.disk = name, .guest = GuestOffset{chunk.start}, .length = length},
                        "disk offset {}, {} bytes: {}", chunk.start, length, layout->objection(chunk)->what);
            if (!chunk.digest) break; // nor has any behind it
            continue;
        }
        const auto known = known_.find(*chunk.digest);
        const Outcome outcome = known != known_.end() ? known->second : pass->outcome_of(chunk);
        if (layout->is_zeros(chunk) && !outcome.why.empty())
            report_.add(Severity::note, "zeros-not-there",
                        {.disk = name, .guest = GuestOffset{chunk.start}, .length = chunk.length},
                        "chunk {} is zeros, as its digest shows; its file: {}", chunk.number, outcome.why);
        else tell(chunk, name, outcome);
    }
    return ok();
}

AuditReport Verifier::result() && {
    report_.facts["chunks read"] = read_;
    return std::move(report_);
}

} // namespace vdisk::pbs
