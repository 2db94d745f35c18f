// SPDX-License-Identifier: Apache-2.0
// What a qcow2 may name as its backing file and as its data file, from the image to the disk.
#include "model.hpp"
#include "open/open.hpp"
#include "open/report.hpp"
#include "qcow2_builder.hpp"
#include "temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

using namespace vdisk;
using namespace vdisk::test;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(gate)

namespace {

enum class Named { backing_file, data_file };
constexpr std::array kBoth{Named::backing_file, Named::data_file};

// An image in the folder that names `name`, opened under `policy`.
Result<OpenedDisk> open_naming(const fs::path& folder, Named named, const std::string& name, ReferencePolicy policy) {
    const bool data = named == Named::data_file;
    Qcow2Builder image({.size = 65536, .incompatible = data ? kQcow2DataFile : 0});
    if (data) {
        image.extension(0x44415441, name);
        image.set(0, kQcow2Copied);
    } else {
        image.backing(name);
    }
    const fs::path path = folder / "image.qcow2";
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(image.bytes().data()), static_cast<std::streamsize>(image.bytes().size()));
    return open_disk(path.string(), {.references = policy});
}

void check_refused(const fs::path& folder, const std::string& name, ErrorKind kind) {
    for (const Named named : kBoth)
        for (const ReferencePolicy policy : {ReferencePolicy::any, ReferencePolicy::same_dir}) {
            const auto opened = open_naming(folder, named, name, policy);
            BOOST_TEST_CONTEXT(name) {
                BOOST_REQUIRE(opened.has_error());
                BOOST_TEST((opened.error().kind == kind ||
                            (policy == ReferencePolicy::same_dir && opened.error().kind == ErrorKind::usage)),
                           opened.error().what);
            }
        }
}

// image in a/b, secret in a's parent.
struct Evidence {
    TemporaryFolder root;
    fs::path folder = root.path() / "a" / "b";
    fs::path secret = root.write("secret", Bytes(65536, std::byte{0x53}));
    Evidence() { fs::create_directories(folder); }
};

void check_opened(const OpenedDisk& disk, const fs::path& file) {
    Bytes out(512);
    BOOST_REQUIRE(disk.image->read_at(0, out).has_value());
    BOOST_TEST((out == Bytes(512, std::byte{0x53})));
    BOOST_TEST(to_text(describe(disk)).find(file.filename().string()) != std::string::npos);
}

} // namespace

BOOST_AUTO_TEST_CASE(protocols_are_refused) {
    const Evidence evidence;
    for (const char* name :
         {"nbd://host/", "nbd:localhost:10809", "json:{\"driver\":\"nbd\",\"filename\":\"/etc/shadow\"}",
          "http://host/disk", "fat:rw:/tmp", "ssh://host/x", "blkdebug::/etc/shadow"})
        check_refused(evidence.folder, name, ErrorKind::unsupported);
}

BOOST_AUTO_TEST_CASE(devices_fifos_sockets_and_folders_are_refused) {
    const Evidence evidence;
    BOOST_REQUIRE(::mkfifo((evidence.folder / "fifo").c_str(), 0600) == 0);
    const int listening = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, (evidence.folder / "socket").c_str(), sizeof address.sun_path - 1);
    BOOST_REQUIRE(::bind(listening, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    fs::create_directory(evidence.folder / "folder");
    for (const char* name : {"/dev/sda", "/dev/null", "/dev/zero", "/dev/tty", "/dev/stdin", "/proc/self/fd/0", "fifo",
                             "socket", "folder", "."})
        check_refused(evidence.folder, name, ErrorKind::io);
    ::close(listening);
}

BOOST_AUTO_TEST_CASE(a_link_to_what_is_refused_is_refused) {
    const Evidence evidence;
    BOOST_REQUIRE(::mkfifo((evidence.folder / "fifo").c_str(), 0600) == 0);
    fs::create_symlink("/dev/null", evidence.folder / "to-device");
    fs::create_symlink("fifo", evidence.folder / "to-fifo");
    fs::create_symlink("to-device", evidence.folder / "to-link");
    fs::create_symlink("nowhere", evidence.folder / "to-nothing");
    fs::create_symlink("to-itself", evidence.folder / "to-itself");
    for (const char* name : {"to-device", "to-fifo", "to-link", "to-nothing", "to-itself"})
        check_refused(evidence.folder, name, ErrorKind::io);
}

BOOST_AUTO_TEST_CASE(a_regular_file_elsewhere_is_the_policys_matter) {
    const Evidence evidence;
    fs::create_symlink(evidence.secret, evidence.folder / "link");
    for (const std::string& name : {evidence.secret.string(), std::string("../../secret"), std::string("link")}) {
        BOOST_TEST_CONTEXT(name) {
            for (const Named named : kBoth) {
                check_opened(required(open_naming(evidence.folder, named, name, ReferencePolicy::any)), name);
                for (const ReferencePolicy policy : {ReferencePolicy::same_dir, ReferencePolicy::deny})
                    BOOST_TEST((open_naming(evidence.folder, named, name, policy).error().kind == ErrorKind::usage));
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(a_file_beside_the_image_is_refused_by_deny_alone) {
    const Evidence evidence;
    fs::copy_file(evidence.secret, evidence.folder / "beside");
    for (const Named named : kBoth) {
        for (const ReferencePolicy policy : {ReferencePolicy::any, ReferencePolicy::same_dir})
            check_opened(required(open_naming(evidence.folder, named, "beside", policy)), "beside");
        BOOST_TEST(
            (open_naming(evidence.folder, named, "beside", ReferencePolicy::deny).error().kind == ErrorKind::usage));
    }
}

BOOST_AUTO_TEST_CASE(the_systems_own_files_are_files_like_others) {
    const Evidence evidence;
    for (const Named named : kBoth) {
        const auto opened = open_naming(evidence.folder, named, "/etc/shadow", ReferencePolicy::any);
        const bool readable = ::access("/etc/shadow", R_OK) == 0;
        BOOST_TEST(opened.has_value() == readable);
        if (readable) BOOST_TEST(to_text(describe(opened.value())).find("/etc/shadow") != std::string::npos);
        else BOOST_TEST((opened.error().kind == ErrorKind::io));
        for (const ReferencePolicy policy : {ReferencePolicy::same_dir, ReferencePolicy::deny})
            BOOST_TEST((open_naming(evidence.folder, named, "/etc/shadow", policy).error().kind == ErrorKind::usage));
    }
}

BOOST_AUTO_TEST_SUITE_END()
