dnl SPDX-License-Identifier: Apache-2.0
dnl VDISK_FUZZING: --enable-fuzzing builds libFuzzer targets (clang++ only) with coverage instrumentation; where LIB_FUZZING_ENGINE
dnl is set the compiler's flags have what that engine needs, and the targets are linked to it. libFuzzer is told of each comparison,
dnl also of those by which a sanitizer finds whether an address is aligned and inside its object: four of ten, which tell nothing.
AC_DEFUN([VDISK_FUZZING], [
  AC_ARG_ENABLE([fuzzing], [AS_HELP_STRING([--enable-fuzzing], [build libFuzzer targets (needs clang++)])])
  AC_ARG_VAR([LIB_FUZZING_ENGINE], [what fuzz targets are linked to, in place of libFuzzer])
  AS_VAR_IF([enable_fuzzing], [yes], [AS_IF([test "x$LIB_FUZZING_ENGINE" = x], [
    LIB_FUZZING_ENGINE=-fsanitize=fuzzer
    AX_CHECK_COMPILE_FLAG([-fsanitize=fuzzer-no-link],
      [AS_VAR_APPEND([SAN_CXXFLAGS], [" -fsanitize=fuzzer-no-link -fno-sanitize=alignment,pointer-overflow"])],
      [AC_MSG_ERROR([--enable-fuzzing needs a compiler with libFuzzer: try CXX=clang++])])
    AX_CHECK_COMPILE_FLAG([-fsanitize-coverage-ignorelist=$srcdir/tests/fuzz/not_counted.txt],
      [AS_VAR_APPEND([SAN_CXXFLAGS], [' -fsanitize-coverage-ignorelist=$(top_srcdir)/tests/fuzz/not_counted.txt'])],
      [], [-fsanitize=fuzzer-no-link])])
  ], [AS_UNSET([enable_fuzzing])])
  AM_CONDITIONAL([FUZZING], [test "x$enable_fuzzing" = xyes])
])
