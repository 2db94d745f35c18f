// SPDX-License-Identifier: Apache-2.0
#include "vdisk/reference_page.hpp"

#include "base/system/path.hpp"
#include "base/text.hpp"
#include "common/inputs.hpp"
#include "common/output.hpp"
#include "vdisk/page.hpp"

#include <filesystem>
#include <fstream>

namespace fs = std::filesystem;

namespace vdisk::tools {
namespace {

constexpr std::string_view kMaker = "vdisk ref --all";

fs::path page_in(const std::string& folder) {
    return fs::path(folder) / "index.html";
}

std::string table(const std::vector<ListedReference>& references) {
    HtmlTable table{.caption = "What each leads to", .heads = {"Reference file", "Disk", "Format", "Image"}};
    for (const ListedReference& each : references)
        table.rows.push_back({escaped(each.name), escaped(each.disk), escaped(each.format), escaped(each.image)});
    return table.html();
}

std::string list(const std::vector<std::string>& failures) {
    if (failures.empty()) return "";
    std::string items;
    for (const std::string& each : failures) items += fmt::format("<li>{}</li>\n", escaped(each));
    return "<h2>Without a reference file</h2>\n<ul>\n" + items + "</ul>\n";
}

} // namespace

std::string reference_page(const std::vector<ListedReference>& references, const std::vector<std::string>& failures) {
    return whole_page(
        kMaker, "Reference files", "",
        "<main>\n<h1>Reference files</h1>\n<p>Each leads to one disk or snapshot: choose it in Autopsy, or "
        "give it to The Sleuth Kit&#39;s programs.</p>\n" +
            table(references) + list(failures) + "</main>\n");
}

Result<void> check_page(const std::string& folder, bool overwrite) {
    const fs::path path = page_in(folder);
    std::error_code error;
    if (!fs::exists(fs::symlink_status(path, error))) return ok();
    if (!overwrite) return fail(ErrorKind::usage, "{}: is there already; --force replaces it", printable(utf8(path)));
    const std::string expected = page_start(kMaker);
    std::string start(expected.size(), '\0');
    std::ifstream(path, std::ios::binary).read(start.data(), static_cast<std::streamsize>(start.size()));
    if (start == expected) return ok();
    return fail(ErrorKind::usage, "{}: is there and is no list of reference files, so it is not overwritten",
                printable(utf8(path)));
}

Result<void> write_page(const std::string& folder, const std::string& page, bool overwrite) {
    VDISK_CHECK(check_page(folder, overwrite));
    VDISK_CHECK(check_no_input(page_in(folder))); // before a folder is made
    std::error_code error;
    fs::create_directories(fs::path(folder.empty() ? "." : folder), error); // an error of it is that of opening
    VDISK_TRY(output, Output::open({.path = utf8(page_in(folder)), .overwrite = overwrite, .size = page.size()}));
    VDISK_CHECK(output->write(std::as_bytes(std::span(page))));
    return output->finish(page.size());
}

} // namespace vdisk::tools
