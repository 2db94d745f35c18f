// SPDX-License-Identifier: Apache-2.0
#include "vdisk/reference_page.hpp"

#include "base/text.hpp"
#include "common/inputs.hpp"
#include "common/output.hpp"

#include <filesystem>
#include <fstream>

namespace fs = std::filesystem;

namespace vdisk::tools {
namespace {

constexpr std::string_view kStart = "<!DOCTYPE html>\n<!-- vdisk ref --all -->\n";

// Names in an image are hostile: nothing of them may be markup. A quotation mark or an apostrophe can end an attribute.
std::string escaped(std::string_view text) {
    std::string safe;
    for (const char c : text) switch (c) {
        case '&': safe += "&amp;"; break;
        case '<': safe += "&lt;"; break;
        case '>': safe += "&gt;"; break;
        case '"': safe += "&quot;"; break;
        case '\'': safe += "&#39;"; break;
        default: safe += c;
        }
    return safe;
}

fs::path page_in(const std::string& folder) {
    return fs::path(folder) / "index.html";
}

std::string table(const std::vector<ListedReference>& references) {
    std::string rows;
    for (const ListedReference& each : references)
        rows += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n", escaped(each.name),
                            escaped(each.disk), escaped(each.format), escaped(each.image));
    return "<table>\n<thead><tr><th scope=\"col\">Reference file</th><th scope=\"col\">Disk</th>"
           "<th scope=\"col\">Format</th><th scope=\"col\">Image</th></tr></thead>\n<tbody>\n" +
           rows + "</tbody>\n</table>\n";
}

std::string list(const std::vector<std::string>& failures) {
    if (failures.empty()) return "";
    std::string items;
    for (const std::string& each : failures) items += fmt::format("<li>{}</li>\n", escaped(each));
    return "<h2>Without a reference file</h2>\n<ul>\n" + items + "</ul>\n";
}

} // namespace

std::string reference_page(const std::vector<ListedReference>& references, const std::vector<std::string>& failures) {
    return fmt::format(
        "{}<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        "<meta name=\"viewport\" content=\"width=device-width\">\n<title>Reference files</title>\n<style>\n"
        ":root {{ color-scheme: light dark; }}\nbody {{ font-family: sans-serif; margin: 2em; }}\n"
        "table {{ border-collapse: collapse; }}\nth, td {{ border: 1px solid gray; padding: 0.3em 0.6em; "
        "text-align: left; vertical-align: top; overflow-wrap: anywhere; }}\n</style>\n</head>\n<body>\n"
        "<h1>Reference files</h1>\n<p>Each leads to one disk or snapshot: choose it in Autopsy, or give it to The "
        "Sleuth Kit&#39;s programs.</p>\n{}{}</body>\n</html>\n",
        kStart, table(references), list(failures));
}

Result<void> check_page(const std::string& folder, bool overwrite) {
    const fs::path path = page_in(folder);
    std::error_code error;
    if (!fs::exists(fs::symlink_status(path, error))) return ok();
    if (!overwrite) return fail(ErrorKind::usage, "{}: is there already; --force replaces it", printable(utf8(path)));
    std::string start(kStart.size(), '\0');
    std::ifstream(path, std::ios::binary).read(start.data(), static_cast<std::streamsize>(start.size()));
    if (start == kStart) return ok();
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
