// SPDX-License-Identifier: Apache-2.0
/// What programs on libtsk do with an image, checked against the raw disk that it holds. Each function prints what it
/// finds wrong and returns how many things that were.
#pragma once

extern "C" {

/// `arguments` as the programs' command lines: a word for what to do, then
///   entries IMAGE RAW         every function that opens an image, in C and C++
///   ingest IMAGE RAW          what Autopsy's native part does, in its order
///   threads IMAGE RAW ...     all images at once in several threads
///   damaged IMAGE OFFSET      reads where the image can't be read
/// $SESSION_TYPE is the word for the images' type, qcow2 if it is unset. With $SESSION_JAVA set, the types that images
/// report must be ones that Java knows.
int session(int count, const char* const arguments[]);

/// The same as a native method of Java: `static native int run()` of a class Session; the arguments are in
/// $SESSION_ARGUMENTS, one a line.
int Java_Session_run(void* environment, void* type);
}
