#pragma once
// The kernel table of the CUDA backend, under the name of an architecture ("cuda-sm90").

#include "kernels/table.h"

namespace fulmen::kernels::cuda {

KernelTable make_table(const char* name);

}  // namespace fulmen::kernels::cuda
