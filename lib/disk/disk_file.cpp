// SPDX-License-Identifier: Apache-2.0
#include "disk/disk_file.hpp"

#include "disk/format.hpp"

namespace vdisk {

Result<DirtyBitmap> DiskFile::bitmap(std::string_view /*name*/) const {
    return fail(ErrorKind::usage, "{} images hold no bitmaps", format().name);
}

Result<AuditReport> DiskFile::audit(const AuditRequest& /*request*/) const {
    return fail(ErrorKind::unsupported, "format '{}' has nothing to audit", format().name);
}

Result<SavedState> DiskFile::saved_state(std::size_t /*index*/) const {
    return fail(ErrorKind::usage, "{} images hold no machine state", format().name);
}

Result<std::vector<Configuration>> DiskFile::configurations() const {
    return fail(ErrorKind::unsupported, "format '{}' holds no configurations", format().name);
}

Result<AuditReport> DiskFile::verify(const Progress& /*progress*/) const {
    return fail(ErrorKind::unsupported, "format '{}' has no checksums to verify", format().name);
}

} // namespace vdisk
