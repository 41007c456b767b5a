#pragma once
// What the matrix units of device 0 do with nothing read or written: flop/s of bf16 with fp32 sums.
double measure_mma_rate();    // mma.sync m16n8k16
double measure_wgmma_rate();  // wgmma m64n256k16 on operands in shared memory; 0 on a device without
