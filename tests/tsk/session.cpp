// SPDX-License-Identifier: Apache-2.0
#include "session.hpp"

#include <tsk/auto/tsk_auto.h>
#include <tsk/libtsk.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Kind {
    const char* name;
    int id;
};
constexpr Kind kKinds[] = {{"qcow2", 0x0400},      {"vdi", 0x0800},   {"vma", 0x2000},   {"vhd", 0x0100},
                           {"vmdk", 0x0080},       {"vhdx", 0x10000}, {"qcow", 0x20000}, {"qed", 0x40000},
                           {"parallels", 0x80000}, {"rawz", 0x0002}};
std::atomic<int> wrong;

TSK_IMG_TYPE_ENUM type_of(const Kind& kind) {
    return static_cast<TSK_IMG_TYPE_ENUM>(kind.id);
}

// The kind of the images that the session is about.
TSK_IMG_TYPE_ENUM own_type() {
    const char* const word = std::getenv("SESSION_TYPE");
    for (const Kind& kind : kKinds)
        if (word != nullptr && std::strcmp(kind.name, word) == 0) return type_of(kind);
    return type_of(kKinds[0]);
}

void expect(bool holds, const std::string& what) {
    if (holds) return;
    const char* const error = tsk_error_get();
    std::printf("wrong: %s (tsk_error: %s)\n", what.c_str(), error == nullptr ? "none" : error);
    ++wrong;
}

struct Pair {
    std::string image;
    std::vector<char> raw;
};

Pair load(const char* image, const char* raw) {
    std::ifstream file(raw, std::ios::binary | std::ios::ate);
    Pair pair{image, std::vector<char>(static_cast<std::size_t>(std::max<std::streamoff>(file.tellg(), 0)))};
    file.seekg(0).read(pair.raw.data(), static_cast<std::streamsize>(pair.raw.size()));
    return pair;
}

bool known_here(TSK_IMG_TYPE_ENUM type) {
    if (std::getenv("SESSION_JAVA") == nullptr) return type == own_type();
    return type == TSK_IMG_TYPE_DETECT || static_cast<int>(type) == 2;
}

void check_range(TSK_IMG_INFO* image, const Pair& pair, std::size_t at, std::size_t length) {
    std::vector<char> got(length, 'x');
    const std::size_t there = std::min(length, pair.raw.size() - at);
    const ssize_t count = tsk_img_read(image, static_cast<TSK_OFF_T>(at), got.data(), length);
    expect(count == static_cast<ssize_t>(there) && std::memcmp(got.data(), pair.raw.data() + at, there) == 0,
           pair.image + ": " + std::to_string(length) + " bytes at " + std::to_string(at) + " gave " +
               std::to_string(count));
}

