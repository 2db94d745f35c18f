// SPDX-License-Identifier: Apache-2.0
#define ZSTD_STATIC_LINKING_ONLY // for decoding block by block into memory of ours
#include "io/stream/zstd_blocks.hpp"

#include <boost/endian/conversion.hpp>
#include <zdict.h>
#include <zstd.h>

#include <algorithm>

#include <bit>
#include <cstring>

namespace vdisk {
namespace {

constexpr std::uint32_t kFrameMagic = 0xFD2FB528;
constexpr std::uint32_t kSkippableMagic = 0x184D2A50; // the last four bits are free
constexpr std::size_t kFrameMagicBytes = 4;

Error cut_header() {
    return fail(ErrorKind::truncated, "zstd frame header is cut off");
}

std::uint64_t window_of(std::uint64_t descriptor) {
    const std::uint64_t base = std::uint64_t{1} << (10 + (descriptor >> 3));
    return base + base / 8 * (descriptor & 7);
}

// RFC 8878, 3.1.1.1: descriptor, window descriptor, dictionary id, content size.
Result<ZstdFrameHeader> parse_frame(std::span<const std::byte> bytes) {
    constexpr std::array<std::size_t, 4> kDictionaryBytes{0, 1, 2, 4};
    constexpr std::array<std::size_t, 4> kSizeBytes{0, 2, 4, 8};
    if (bytes.size() < kFrameMagicBytes + 1) return cut_header();
    const std::uint64_t descriptor = little(bytes, kFrameMagicBytes, 1);
    const bool single = (descriptor & 0x20) != 0;
    const std::size_t window_bytes = single ? 0 : 1;
    const std::size_t dictionary_bytes = kDictionaryBytes[descriptor & 3];
    const std::size_t size_bytes = single && descriptor >> 6 == 0 ? 1 : kSizeBytes[descriptor >> 6];
    ZstdFrameHeader header{.kind = ZstdFrameHeader::Kind::frame};
    header.length = kFrameMagicBytes + 1 + window_bytes + dictionary_bytes + size_bytes;
    if (bytes.size() < header.length) return cut_header();
    if ((descriptor & 0x08) != 0) return fail(ErrorKind::corrupt, "zstd frame header has its reserved bit set");
    header.checksum = (descriptor & 0x04) != 0;
    std::size_t at = kFrameMagicBytes + 1 + window_bytes;
    header.dictionary = static_cast<std::uint32_t>(little(bytes, at, dictionary_bytes));
    at += dictionary_bytes;
    if (size_bytes > 0) header.content_size = little(bytes, at, size_bytes) + (size_bytes == 2 ? 256 : 0);
    header.window = single ? header.content_size : window_of(little(bytes, kFrameMagicBytes + 1, 1));
    return header;
}

ZSTD_DCtx* thread_decoder() {
    static thread_local const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> decoder(ZSTD_createDCtx(),
                                                                                           ZSTD_freeDCtx);
    if (!decoder) return nullptr;
    ZSTD_DCtx_reset(decoder.get(), ZSTD_reset_session_and_parameters);
    ZSTD_DCtx_setParameter(decoder.get(), ZSTD_d_forceIgnoreChecksum, ZSTD_d_ignoreChecksum);
    return decoder.get();
}

Result<void> check_expanded(std::size_t status, std::size_t wanted) {
    if (ZSTD_isError(status)) return fail(ErrorKind::corrupt, "zstd data: {}", ZSTD_getErrorName(status));
    if (status != wanted) return fail(ErrorKind::corrupt, "zstd data expands to {} of {} bytes", status, wanted);
    return ok();
}

// What a zstd dictionary has before its content, the repeat offsets last. libzstd makes tables of what it is shown: any
// will do.
std::span<const std::byte> dictionary_header() {
    static const std::vector<std::byte> made = [] {
        constexpr std::string_view kText =
            "any bytes will do, as the tables are unused. But there have to be some of them, and enough that libzstd "
            "finds something "
            "to count in them: 0123456789 times the quick brown fox jumps over the lazy dog.";
        std::vector<std::byte> dictionary(4096);
        const std::array<std::size_t, 2> samples{kText.size() / 2, kText.size() / 2};
        const std::size_t size =
            ZDICT_finalizeDictionary(dictionary.data(), dictionary.size(), kText.data(), kText.size(), kText.data(),
                                     samples.data(), static_cast<unsigned>(samples.size()), {});
        if (ZDICT_isError(size)) return std::vector<std::byte>();
        const std::size_t header = ZDICT_getDictHeaderSize(dictionary.data(), size);
        dictionary.resize(ZDICT_isError(header) ? 0 : header);
        return dictionary;
    }();
    return made;
}

// Window and offsets as a zstd dictionary, which is how a decoder can be told where it is: its tables are unused ones.
Result<std::span<const std::byte>> zstd_dictionary(const ZstdPrefix& prefix, const RepeatOffsets& offsets) {
    const std::span<const std::byte> header = dictionary_header();
    if (header.empty() || header.size() > prefix.room.size() || prefix.window.size() < kZstdWindowLeast)
        return fail(ErrorKind::io, "no dictionary can be made of a window of {} bytes", prefix.window.size());
    const auto room = prefix.room.last(header.size());
    std::ranges::copy(header, room.begin());
    const auto numbers = room.last(offsets.size() * sizeof(std::uint32_t));
    for (std::size_t i = 0; i < offsets.size(); ++i)
        boost::endian::store_little_u32(reinterpret_cast<unsigned char*>(&numbers[4 * i]), offsets[i]);
    return std::span<const std::byte>(room.data(), room.size() + prefix.window.size());
}

} // namespace

Result<ZstdFrameHeader> parse_zstd_frame_header(std::span<const std::byte> bytes) {
    if (bytes.size() < kFrameMagicBytes) return cut_header();
    const auto magic = static_cast<std::uint32_t>(little(bytes, 0, kFrameMagicBytes));
    if (magic == kFrameMagic) return parse_frame(bytes);
    if ((magic & ~0xFU) != kSkippableMagic) return ZstdFrameHeader{};
    if (bytes.size() < 8) return cut_header();
    return ZstdFrameHeader{.kind = ZstdFrameHeader::Kind::skippable, .length = 8 + little(bytes, 4, 4)};
}

ZstdBlock parse_zstd_block(std::span<const std::byte> bytes) noexcept {
    const std::uint64_t header = little(bytes, 0, kZstdBlockHeader);
    ZstdBlock block{.kind = static_cast<ZstdBlock::Kind>(header >> 1 & 3),
                    .last = (header & 1) != 0,
                    .size = static_cast<std::uint32_t>(header >> 3)};
    block.packed = block.kind == ZstdBlock::Kind::rle ? 1 : block.size;
    return block;
}

// RFC 8878, 3.1.1.3.1.
std::optional<ZstdLiterals> parse_zstd_literals(std::span<const std::byte> block) noexcept {
    if (block.empty()) return std::nullopt;
    const auto first = std::to_integer<unsigned>(block[0]);
    const auto kind = static_cast<ZstdLiterals::Kind>(first & 3);
    const unsigned format = first >> 2 & 3;
    const bool plain = kind == ZstdLiterals::Kind::raw || kind == ZstdLiterals::Kind::rle;
    const std::size_t header = plain ? (format == 1 ? 2 : format == 3 ? 3 : 1) : (format < 2 ? 3 : format + 2);
    if (block.size() < header) return std::nullopt;
    const std::uint64_t sizes = little(block, 0, header);
    if (plain) {
        const auto size = static_cast<std::size_t>(sizes >> (header == 1 ? 3 : 4));
        return ZstdLiterals{kind, header + (kind == ZstdLiterals::Kind::rle ? 1 : size), size};
    }
    const unsigned bits = format < 2 ? 10 : format == 2 ? 14 : 18; // of each of the sizes
    const std::size_t most = (std::size_t{1} << bits) - 1;
    return ZstdLiterals{kind, header + static_cast<std::size_t>(sizes >> (4 + bits) & most),
                        static_cast<std::size_t>(sizes >> 4 & most)};
}

void ZstdBlockDecoder::Free::operator()(ZSTD_DCtx_s* decoder) const noexcept {
    ZSTD_freeDCtx(decoder);
}
void ZstdBlockDecoder::Free::operator()(ZSTD_DDict_s* prefix) const noexcept {
    ZSTD_freeDDict(prefix);
}

Result<void> ZstdBlockDecoder::begin() {
    if (!decoder_) decoder_.reset(ZSTD_createDCtx());
    prefix_.reset();
    if (!decoder_) return fail(ErrorKind::io, "no memory for a decompressor");
    ZSTD_decompressBegin(decoder_.get());
    return feed_header();
}

Result<void> ZstdBlockDecoder::begin(const ZstdPrefix& prefix, const RepeatOffsets& offsets) {
    if (!decoder_) decoder_.reset(ZSTD_createDCtx());
    VDISK_TRY(dictionary, zstd_dictionary(prefix, offsets));
    prefix_.reset(ZSTD_createDDict_advanced(dictionary.data(), dictionary.size(), ZSTD_dlm_byRef, ZSTD_dct_fullDict,
                                            ZSTD_defaultCMem));
    if (!decoder_ || !prefix_) return fail(ErrorKind::io, "no memory for a decompressor");
    ZSTD_decompressBegin_usingDDict(decoder_.get(), prefix_.get());
    return feed_header();
}

// A made-up header without content size and checksum. The window in it (2^27 bytes) bounds nothing here: matches reach
// as far as there is prefix.
Result<void> ZstdBlockDecoder::feed_header() {
    constexpr std::array header{std::byte{0x28}, std::byte{0xB5}, std::byte{0x2F},
                                std::byte{0xFD}, std::byte{0},    std::byte{(27 - 10) << 3}};
    std::size_t status = 0;
    for (std::size_t at = 0; at < header.size() && !ZSTD_isError(status);) {
        const std::size_t wanted = ZSTD_nextSrcSizeToDecompress(decoder_.get());
        status = ZSTD_decompressContinue(decoder_.get(), nullptr, 0, &header[at], wanted);
        at += wanted;
    }
    if (ZSTD_isError(status)) return fail(ErrorKind::io, "zstd decompressor: {}", ZSTD_getErrorName(status));
    return ok();
}

Result<std::size_t> ZstdBlockDecoder::length_of(std::span<const std::byte> packed) {
    if (packed.size() < kZstdBlockHeader) return fail(ErrorKind::corrupt, "zstd blocks are cut off");
    const std::size_t length = kZstdBlockHeader + parse_zstd_block(packed).packed;
    if (length > packed.size()) return fail(ErrorKind::corrupt, "zstd blocks are cut off");
    return length;
}

Result<std::size_t> ZstdBlockDecoder::decode(std::span<const std::byte> block, std::span<std::byte> out) {
    // The decoder refuses to go on behind the last block of a frame, and where that is we know.
    std::array<std::byte, kZstdBlockHeader> header{block[0] & ~std::byte{1}, block[1], block[2]};
    std::size_t status = ZSTD_decompressContinue(decoder_.get(), nullptr, 0, header.data(), header.size());
    if (!ZSTD_isError(status) && block.size() > header.size())
        status = ZSTD_decompressContinue(decoder_.get(), out.data(), std::min(out.size(), kZstdBlockMax),
                                         &block[header.size()], block.size() - header.size());
    if (ZSTD_isError(status)) return fail(ErrorKind::corrupt, "zstd data: {}", ZSTD_getErrorName(status));
    return status;
}

Result<void> expand_zstd_frames(std::span<const std::byte> packed, std::span<std::byte> out) {
    ZSTD_DCtx* decoder = thread_decoder();
    if (decoder == nullptr) return fail(ErrorKind::io, "no memory for a decompressor");
    return check_expanded(ZSTD_decompressDCtx(decoder, out.data(), out.size(), packed.data(), packed.size()),
                          out.size());
}

} // namespace vdisk
