#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ./windows.sh: builds, on Debian 12, what a person unzips on 64-bit Windows: build-windows/tsk-vdisk-VERSION-windows.zip with
# vdisk.exe, hvconfig.exe, vdisk.dll with its header, libvhdi.dll, README.txt, and LICENSES.txt. Each is one file that needs Windows
# alone.
# ./windows.sh --32: the same for 32-bit programs, as those of The Sleuth Kit's own zip are; tsk-vdisk-VERSION-windows-32.zip.
# ./windows.sh --with-lzo: reads .lzo archives, by liblzo2. That is GPL, and so is then what the zip holds.
# It installs the cross compiler (as root; else it says what is missing). The libraries that Debian does not have for Windows are
# built from Debian's source packages, whose checksums apt compares; nothing of apt's own settings is changed. Sources and libraries
# stay in build-windows, so a second run compiles only what has changed.
# For tests: ./windows.sh sources stops when the libraries' sources are there; unit-tests adds unit_tests.exe. VDISK_WINDOWS_FOLDER
# stands for build-windows, CXXFLAGS for -O2. Exits with 2 where something that it needs can't be had.
set -eu
cd "$(dirname "$0")"
top=$PWD
jobs=$(nproc)
out=${VDISK_WINDOWS_FOLDER:-$top/build-windows}
flags=${CXXFLAGS:--O2}
bits=64 host=x86_64-w64-mingw32 compiler_package=g++-mingw-w64-x86-64-posix
sources="libzstd libdeflate pugixml openssl" lzo=--without-lzo lzo_libs="" stop_after="" unit_tests=no
for word; do
    case $word in
    --32) bits=32 host=i686-w64-mingw32 compiler_package=g++-mingw-w64-i686-posix ;;
    --with-lzo) lzo=--with-lzo lzo_libs=-llzo2 sources="$sources lzo2" ;;
    sources) stop_after=sources ;;
    unit-tests) unit_tests=yes ;;
    *) echo "usage: ./windows.sh [--32] [--with-lzo] [sources | unit-tests]" >&2 && exit 2 ;;
    esac
done
made=$out/$bits
libs=$made/libraries
umask 022
mkdir -p "$out/sources" "$libs/include" "$libs/lib"

packages="$compiler_package libz-mingw-w64-dev dpkg-dev zip perl libboost-dev libfmt-dev libxxhash-dev nlohmann-json3-dev autoconf automake autoconf-archive libtool make pkg-config"
missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}\n' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    [ "$(id -u)" -eq 0 ] || { echo "windows.sh needs these packages:$missing" >&2; exit 2; }
    # shellcheck disable=SC2086 # a list
    apt-get install -y --no-install-recommends $missing || exit 2
fi

# Of the two compilers that there may be, the one whose library has threads.
cc=$host-gcc-posix cxx=$host-g++-posix
if command -v ccache >/dev/null; then cc="ccache $cc" cxx="ccache $cxx"; fi

# --- The libraries.

# apt with folders of its own, which knows the source packages of the release that this is.
private_apt() {
    mkdir -p "$out/apt/lists/partial" "$out/apt/cache/archives/partial" "$out/apt/parts"
    # shellcheck source=/dev/null
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # From where this machine has its packages.
    archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $release" 'Component: main' | head -n 1)
    [ -n "$archive" ] || { echo "windows.sh: apt knows no packages of $release: run apt-get update" >&2; return 2; }
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $release main" > "$out/apt/sources.list"
    apt-get -q -o Dir::Etc::SourceList="$out/apt/sources.list" -o Dir::Etc::SourceParts="$out/apt/parts" -o Dir::State::Lists="$out/apt/lists" \
        -o Dir::Cache="$out/apt/cache" -o APT::Sandbox::User="$(id -un)" "$@"
}

# fetch PACKAGE: has its source, with Debian's patches, in a folder below $out/sources.
fetch() {
    set -- "$1" "$out/sources/$1-"*/
    [ ! -d "$2" ] || return 0
    cd "$out/sources"
    { [ -e "$out/apt/updated" ] || private_apt update; } && private_apt source "$1" && touch "$out/apt/updated" && cd "$top"
}

# new_folder_in PACKAGE: goes to an empty folder in the package's source, which it is to be compiled in.
new_folder_in() {
    cd "$out/sources/$1-"*/
    rm -rf "windows-$bits"
    mkdir "windows-$bits"
    cd "windows-$bits"
}

