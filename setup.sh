#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ./setup.sh: from a fresh checkout to `fls -i qcow2` on Debian 12. Installs the packages that are needed, builds in build-setup,
# installs below PREFIX (default /usr/local; the plugin for nbdkit into the one folder where nbdkit looks for it by name), enables the
# plugin for The Sleuth Kit, and lists the shipped demo image with the distribution's fls.
# Run it as root; it can be run again at any time. `tsk-vdisk disable` takes the plugin out again.
set -eu
cd "$(dirname "$0")"
prefix=${PREFIX:-/usr/local}
jobs=$(nproc)
umask 022
PATH=$PATH:/usr/sbin:/sbin
export PATH

if [ "$(id -u)" -ne 0 ]; then
    echo "setup.sh installs packages and below $prefix: run it as root." >&2
    echo "Without root: ./autogen.sh && ./configure --prefix=\$HOME/x && make install, then \$HOME/x/bin/tsk-vdisk run fls ..." >&2
    exit 2
fi

.ci/install-packages build run
[ -x configure ] || ./autogen.sh
mkdir -p build-setup
(cd build-setup && ../configure --quiet CXXFLAGS=-O2 --prefix="$prefix" --enable-batches --enable-tsk-plugin --enable-nbdkit-plugin --with-nbdkit-plugindir)
make -C build-setup -j"$jobs"
make -C build-setup install-strip
ldconfig
"$prefix/bin/tsk-vdisk" enable

echo
echo "\$ fls -r -p -o 2048 -i qcow2 tests/fixtures/qcow2/demo.qcow2"
fls -r -p -o 2048 -i qcow2 tests/fixtures/qcow2/demo.qcow2
