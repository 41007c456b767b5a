#pragma once
// What the files of the emulation share: how an instruction of a warp waits for its lanes.

namespace fulmen::emulation {

inline constexpr int kWarpLanes = 32;

[[noreturn]] void die(const char* what);

// Called once, when all lanes have come, with what each lane brought.
using WarpInstruction = void (*)(void* const* lanes);
void warp_instruction(WarpInstruction instruction, void* mine);

void poll();  // lets the others run, then returns: for a wait that ends by what another thread does

// One sum of 16 products and the accumulator as a tensor core makes it, kept to `bits` fractional bits.
float fused_sum(float c, const float* a, const float* b, int bits);

int thread_of_block();
void begin_copies(int threads);  // of a grid whose blocks have this many

void begin_hopper();

}  // namespace fulmen::emulation
