dnl SPDX-License-Identifier: Apache-2.0

dnl VDISK_LZO: liblzo2 is GPL, so a build that reads .lzo archives has to be asked for, or run by a user for himself:
dnl --with-lzo=yes|no|auto, default auto.
AC_DEFUN([VDISK_LZO], [
  AC_ARG_WITH([lzo], [AS_HELP_STRING([--with-lzo], [read .lzo archives by liblzo2 (GPL) @<:@default=auto@:>@])], [], [with_lzo=auto])
  have_lzo=no
  AS_IF([test "x$with_lzo" != xno], [
    AC_CHECK_HEADER([lzo/lzo1x.h], [AC_CHECK_LIB([lzo2], [lzo1x_decompress_safe], [have_lzo=yes])])
    AS_IF([test "x$with_lzo" = xyes && test "x$have_lzo" = xno], [AC_MSG_ERROR([--with-lzo: liblzo2 is missing (Debian: liblzo2-dev)])])
  ])
  AS_VAR_IF([have_lzo], [yes], [LZO_LIBS=-llzo2; AC_DEFINE([HAVE_LZO], [1], [Define to read .lzo archives by liblzo2])])
  AC_SUBST([LZO_LIBS])
  AM_CONDITIONAL([HAVE_LZO], [test "x$have_lzo" = xyes])
])

dnl VDISK_BOOST_TEST: the unit tests' framework; without it only `make check` is poorer.
AC_DEFUN([VDISK_BOOST_TEST], [
  AC_CHECK_HEADER([boost/test/unit_test.hpp], [have_boost_test=yes], [have_boost_test=no])
  AM_CONDITIONAL([HAVE_BOOST_TEST], [test "x$have_boost_test" = xyes])
])

dnl VDISK_TSK: The Sleuth Kit's headers. The plugin needs nothing but the headers: it is never linked to libtsk.
AC_DEFUN([VDISK_TSK], [
  AC_ARG_ENABLE([tsk-plugin], [AS_HELP_STRING([--disable-tsk-plugin], [do not build the plugin for The Sleuth Kit])], [], [enable_tsk_plugin=auto])
  have_tsk=no
  AS_IF([test "x$enable_tsk_plugin" != xno], [
    AC_CHECK_HEADER([tsk/libtsk.h], [have_tsk=yes])
    AS_IF([test "x$enable_tsk_plugin" = xyes && test "x$have_tsk" = xno],
      [AC_MSG_ERROR([--enable-tsk-plugin: tsk/libtsk.h is missing (Debian: libtsk-dev)])])
  ])
  AM_CONDITIONAL([HAVE_TSK], [test "x$have_tsk" = xyes])
  AS_VAR_IF([have_tsk], [yes], [VDISK_PRIVATE_CRYPTO])
])

dnl VDISK_PRIVATE_CRYPTO: libcrypto as an archive, for code that is loaded into other people's programs. The shared one takes its
dnl own SHA256_Init() and the like from a program that has functions of these names, and fiwalk has, with other structures.
AC_DEFUN([VDISK_PRIVATE_CRYPTO], [
  AC_MSG_CHECKING([for libcrypto as an archive])
  CRYPTO_ARCHIVE=`$CXX -print-file-name=libcrypto.a`
  AS_IF([test -f "$CRYPTO_ARCHIVE"], [AC_MSG_RESULT([$CRYPTO_ARCHIVE])], [
    AC_MSG_RESULT([no])
    AC_MSG_WARN([the plugin will use the shared libcrypto and can crash in programs that export functions like SHA256_Init])
    CRYPTO_ARCHIVE=
  ])
  AC_SUBST([CRYPTO_ARCHIVE])
])

dnl VDISK_QCOW: libqcow, a peer for the benchmarks; nothing else uses it.
AC_DEFUN([VDISK_QCOW], [
  AC_CHECK_HEADER([libqcow.h], [AC_CHECK_LIB([qcow], [libqcow_file_open],
    [QCOW_LIBS=-lqcow; AC_DEFINE([HAVE_LIBQCOW], [1], [Define to measure libqcow beside this library])])])
  AC_SUBST([QCOW_LIBS])
])
