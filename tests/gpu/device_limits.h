#pragma once
// bf16 products of mma.sync m16n8k16 per second, times two, with nothing read or written.
double measure_mma_rate();
