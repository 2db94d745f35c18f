dnl SPDX-License-Identifier: Apache-2.0
dnl VDISK_NBDKIT: the plugin for nbdkit; 1.24 is the first that asks a plugin for a description of each export.
dnl nbdkit finds plugins by their names in one folder alone, which lies below our prefix only in a distribution's package:
dnl `make install` leaves the prefix only if it is told to, by --with-nbdkit-plugindir.
AC_DEFUN([VDISK_NBDKIT], [
  AC_ARG_ENABLE([nbdkit-plugin], [AS_HELP_STRING([--enable-nbdkit-plugin], [build the plugin for nbdkit @<:@default=auto@:>@])],
    [], [enable_nbdkit_plugin=auto])
  AC_ARG_WITH([nbdkit-plugindir], [AS_HELP_STRING([--with-nbdkit-plugindir@<:@=DIR@:>@],
    [where the plugin for nbdkit is installed @<:@default=LIBDIR/nbdkit/plugins; without DIR: where nbdkit looks@:>@])], [], [with_nbdkit_plugindir=no])
  have_nbdkit=no
  AS_IF([test "x$enable_nbdkit_plugin" != xno], [
    PKG_CHECK_MODULES([NBDKIT], [nbdkit >= 1.24], [have_nbdkit=yes], [have_nbdkit=no])
    AS_IF([test "x$enable_nbdkit_plugin" = xyes && test "x$have_nbdkit" = xno],
      [AC_MSG_ERROR([--enable-nbdkit-plugin: nbdkit-plugin.h is missing (Debian: nbdkit-plugin-dev)])])
  ])
  AS_CASE([$with_nbdkit_plugindir],
    [no], [NBDKIT_PLUGINDIR='${libdir}/nbdkit/plugins'],
    [yes], [AS_VAR_IF([have_nbdkit], [yes], [PKG_CHECK_VAR([NBDKIT_PLUGINDIR], [nbdkit], [plugindir])])],
    [NBDKIT_PLUGINDIR=$with_nbdkit_plugindir])
  AC_SUBST([NBDKIT_PLUGINDIR])
  AM_CONDITIONAL([HAVE_NBDKIT], [test "x$have_nbdkit" = xyes])
])
