#pragma once
// A matrix library of the emulated device, in the place of cuBLASLt (kernels/cuda/product_library.h): algorithms that
// do with their sums what a test says.

#include <cstddef>
#include <vector>

namespace fulmen::emulation {

struct LibraryAlgorithmDouble {
  bool splits_many_rows = false;    // from 100 rows on, two sums of half of k
  bool splits_when_adding = false;  // the same, only in products that are added to something
  size_t workspace = 0;             // bytes that it asks for
  int refuses_from = 1 << 30;       // rows
};
struct LibraryDouble {
  bool installed = true;
  std::vector<LibraryAlgorithmDouble> algorithms{{}};
  int products = 0;  // multiplied so far
};
LibraryDouble& library_double();

}  // namespace fulmen::emulation
