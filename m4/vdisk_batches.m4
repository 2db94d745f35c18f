dnl SPDX-License-Identifier: Apache-2.0
dnl VDISK_BATCHES: --enable-batches compiles many sources as one. The code is the same, made in a third of the time.
AC_DEFUN([VDISK_BATCHES], [
  AC_ARG_ENABLE([batches], [AS_HELP_STRING([--enable-batches], [compile many sources as one])])
  dnl A test's fixture in an unnamed namespace is in a file that is included then; and g++ takes members of a std::optional for
  dnl uninitialized where it has more code to inline.
  AS_VAR_IF([enable_batches], [yes],
    [AX_CHECK_COMPILE_FLAG([-Wsubobject-linkage],
      [AS_VAR_SET([BATCH_CXXFLAGS], ["-Wno-subobject-linkage -Wno-maybe-uninitialized"])], [], [-Werror])])
  AC_SUBST([BATCH_CXXFLAGS])
  AM_CONDITIONAL([BATCHES], [test "x$enable_batches" = xyes])
])
