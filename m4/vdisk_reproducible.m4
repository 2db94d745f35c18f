dnl SPDX-License-Identifier: Apache-2.0
dnl VDISK_REPRODUCIBLE: where it was built is not in what is built. With gdb: `directory` and the source folder.
AC_DEFUN([VDISK_REPRODUCIBLE], [
  source_folder=`cd "$srcdir" && pwd`
  build_folder=`pwd`
  AX_APPEND_COMPILE_FLAGS([-ffile-prefix-map=$source_folder=. -ffile-prefix-map=$build_folder=.], [PREFIX_CXXFLAGS])
  AC_SUBST([PREFIX_CXXFLAGS])
])