# library NAME COMMAND: runs the command, which installs into $libs, unless it was done before.
library() {
    [ ! -e "$libs/$1.done" ] || return 0
    echo "== $1"
    begun=$(date +%s)
    set +e # with "||" behind it, it would go on after what fails
    (set -e; "$2") > "$made/$1.log" 2>&1
    status=$?
    set -e
    [ $status -eq 0 ] || { tail -40 "$made/$1.log"; echo "$1 could not be built; the whole is in $made/$1.log" >&2; exit 1; }
    touch "$libs/$1.done"
    echo "   $(($(date +%s) - begun)) s"
}

zstd() {
    new_folder_in libzstd
    make -C ../lib -j"$jobs" libzstd.a CC="$cc" AR=$host-ar CFLAGS="$flags" ZSTD_LIB_DEPRECATED=0 \
        ZSTD_LEGACY_SUPPORT=0 UNAME=MINGW64 TARGET_SYSTEM=Windows_NT BUILD_DIR="$PWD"
    mv ../lib/libzstd.a "$libs/lib/"
    cp ../lib/zstd.h ../lib/zstd_errors.h ../lib/zdict.h "$libs/include/"
}

deflate() {
    new_folder_in libdeflate
    for name in utils deflate_decompress zlib_decompress gzip_decompress adler32 crc32 x86/cpu_features deflate_compress zlib_compress \
        gzip_compress; do
        $cc $flags -I.. -c -o "$(basename $name).o" "../lib/$name.c"
    done
    $host-ar rcs "$libs/lib/libdeflate.a" ./*.o
    cp ../libdeflate.h "$libs/include/"
}

lzo() {
    new_folder_in lzo2
    ../configure --host=$host --quiet --disable-shared --enable-static CC="$cc"
    make -j"$jobs" src/liblzo2.la
    cp src/.libs/liblzo2.a "$libs/lib/"
    mkdir -p "$libs/include/lzo"
    cp ../include/lzo/*.h "$libs/include/lzo/"
}

# libcrypto and nothing else: ciphers, digests and key derivation are its core; protocols, certificates' extras, engines and old
# ciphers are left out.
crypto() {
    new_folder_in openssl
    case $bits in 64) target=mingw64 ;; *) target=mingw ;; esac
    sed -i 's/^push(@out, "\.hidden/# &/' ../crypto/x86cpuid.pl # a directive for ELF that this assembler does not know
    perl ../Configure $target --cross-compile-prefix=$host- --prefix=/nowhere no-shared no-tests no-dso no-engine no-module no-legacy no-async \
        no-ssl no-tls no-dtls no-sock no-comp no-cms no-ct no-ocsp no-ts no-srp no-psk no-gost no-idea no-seed no-camellia no-aria \
        no-sm2 no-sm3 no-sm4 no-rc2 no-rc4 no-cast no-bf no-des no-md4 no-mdc2 no-whirlpool no-siphash no-poly1305 no-chacha \
        no-dsa no-dh no-ec no-autoload-config no-ui-console no-filenames no-cmp no-rfc3779 no-nextprotoneg
    make -j"$jobs" build_generated CC="$cc"
    make -j"$jobs" libcrypto.a CC="$cc" CFLAGS="-Wall $flags"
    cp libcrypto.a "$libs/lib/"
    mkdir -p "$libs/include/openssl"
    cp ../include/openssl/*.h include/openssl/*.h "$libs/include/openssl/"
}

# Those that are headers alone: Debian's.
headers() {
    for name in boost fmt nlohmann xxhash.h; do ln -sfn "/usr/include/$name" "$libs/include/$name"; done
}

pugixml() {
    cd "$out/sources/pugixml-"*/
    cp src/pugixml.hpp src/pugixml.cpp src/pugiconfig.hpp "$libs/include/"
}

for package in $sources; do
    fetch "$package" > "$out/fetch.log" 2>&1 || { tail -5 "$out/fetch.log"; echo "windows.sh: the source of $package can't be had" >&2; exit 2; }
done
[ -z "$stop_after" ] || exit 0
library headers headers
library pugixml pugixml
library zstd zstd
library deflate deflate
[ "$lzo" = --without-lzo ] || library lzo lzo
library crypto crypto

# --- The product.

