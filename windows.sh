#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ./windows.sh: builds, on Debian 12, what a person unzips on 64-bit Windows: build-windows/tsk-vdisk-VERSION-windows.zip with
# vdisk.exe, hvconfig.exe, vdisk.dll with its header, libvhdi.dll, and README.txt. Each is one file that needs Windows alone.
# It installs the cross compiler (as root; else it says what is missing). The libraries that Debian does not have for Windows are
# built from Debian's source packages, whose checksums apt compares; nothing of apt's own settings is changed. Sources and libraries
# stay in build-windows, so a second run compiles only what has changed.
# ./windows.sh libraries: stops when the libraries are there.
set -eu
cd "$(dirname "$0")"
top=$PWD
host=x86_64-w64-mingw32
jobs=$(nproc)
out=$top/build-windows
libs=$out/libraries
umask 022
mkdir -p "$out/sources" "$libs/include" "$libs/lib"

packages="g++-mingw-w64-x86-64-posix libz-mingw-w64-dev dpkg-dev zip perl cmake libboost-dev libfmt-dev libxxhash-dev nlohmann-json3-dev autoconf automake autoconf-archive libtool make pkg-config"
missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}\n' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    [ "$(id -u)" -eq 0 ] || { echo "windows.sh needs these packages:$missing" >&2; exit 2; }
    # shellcheck disable=SC2086 # a list
    apt-get install -y --no-install-recommends $missing
fi

# --- The libraries.

# apt with folders of its own, which knows the source packages of the release that this is.
private_apt() {
    mkdir -p "$out/apt/lists/partial" "$out/apt/cache/archives/partial" "$out/apt/parts"
    # shellcheck source=/dev/null
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # From where this machine has its packages.
    archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $release" 'Component: main' | head -n 1)
    [ -n "$archive" ] || { echo "windows.sh: apt knows no packages of $release: run apt-get update" >&2; exit 2; }
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $release main" > "$out/apt/sources.list"
    apt-get -q -o Dir::Etc::SourceList="$out/apt/sources.list" -o Dir::Etc::SourceParts="$out/apt/parts" -o Dir::State::Lists="$out/apt/lists" \
        -o Dir::Cache="$out/apt/cache" -o APT::Sandbox::User="$(id -un)" "$@"
}

# source_of PACKAGE: unpacks it, with Debian's patches, and goes there.
source_of() {
    cd "$out/sources"
    set -- "$1" "$out/sources/$1-"*/
    if [ ! -d "$2" ]; then
        [ -e "$out/apt/updated" ] || { private_apt update && touch "$out/apt/updated"; }
        private_apt source "$1"
        set -- "$1" "$out/sources/$1-"*/
    fi
    cd "$2"
}

# library NAME COMMAND: runs the command, which installs into $libs, unless it was done before.
library() {
    [ ! -e "$libs/$1.done" ] || return 0
    echo "== $1"
    begun=$(date +%s)
    (set -e; "$2") > "$out/$1.log" 2>&1 || { tail -40 "$out/$1.log"; echo "$1 could not be built; the whole is in build-windows/$1.log" >&2; exit 1; }
    touch "$libs/$1.done"
    echo "   $(($(date +%s) - begun)) s"
}

zstd() {
    source_of libzstd
    make -C lib -j"$jobs" libzstd.a CC=$host-gcc AR=$host-ar CFLAGS="-O2" ZSTD_LIB_DEPRECATED=0 \
        ZSTD_LEGACY_SUPPORT=0 UNAME=MINGW64 TARGET_SYSTEM=Windows_NT BUILD_DIR=obj-windows
    cp lib/libzstd.a "$libs/lib/"
    cp lib/zstd.h lib/zstd_errors.h lib/zdict.h "$libs/include/"
}

