// SPDX-License-Identifier: Apache-2.0
#define BOOST_TEST_MODULE vdisk
#ifdef BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>
#else // the framework is compiled with it
#include <boost/test/included/unit_test.hpp>
#endif