void check_reads(TSK_IMG_INFO* image, const Pair& pair, unsigned seed) {
    std::mt19937 random(seed);
    for (int i = 0; i < 60; ++i) {
        const std::size_t at = random() % pair.raw.size();
        check_range(image, pair, at, 1 + random() % (i % 4 == 0 ? 300'000 : 5000));
    }
    check_range(image, pair, pair.raw.size() - 1, 512);
    std::vector<char> beyond(131'072); // longer than libtsk's cache takes, and whole sectors
    expect(tsk_img_read(image, static_cast<TSK_OFF_T>(pair.raw.size()), beyond.data(), beyond.size()) <= 0,
           "a read at the end gives bytes");
    tsk_error_reset();
}

// Checks a handle in all that a program can see of it, and closes it.
void check_handle(const char* how, TSK_IMG_INFO* image, const Pair& pair) {
    expect(image != nullptr, std::string(how) + " gives no handle");
    if (image == nullptr) return;
    expect(image->tag == TSK_IMG_INFO_TAG, std::string(how) + ": tag");
    expect(known_here(image->itype), std::string(how) + ": type " + std::to_string(image->itype));
    expect(image->size == static_cast<TSK_OFF_T>(pair.raw.size()), std::string(how) + ": size");
    expect(image->num_img == 1 && image->images != nullptr && pair.image == image->images[0],
           std::string(how) + ": images");
    expect(image->sector_size == 512, std::string(how) + ": sector size");
    check_reads(image, pair, 1);
    tsk_img_close(image);
}

class Walker : public TskAuto {
public:
    std::atomic<int> files{0};
    TSK_RETVAL_ENUM processFile(TSK_FS_FILE* file, const char* /*path*/) override {
        const bool regular = file->meta != nullptr && file->meta->type == TSK_FS_META_TYPE_REG;
        if (regular && tsk_fs_file_walk(file, TSK_FS_FILE_WALK_FLAG_NONE, see, nullptr) == 0) ++files;
        return TSK_OK;
    }
    uint8_t handleError() override {
        expect(false, "walking the files");
        return 0;
    }

private:
    static TSK_WALK_RET_ENUM see(TSK_FS_FILE*, TSK_OFF_T, TSK_DADDR_T, char*, size_t, TSK_FS_BLOCK_FLAG_ENUM, void*) {
        return TSK_WALK_CONT;
    }
};

void check_type_names() {
    for (const Kind& kind : kKinds) {
        const std::string name = kind.name;
        expect(tsk_img_type_toid(kind.name) == type_of(kind), "toid: " + name);
        expect(tsk_img_type_toid_utf8(kind.name) == type_of(kind), "toid_utf8: " + name);
        expect(name == tsk_img_type_toname(type_of(kind)), "toname: " + name);
        expect(std::strlen(tsk_img_type_todesc(type_of(kind))) > 0, "todesc: " + name);
        expect((tsk_img_type_supported() & kind.id) != 0, "supported: " + name);
    }
    expect((tsk_img_type_supported() & TSK_IMG_TYPE_RAW) != 0, "supported: libtsk's");
    expect(tsk_img_type_toid("raw") == TSK_IMG_TYPE_RAW && std::string(tsk_img_type_toname(TSK_IMG_TYPE_RAW)) == "raw",
           "raw");
    expect(tsk_img_type_toid("nonsense") == TSK_IMG_TYPE_UNSUPP, "toid(nonsense)");
    tsk_error_reset();
}

// The functions that later versions have besides; found by name, because the headers of earlier ones lack them.
void with_options(const Pair& pair, TSK_IMG_TYPE_ENUM type) {
    const char* const path = pair.image.c_str();
    for (const char* name : {"tsk_img_open_opt", "tsk_img_open_utf8_opt"}) {
        auto* const open =
            reinterpret_cast<TSK_IMG_INFO* (*)(int, const char* const[], TSK_IMG_TYPE_ENUM, unsigned, const void*)>(
                dlsym(RTLD_DEFAULT, name));
        check_handle(name, open == nullptr ? nullptr : open(1, &path, type, 0, nullptr), pair);
    }
    for (const char* name : {"tsk_img_open_sing_opt", "tsk_img_open_utf8_sing_opt"}) {
        auto* const open = reinterpret_cast<TSK_IMG_INFO* (*)(const char*, TSK_IMG_TYPE_ENUM, unsigned, const void*)>(
            dlsym(RTLD_DEFAULT, name));
        check_handle(name, open == nullptr ? nullptr : open(path, type, 0, nullptr), pair);
    }
}

void entries(const Pair& pair) {
    const char* const path = pair.image.c_str();
    const char* const two[] = {path, path};
    for (const TSK_IMG_TYPE_ENUM type : {TSK_IMG_TYPE_DETECT, own_type()}) {
        with_options(pair, type);
        check_handle("tsk_img_open", tsk_img_open(1, &path, type, 0), pair);
        check_handle("tsk_img_open_sing", tsk_img_open_sing(path, type, 0), pair);
        check_handle("tsk_img_open_utf8", tsk_img_open_utf8(1, &path, type, 512), pair);
        check_handle("tsk_img_open_utf8_sing", tsk_img_open_utf8_sing(path, type, 512), pair);
        expect(tsk_img_open(2, two, type, 0) == nullptr && tsk_error_get_errno() == TSK_ERR_IMG_OPEN,
               "two files are refused");

        TskImgInfo info;
        expect(info.open(path, type, 0) == 0 && known_here(info.getType()) && info.getSectorSize() == 512,
               "TskImgInfo");
        Walker walker;
        expect(walker.openImage(1, &path, type, 0) == 0 && walker.findFilesInImg() == 0 && walker.files > 0, "TskAuto");
        walker.closeImage();
        Walker utf8;
        expect(utf8.openImageUtf8(1, &path, type, 0) == 0, "TskAuto, UTF-8");
    }
    TSK_IMG_INFO* const large = tsk_img_open_sing(path, TSK_IMG_TYPE_DETECT, 4096);
    expect(large != nullptr && large->sector_size == 4096, "sectors of 4096 bytes");
    if (large != nullptr) tsk_img_close(large);
    check_type_names();
}

void ingest(const Pair& pair) {
    const char* const path = pair.image.c_str();
    Walker asker; // is it an image?
    expect(asker.openImage(1, &path, TSK_IMG_TYPE_DETECT, 0) == 0, "asking whether it is an image");
    asker.closeImage();

    TSK_IMG_INFO* const image = tsk_img_open_utf8(1, &path, TSK_IMG_TYPE_DETECT, 0);
    expect(image != nullptr, "opening for ingest");
    if (image == nullptr) return;
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 3; ++i) threads.emplace_back([&, i] { check_reads(image, pair, i); });
    Walker walker;
    expect(walker.openImageHandle(image) == 0 && walker.findFilesInImg() == 0 && walker.files > 0,
           "ingest by the open handle");
    for (std::thread& thread : threads) thread.join();
    const std::string stored = image->images[0];
    walker.closeImage();
    tsk_img_close(image);

    const char* const again = stored.c_str();
    check_handle("reopening a case", tsk_img_open_utf8(1, &again, TSK_IMG_TYPE_DETECT, 512), pair);
}

void threads(const std::vector<Pair>& pairs) {
    std::vector<std::thread> running;
    for (unsigned i = 0; i < 6; ++i)
        running.emplace_back([&pairs, i] {
            std::mt19937 random(i);
            for (int round = 0; round < 8; ++round) {
                std::vector<std::pair<TSK_IMG_INFO*, const Pair*>> open;
                for (const Pair& pair : pairs)
                    open.emplace_back(tsk_img_open_sing(pair.image.c_str(), TSK_IMG_TYPE_DETECT, 0), &pair);
                expect(tsk_img_open_sing("/nonexistent", own_type(), 0) == nullptr, "a file that is not there");
                std::shuffle(open.begin(), open.end(), random);
                for (const auto& [image, pair] : open) {
                    expect(image != nullptr, "opening in a thread");
                    if (image == nullptr) continue;
                    for (int read = 0; read < 10; ++read)
                        check_range(image, *pair, random() % pair->raw.size(), 1 + random() % 100'000);
                    tsk_img_close(image);
                }
            }
        });
    for (std::thread& thread : running) thread.join();
}

// libtsk itself may take our error for a success, so what it hands on must at least be no stranger's memory.
void damaged(const char* path, TSK_OFF_T offset) {
    TSK_IMG_INFO* const image = tsk_img_open_sing(path, TSK_IMG_TYPE_DETECT, 0);
    expect(image != nullptr, "opening a damaged image");
    if (image == nullptr) return;
    for (const std::size_t length :
         {std::size_t{1}, std::size_t{512}, std::size_t{777}, std::size_t{65536}, std::size_t{70'001}}) {
        std::vector<char> got(length, 'x');
        { std::vector<char> garbage(length + 511, 'g'); } // what malloc gives next
        tsk_error_reset();
        const ssize_t count = tsk_img_read(image, offset, got.data(), length);
        expect(count < 0 || std::count(got.begin(), got.end(), '\0') == count,
               "a damaged range gives bytes, length " + std::to_string(length));
        expect(tsk_error_get_errno() == TSK_ERR_IMG_READ, "no error is set, length " + std::to_string(length));
    }
    tsk_img_close(image);
}

} // namespace

int session(int count, const char* const arguments[]) {
    wrong = 0;
    const std::string what = count > 0 ? arguments[0] : "";
    std::vector<Pair> pairs;
    if (what != "damaged")
        for (int i = 1; i + 1 < count; i += 2) pairs.push_back(load(arguments[i], arguments[i + 1]));
    if (what == "entries" && !pairs.empty()) entries(pairs[0]);
    else if (what == "ingest" && !pairs.empty()) ingest(pairs[0]);
    else if (what == "threads" && !pairs.empty()) threads(pairs);
    else if (what == "damaged" && count == 3) damaged(arguments[1], std::atoll(arguments[2]));
    else expect(false, "the arguments");
    std::printf("%s: %d wrong\n", what.c_str(), wrong.load());
    return wrong;
}

int Java_Session_run(void* /*environment*/, void* /*type*/) {
    const char* const lines = std::getenv("SESSION_ARGUMENTS");
    std::istringstream stream(lines == nullptr ? "" : lines);
    std::vector<std::string> words;
    for (std::string line; std::getline(stream, line);) words.push_back(line);
    std::vector<const char*> arguments;
    for (const std::string& word : words) arguments.push_back(word.c_str());
    const int result = session(static_cast<int>(arguments.size()), arguments.data());
    std::fflush(stdout);
    return result;
}
