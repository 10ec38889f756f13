// NumPy's files: .npy, one array, and .npz, a zip archive of them. Internal to src/data.
//
//   npy    = 0x93 "NUMPY" major minor size header values
//   size   = 2 bytes of version 1, 4 bytes of versions 2 and 3, little endian: length of header
//   header = a Python dict: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
//   descr  = '|u1', '<i4', '<i8', '<f4' or '<f8' here
//
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
//
// Limits: 64 KiB of header; those of arrays.h and zip.h.
#pragma once

#include <string>

#include "data/arrays.h"

namespace cyxwiz::data {

// Reads the header of the array that array->bytes gives, whose place is set; array->offset grows by
// its length.
Fault ReadNpyHeader(ArraySource* array);

// Whether the values of an array whose header was read end at `end`, where its file or its member
// does.
Fault CheckEnd(const ArraySource& array, int64_t end);

// The file at `path`, which is resolved and may be gzip.
Fault OpenNpy(const std::string& path, ArraySource* array);

// The array of that name in the archive at `path`.
Fault OpenNpz(const std::string& path, const std::string& name, ArraySource* array);

}  // namespace cyxwiz::data