deflate() {
    source_of libdeflate
    $host-gcc -O2 -I. -c lib/utils.c lib/deflate_decompress.c lib/zlib_decompress.c lib/gzip_decompress.c lib/adler32.c lib/crc32.c \
        lib/x86/cpu_features.c lib/deflate_compress.c lib/zlib_compress.c lib/gzip_compress.c
    rm -f libdeflate.a
    $host-ar rcs libdeflate.a ./*.o
    cp libdeflate.a "$libs/lib/"
    cp libdeflate.h "$libs/include/"
}

lzo() {
    source_of lzo2
    mkdir -p windows
    cd windows
    ../configure --host=$host --quiet --disable-shared --enable-static
    make -j"$jobs" src/liblzo2.la
    cp src/.libs/liblzo2.a "$libs/lib/"
    mkdir -p "$libs/include/lzo"
    cp ../include/lzo/*.h "$libs/include/lzo/"
}

# libcrypto and nothing else: ciphers, digests and key derivation are its core; protocols, certificates' extras, engines and old
# ciphers are left out.
crypto() {
    source_of openssl
    rm -rf windows
    mkdir windows
    cd windows
    perl ../Configure mingw64 --cross-compile-prefix=$host- --prefix=/nowhere no-shared no-tests no-dso no-engine no-module no-legacy no-async \
        no-ssl no-tls no-dtls no-sock no-comp no-cms no-ct no-ocsp no-ts no-srp no-psk no-gost no-idea no-seed no-camellia no-aria \
        no-sm2 no-sm3 no-sm4 no-rc2 no-rc4 no-cast no-bf no-des no-md4 no-mdc2 no-whirlpool no-siphash no-poly1305 no-chacha \
        no-dsa no-dh no-ec no-autoload-config no-ui-console no-filenames no-cmp no-rfc3779 no-nextprotoneg
    make -j"$jobs" build_generated
    make -j"$jobs" libcrypto.a
    cp libcrypto.a "$libs/lib/"
    mkdir -p "$libs/include/openssl"
    cp ../include/openssl/*.h include/openssl/*.h "$libs/include/openssl/"
}

# Those that are headers alone: Debian's.
headers() {
    for name in boost fmt nlohmann xxhash.h; do ln -sfn "/usr/include/$name" "$libs/include/$name"; done
}

pugixml() {
    source_of pugixml
    cp src/pugixml.hpp src/pugixml.cpp src/pugiconfig.hpp "$libs/include/"
}

library headers headers
library pugixml pugixml
library zstd zstd
library deflate deflate
library lzo lzo
library crypto crypto
[ "${1:-}" != libraries ] || exit 0

# --- The product.

# configured FOLDER: windows.h of Windows 10; what libraries there are in headers is compiled from there.
[ -x configure ] || ./autogen.sh
build=$out/build
mkdir -p "$build"
compiler=$host-g++
! command -v ccache >/dev/null || compiler="ccache $compiler"
if [ ! -e "$build/Makefile" ] || [ configure -nt "$build/Makefile" ]; then
    (cd "$build" && ../../configure --quiet --host=$host --disable-shared --enable-static --enable-batches --disable-hardening \
        --disable-tsk-plugin --disable-nbdkit-plugin --disable-mount CC=$host-gcc CXX="$compiler" CXXFLAGS="-O2 -Wa,-mbig-obj" \
        CPPFLAGS="-isystem $libs/include -D_WIN32_WINNT=0x0A00 -DFMT_HEADER_ONLY -DPUGIXML_HEADER_ONLY -DXXH_INLINE_ALL -D__USE_MINGW_ANSI_STDIO=1" \
        LDFLAGS="-L$libs/lib" DEFLATE_CFLAGS=" " DEFLATE_LIBS=-ldeflate ZLIB_CFLAGS=" " ZLIB_LIBS=-lz ZSTD_CFLAGS=" " ZSTD_LIBS=-lzstd \
        XXHASH_CFLAGS=" " XXHASH_LIBS=" " CRYPTO_CFLAGS=" " CRYPTO_LIBS="-lcrypto -lws2_32 -lcrypt32" FMT_CFLAGS=" " FMT_LIBS=" " JSON_CFLAGS=" " \
        PUGIXML_CFLAGS=" " PUGIXML_LIBS=" ")
fi
make -C "$build" -j"$jobs" vdisk.exe hvconfig.exe AM_LDFLAGS="-all-static -s"

# What is one DLL of its own: all of the library with the names of vdisk.h, and with those of libvhdi.
objects=$build/dll
mkdir -p "$objects"
link_dll() { # NAME DEFINITIONS OBJECT...: the names that it exports are those in DEFINITIONS
    name=$1 definitions=$2
    shift 2
    $host-g++ -shared -static -s -o "$build/$name.dll" "$definitions" "$@" -Wl,--whole-archive "$build/lib/.libs/libvdisk_all.a" \
        -Wl,--no-whole-archive -L"$libs/lib" -ldeflate -lz -lzstd -lcrypto -llzo2 -lws2_32 -lcrypt32 -Wl,--exclude-all-symbols
}
names_in() { # PATTERN FILE...: a .def file of the functions that the headers declare
    pattern=$1
    shift
    echo EXPORTS
    grep -ohE "\\b$pattern[a-z0-9_]*\\(" "$@" | tr -d '(' | sort -u
}
names_in vdisk_ lib/capi/vdisk.h > "$objects/vdisk.def"
link_dll vdisk "$objects/vdisk.def" -Wl,--out-implib,"$build/libvdisk.dll.a"
for source in door error libraries_windows wide; do
    $host-gcc -std=gnu11 -O2 -Wall -Wextra -D_WIN32_WINNT=0x0A00 -D__USE_MINGW_ANSI_STDIO=1 -I. -Ilib/capi -c -o "$objects/$source.o" "vhdi_door/$source.c"
done
names_in libvhdi_ vhdi_door/exports.h vhdi_door/wide.h > "$objects/libvhdi.def"
link_dll libvhdi "$objects/libvhdi.def" "$objects/door.o" "$objects/error.o" "$objects/libraries_windows.o" "$objects/wide.o"

# --- What a person unzips.

version=$(sed -n 's/^#define PACKAGE_VERSION "\(.*\)"/\1/p' "$build/config.h")
zip=tsk-vdisk-$version-windows.zip
folder=$out/tsk-vdisk
rm -rf "$folder" "${out:?}/$zip"
mkdir "$folder"
cp "$build/vdisk.exe" "$build/hvconfig.exe" "$build/vdisk.dll" "$build/libvhdi.dll" "$build/libvdisk.dll.a" lib/capi/vdisk.h "$folder/"
sed 's/$/\r/' windows/README.txt > "$folder/README.txt"
{
    cat LICENSE
    for name in libzstd libdeflate lzo2 pugixml openssl; do
        printf '\n\n==== %s ====\n\n' "$name"
        cat "$out/sources/$name"-*/debian/copyright
    done
    for name in libz-mingw-w64-dev mingw-w64-common gcc-mingw-w64-base libfmt-dev libboost-dev libxxhash-dev nlohmann-json3-dev; do
        [ ! -e "/usr/share/doc/$name/copyright" ] || { printf '\n\n==== %s ====\n\n' "$name" && cat "/usr/share/doc/$name/copyright"; }
    done
} | sed 's/$/\r/' > "$folder/COPYING.txt"
(cd "$out" && zip -q -r -X "$zip" tsk-vdisk)
echo "build-windows/$zip"
