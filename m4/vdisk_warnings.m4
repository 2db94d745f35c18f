dnl SPDX-License-Identifier: Apache-2.0
dnl VDISK_WARNINGS: the warnings that this project is clean under, with g++ and clang++.
dnl --enable-werror makes them errors (the tests' build does).
AC_DEFUN([VDISK_WARNINGS], [
  AC_ARG_ENABLE([werror], [AS_HELP_STRING([--enable-werror], [treat warnings as errors])])
  AX_APPEND_COMPILE_FLAGS([-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion dnl
    -Wnon-virtual-dtor -Woverloaded-virtual -Wswitch-enum -Wimplicit-fallthrough -Wformat=2 dnl
    -Wno-missing-field-initializers], [WARN_CXXFLAGS], [-Werror])
  AS_VAR_IF([enable_werror], [yes], [AS_VAR_APPEND([WARN_CXXFLAGS], [" -Werror"])])
  AC_SUBST([WARN_CXXFLAGS])
])
