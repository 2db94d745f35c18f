dnl SPDX-License-Identifier: Apache-2.0
dnl VDISK_HARDENING: the distribution's hardening=+all, on unless --disable-hardening.
dnl _FORTIFY_SOURCE needs optimisation and quarrels with the sanitizers; they switch it off.
AC_DEFUN([VDISK_HARDENING], [
  AC_ARG_ENABLE([hardening], [AS_HELP_STRING([--disable-hardening],
    [build without stack protector, fortified libc calls, immediate binding])], [], [enable_hardening=yes])
  AS_VAR_IF([enable_hardening], [yes], [
    AX_APPEND_COMPILE_FLAGS([-fstack-protector-strong -fstack-clash-protection -fcf-protection], [HARDEN_CXXFLAGS])
    AX_APPEND_LINK_FLAGS([-Wl,-z,relro -Wl,-z,now], [HARDEN_LDFLAGS])
    HARDEN_CPPFLAGS="-D_GLIBCXX_ASSERTIONS"
    AS_IF([test "x$enable_address_sanitizer$enable_undefined_sanitizer$enable_thread_sanitizer$enable_fuzzing" = x], [
      AS_CASE([" $CXXFLAGS $CPPFLAGS "], [*" -O0 "*|*_FORTIFY_SOURCE*], [],
        [*" -O"*], [AS_VAR_APPEND([HARDEN_CPPFLAGS], [" -D_FORTIFY_SOURCE=2"])])
    ])
  ])
  AC_SUBST([HARDEN_CPPFLAGS])
  AC_SUBST([HARDEN_CXXFLAGS])
  AC_SUBST([HARDEN_LDFLAGS])
])