# windows.h of Windows 10; what libraries there are in headers is compiled from there.
[ -x configure ] || ./autogen.sh
build=$made/build
mkdir -p "$build"
cppflags="-isystem $libs/include -D_WIN32_WINNT=0x0A00 -D__USE_MINGW_ANSI_STDIO=1"
asked="$flags $lzo"
if [ ! -e "$build/Makefile" ] || [ configure -nt "$build/Makefile" ] || [ "$(cat "$build/asked")" != "$asked" ]; then
    (cd "$build" && "$top/configure" --quiet --host=$host --disable-shared --enable-static --enable-batches --disable-hardening $lzo \
        --disable-tsk-plugin --disable-nbdkit-plugin --disable-mount CC="$cc" CXX="$cxx" CXXFLAGS="$flags -Wa,-mbig-obj" \
        CPPFLAGS="$cppflags -DFMT_HEADER_ONLY -DPUGIXML_HEADER_ONLY -DXXH_INLINE_ALL" \
        LDFLAGS="-L$libs/lib" DEFLATE_CFLAGS=" " DEFLATE_LIBS=-ldeflate ZLIB_CFLAGS=" " ZLIB_LIBS=-lz ZSTD_CFLAGS=" " ZSTD_LIBS=-lzstd \
        XXHASH_CFLAGS=" " XXHASH_LIBS=" " CRYPTO_CFLAGS=" " CRYPTO_LIBS="-lcrypto -lws2_32 -lcrypt32" FMT_CFLAGS=" " FMT_LIBS=" " JSON_CFLAGS=" " \
        PUGIXML_CFLAGS=" " PUGIXML_LIBS=" ")
    echo "$asked" > "$build/asked"
fi
# A 32-bit program has 4 GiB for itself on a 64-bit Windows if it says that it can do with that, else 2.
link_flags="-all-static -s"
[ "$bits" = 64 ] || link_flags="$link_flags -Wl,--large-address-aware"
make -C "$build" -j"$jobs" vdisk.exe hvconfig.exe AM_LDFLAGS="$link_flags"
# Compiled as they stand: to optimize them takes longer than they run.
[ $unit_tests = no ] || make -C "$build" -j"$jobs" tests/unit_tests.exe AM_LDFLAGS="$link_flags" CXXFLAGS="-O0 -Wa,-mbig-obj"

# What is one DLL of its own: all of the library with the names of vdisk.h, and with those of libvhdi.
objects=$build/dll
mkdir -p "$objects"
link_dll() { # NAME DEFINITIONS OBJECT...: the names that it exports are those in DEFINITIONS
    name=$1 definitions=$2
    shift 2
    $cxx -shared -static -s -o "$build/$name.dll" "$definitions" "$@" -Wl,--whole-archive "$build/lib/.libs/libvdisk_all.a" \
        -Wl,--no-whole-archive -L"$libs/lib" -ldeflate -lz -lzstd -lcrypto $lzo_libs -lws2_32 -lcrypt32 -Wl,--exclude-all-symbols
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
    $cc -std=gnu11 $flags -Wall -Wextra $cppflags -I. -Ilib/capi -c -o "$objects/$source.o" "vhdi_door/$source.c"
done
names_in libvhdi_ vhdi_door/exports.h vhdi_door/wide.h > "$objects/libvhdi.def"
link_dll libvhdi "$objects/libvhdi.def" "$objects/door.o" "$objects/error.o" "$objects/libraries_windows.o" "$objects/wide.o"

# --- What a person unzips.

version=$(sed -n 's/^#define PACKAGE_VERSION "\(.*\)"/\1/p' "$build/config.h")
zip=$out/tsk-vdisk-$version-windows.zip
[ "$bits" = 64 ] || zip=$out/tsk-vdisk-$version-windows-32.zip
folder=$made/tsk-vdisk
rm -rf "$folder" "$zip"
mkdir "$folder"
cp "$build/vdisk.exe" "$build/hvconfig.exe" "$build/vdisk.dll" "$build/libvhdi.dll" "$build/libvdisk.dll.a" lib/capi/vdisk.h "$folder/"
left_out=""
[ "$lzo" = --without-lzo ] || left_out='/^  \.lzo archives: /d;'
sed "$left_out"'s/$/\r/' windows/README.txt > "$folder/README.txt"
{
    cat windows/LICENSES.txt
    if [ "$lzo" = --with-lzo ]; then
        printf '  liblzo2          GPL-2 or later: this build reads .lzo archives by it, so the programs and libraries\n'
        printf '                   of this zip, as a whole, may be handed on under the terms of the GPL only\n'
    fi
    printf '\n==== tsk-vdisk ====\n\n'
    cat LICENSE
    for package in $sources; do
        printf '\n\n==== %s ====\n\n' "$package"
        cat "$out/sources/$package"-*/debian/copyright
    done
    for package in libz-mingw-w64-dev mingw-w64-common gcc-mingw-w64-base libfmt-dev libboost1.74-dev libxxhash-dev nlohmann-json3-dev; do
        printf '\n\n==== %s ====\n\n' "$package"
        cat "/usr/share/doc/$package/copyright"
    done
} | sed 's/$/\r/' > "$folder/LICENSES.txt"
(cd "$made" && zip -q -r -X "$zip" tsk-vdisk)
echo "$zip"
