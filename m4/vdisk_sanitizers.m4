dnl SPDX-License-Identifier: Apache-2.0
dnl VDISK_SANITIZERS: --enable-{address,undefined,thread}-sanitizer.
AC_DEFUN([VDISK_SANITIZER], [
  AC_ARG_ENABLE([$1-sanitizer], [AS_HELP_STRING([--enable-$1-sanitizer], [build with -fsanitize=$1])])
  AS_VAR_IF([enable_$1_sanitizer], [yes], [
    AX_CHECK_COMPILE_FLAG([-fsanitize=$1 -fno-sanitize-recover=all], [
      AS_VAR_APPEND([SAN_CXXFLAGS], [" -fsanitize=$1 -fno-sanitize-recover=all -fno-omit-frame-pointer"])
      AS_VAR_APPEND([SAN_LDFLAGS], [" -fsanitize=$1"])
    ], [AC_MSG_ERROR([$CXX does not know -fsanitize=$1])])
  ], [AS_UNSET([enable_$1_sanitizer])])
])
AC_DEFUN([VDISK_SANITIZERS], [
  VDISK_SANITIZER([address])
  VDISK_SANITIZER([undefined])
  VDISK_SANITIZER([thread])
  AS_IF([test "x$enable_address_sanitizer" = xyes && test "x$enable_thread_sanitizer" = xyes],
    [AC_MSG_ERROR([address and thread sanitizer exclude one another])])
  dnl A sanitizer's runtime is found in the program that loads a sanitized library, not at the library's linking.
  AS_VAR_IF([SAN_LDFLAGS], [], [NO_UNDEFINED_LDFLAGS="-Wl,--no-undefined"], [NO_UNDEFINED_LDFLAGS=""])
  AC_SUBST([NO_UNDEFINED_LDFLAGS])
  AC_SUBST([SAN_CXXFLAGS])
  AC_SUBST([SAN_LDFLAGS])
])
