#pragma once
// The Hopper path of the bf16 products: the copy engine (TMA) fills a ring of tiles, two warpgroups multiply them with
// wgmma. The same canonical order as mma.sync (product.h): one fp32 accumulator, k ascending in steps of 16, so it may
// take turns with it once the device has shown equal bits for both (admit_wgmma).

#include "kernels/cuda/product.h"

namespace fulmen::kernels::cuda {

void multiply_wgmma(const Product& p, State& state);  // p fits_tiles

// At start-up: multiplies random data of every layout both ways on the device; from then on multiply_bf16 takes wgmma
// where it fits, if every bit agreed. A device without wgmma (`hopper` false) is not asked. Throws Error if the
// kernel of few rows, where rows and columns change places, gives other bits than that of many: decode would not agree
// with prefill then, and there is no other way.
void admit_wgmma(State& state, bool hopper);

}  // namespace fulmen::kernels::cuda
