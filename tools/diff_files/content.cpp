// SPDX-License-Identifier: Apache-2.0
#include "diff_files/content.hpp"

#include "common/pieces.hpp"

#include <algorithm>
#include <memory>

namespace vdisk::diff_files {
namespace {

// A file opened by its number, and the attribute with its content.
class OpenFile {
public:
    explicit OpenFile(PlacedFile placed)
        : system_(*placed.system),
          file_(::tsk_fs_file_open_meta(&system_.info(), nullptr, placed.record->inode), &::tsk_fs_file_close) {
        const FileRecord& record = *placed.record;
        if (file_)
            content_ = record.is_stream()
                           ? ::tsk_fs_file_attr_get_type(file_.get(), record.attribute, record.attribute_id, 1)
                           : ::tsk_fs_file_attr_get(file_.get());
        ::tsk_error_reset();
    }

    [[nodiscard]] const FileSystem& system() const { return system_; }
    [[nodiscard]] const TSK_FS_ATTR* content() const { return content_; }

    // All of `out`; false if a byte of it can't be read.
    [[nodiscard]] bool read(std::uint64_t offset, std::vector<char>& out) const {
        const std::uint64_t failed = system_.disk().failures();
        const ssize_t got = ::tsk_fs_attr_read(content_, static_cast<TSK_OFF_T>(offset), out.data(), out.size(),
                                               TSK_FS_FILE_READ_FLAG_NONE);
        ::tsk_error_reset();
        return got == static_cast<ssize_t>(out.size()) && system_.disk().failures() == failed;
    }

private:
    FileSystem& system_;
    std::unique_ptr<TSK_FS_FILE, decltype(&::tsk_fs_file_close)> file_;
    const TSK_FS_ATTR* content_ = nullptr;
};

// Whether its bytes are those of its runs.
bool is_in_runs(const TSK_FS_ATTR& content) {
    constexpr unsigned kOther = TSK_FS_ATTR_RES | TSK_FS_ATTR_ENC | TSK_FS_ATTR_COMP;
    return (static_cast<unsigned>(content.flags) & TSK_FS_ATTR_NONRES) != 0 &&
           (static_cast<unsigned>(content.flags) & kOther) == 0;
}

bool same_run(const TSK_FS_ATTR_RUN& a, const TSK_FS_ATTR_RUN& b) {
    return a.offset == b.offset && a.addr == b.addr && a.len == b.len && a.flags == b.flags;
}

// In the same blocks of one place on the disk, none of which changed. Tells nothing of a file with a block that libtsk
// could not find (a filler).
bool lie_unchanged(const OpenFile& a, const OpenFile& b, const ChangedRanges& changed) {
    const TSK_FS_INFO& system = b.system().info();
    if (a.system().offset() != b.system().offset() || a.system().info().block_size != system.block_size) return false;
    if (!is_in_runs(*a.content()) || !is_in_runs(*b.content())) return false;
    const auto& in_a = a.content()->nrd;
    const auto& in_b = b.content()->nrd;
    if (in_a.initsize != in_b.initsize || in_a.skiplen != in_b.skiplen) return false;
    const TSK_FS_ATTR_RUN* run_a = in_a.run;
    const TSK_FS_ATTR_RUN* run_b = in_b.run;
    for (; run_a != nullptr && run_b != nullptr; run_a = run_a->next, run_b = run_b->next) {
        if (!same_run(*run_a, *run_b) || (run_b->flags & TSK_FS_ATTR_RUN_FLAG_FILLER) != 0) return false;
        if ((run_b->flags & TSK_FS_ATTR_RUN_FLAG_SPARSE) != 0) continue;
        if (run_b->addr > system.last_block || run_b->len > system.last_block + 1 - run_b->addr) return false;
        const std::uint64_t start = b.system().offset() + run_b->addr * system.block_size;
        if (changed.meet(start, start + run_b->len * system.block_size)) return false;
    }
    return run_a == nullptr && run_b == nullptr;
}

} // namespace

Content compare_content(PlacedFile a, PlacedFile b, const ChangedRanges& changed) {
    const auto size = static_cast<std::uint64_t>(std::max<std::int64_t>(b.record->size, 0));
    if (size == 0) return Content::same;
    const OpenFile in_a(a), in_b(b);
    if (in_a.content() == nullptr || in_b.content() == nullptr) return Content::unreadable;
    if (lie_unchanged(in_a, in_b, changed)) return Content::same;
    bool unreadable = false;
    std::vector<char> bytes_a, bytes_b;
    for (std::uint64_t at = 0; at < size; at += tools::kPiece) {
        bytes_a.resize(static_cast<std::size_t>(std::min<std::uint64_t>(tools::kPiece, size - at)));
        bytes_b.resize(bytes_a.size());
        if (!in_a.read(at, bytes_a) || !in_b.read(at, bytes_b)) unreadable = true;
        else if (bytes_a != bytes_b) return Content::different;
    }
    return unreadable ? Content::unreadable : Content::same;
}

} // namespace vdisk::diff_files
