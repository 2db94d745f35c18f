dnl SPDX-License-Identifier: Apache-2.0
dnl VDISK_SUMMARY: what this build will have, at the end of configure.
AC_DEFUN([VDISK_SUMMARY], [
  AC_MSG_NOTICE([
  $PACKAGE_STRING
    prefix ................ $prefix
    compiler .............. $CXX
    TSK plugin ............ $have_tsk
    nbdkit plugin ......... $have_nbdkit
    Python package ........ $PYTHON_PACKAGES
    vdisk mount ........... $have_fuse
    .lzo archives ......... $have_lzo
    unit tests ............ $have_boost_test
    hardening ............. $enable_hardening
    sanitizers ............ ${enable_address_sanitizer:+address }${enable_undefined_sanitizer:+undefined }${enable_thread_sanitizer:+thread }
    fuzz targets .......... ${enable_fuzzing:-no}
  ])
])
