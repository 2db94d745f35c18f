dnl SPDX-License-Identifier: Apache-2.0
dnl VDISK_FUSE: `vdisk mount`, by libfuse; 3.2 is the first whose threads are told how many they may be.
AC_DEFUN([VDISK_FUSE], [
  AC_ARG_ENABLE([mount], [AS_HELP_STRING([--enable-mount], [build vdisk mount, by libfuse @<:@default=auto@:>@])],
    [], [enable_mount=auto])
  have_fuse=no
  AS_IF([test "x$enable_mount" != xno], [
    PKG_CHECK_MODULES([FUSE], [fuse3 >= 3.2], [have_fuse=yes], [have_fuse=no])
    AS_IF([test "x$enable_mount" = xyes && test "x$have_fuse" = xno],
      [AC_MSG_ERROR([--enable-mount: libfuse is missing (Debian: libfuse3-dev)])])
  ])
  AS_VAR_IF([have_fuse], [yes], [AC_DEFINE([HAVE_FUSE], [1], [Define to 1 if vdisk mount is built.])])
  AM_CONDITIONAL([HAVE_FUSE], [test "x$have_fuse" = xyes])
])
