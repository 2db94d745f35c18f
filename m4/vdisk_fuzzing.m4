dnl SPDX-License-Identifier: Apache-2.0
dnl VDISK_FUZZING: --enable-fuzzing builds libFuzzer targets (clang++ only) with coverage instrumentation.
AC_DEFUN([VDISK_FUZZING], [
  AC_ARG_ENABLE([fuzzing], [AS_HELP_STRING([--enable-fuzzing], [build libFuzzer targets (needs clang++)])])
  AS_VAR_IF([enable_fuzzing], [yes], [
    AX_CHECK_COMPILE_FLAG([-fsanitize=fuzzer-no-link], [AS_VAR_APPEND([SAN_CXXFLAGS], [" -fsanitize=fuzzer-no-link"])],
      [AC_MSG_ERROR([--enable-fuzzing needs a compiler with libFuzzer: try CXX=clang++])])
  ], [AS_UNSET([enable_fuzzing])])
  AM_CONDITIONAL([FUZZING], [test "x$enable_fuzzing" = xyes])
])
