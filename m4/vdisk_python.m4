dnl SPDX-License-Identifier: Apache-2.0

dnl VDISK_PYTHON: where the package for Python goes: the first folder below the prefix in which the system's python3 looks for such.
AC_DEFUN([VDISK_PYTHON], [
  AC_ARG_WITH([python-packages], [AS_HELP_STRING([--with-python-packages=DIR], [where the Python package goes @<:@default: where python3 looks below PREFIX@:>@])],
    [], [with_python_packages=auto])
  AC_PATH_PROG([SYSTEM_PYTHON], [python3], [], [/usr/bin$PATH_SEPARATOR$PATH])
  AC_MSG_CHECKING([where packages for Python go])
  vdisk_prefix=$prefix
  AS_VAR_IF([vdisk_prefix], [NONE], [vdisk_prefix=$ac_default_prefix])
  AS_CASE([$with_python_packages], [yes|no], [AC_MSG_ERROR([--with-python-packages: names a folder])],
    [auto], [PYTHON_PACKAGES=`test -z "$SYSTEM_PYTHON" || "$SYSTEM_PYTHON" -c "import site, sys
print(next((folder for folder in site.getsitepackages() if folder.startswith(sys.argv[[1]] + '/lib')), ''))" "$vdisk_prefix" 2>/dev/null`
      test -n "$PYTHON_PACKAGES" || PYTHON_PACKAGES='${prefix}/lib/python3/dist-packages'],
    [PYTHON_PACKAGES=$with_python_packages])
  AC_MSG_RESULT([$PYTHON_PACKAGES])
  AC_SUBST([PYTHON_PACKAGES])
])
