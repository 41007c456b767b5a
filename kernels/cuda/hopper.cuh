#pragma once
// Hopper's own instructions (sm_90a), behind functions that tests/cuda_emulation implements on the CPU: the copy engine
// (TMA) with its tensor maps, mbarriers, and wgmma on operands in shared memory. Elsewhere they are compiled to nothing
// and no kernel that uses them is launched.
//
// Operands stand in shared memory as the copy engine writes them with the 128-byte swizzle: lines of 64 bf16 values,
// 1024-byte aligned groups of eight, 16-byte pieces of line r in the order i xor (r % 8).
//
//   along k   A(m, k) at line m, 64 values of k a line; 16 further k are 32 bytes on
//   across k  A(m, k) at line k, 64 values of m a line; the next 64 values of m `block` bytes on, 16 further k 16 lines

#include <cuda.h>

#include "kernels/cuda/tensor.cuh"

namespace fulmen::kernels::cuda {

// What wgmma is told of an operand: where it begins, how far it is to the next 64 values across (only across k), and to
// the next eight lines; swizzle of 128 bytes.
__device__ inline uint64_t operand_descriptor(uint32_t address, uint32_t block) {
  return static_cast<uint64_t>(address >> 4 & 0x3fff) | static_cast<uint64_t>(block >> 4 & 0x3fff) << 16 |
         static_cast<uint64_t>(1024 >> 4) << 32 | uint64_t{1} << 62;
}

#ifdef __CUDACC__
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define FULMEN_HOPPER(...) __VA_ARGS__
#else
#define FULMEN_HOPPER(...)
#endif

__device__ inline void barrier_init(uint64_t* barrier, int arrivals) {
  FULMEN_HOPPER(asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals));)
}
__device__ inline void barriers_visible() {  // to the copy engine; then __syncthreads()
  FULMEN_HOPPER(asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");)
}
__device__ inline void barrier_arrive(uint64_t* barrier) {
  FULMEN_HOPPER(asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");)
}
__device__ inline void barrier_expect(uint64_t* barrier, uint32_t bytes) {  // arrives too
  FULMEN_HOPPER(
      asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                   : "memory");)
}
// Until the phase of this parity has ended.
__device__ inline void barrier_wait(uint64_t* barrier, uint32_t parity) {
  FULMEN_HOPPER(uint32_t done = 0; while (done == 0) {
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n"
        "}\n"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
  })
}
// The box of a matrix whose first value is (line, value), to shared memory; counts its bytes at the barrier.
__device__ inline void copy_box(void* to, const CUtensorMap* map, int value, int line, uint64_t* barrier) {
  FULMEN_HOPPER(
      asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, "
                   "{%2, %3}], [%4];" ::"r"(shared_address(to)),
                   "l"(map), "r"(value), "r"(line), "r"(shared_address(barrier))
                   : "memory");)
}
__device__ inline void map_acquire(const CUtensorMap* map) {  // of one that lies in device memory
  FULMEN_HOPPER(asm volatile("fence.proxy.tensormap::generic.acquire.gpu [%0], 128;" ::"l"(map) : "memory");)
}
template <int kRegisters>
__device__ inline void give_registers() {
  FULMEN_HOPPER(asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));)
}
template <int kRegisters>
__device__ inline void take_registers() {
  FULMEN_HOPPER(asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));)
}

__device__ inline void wgmma_fence() { FULMEN_HOPPER(asm volatile("wgmma.fence.sync.aligned;" ::: "memory");) }
__device__ inline void wgmma_close() { FULMEN_HOPPER(asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");) }
template <int kLeft>
__device__ inline void wgmma_wait() {
  FULMEN_HOPPER(asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");)
}

// wgmma writes its sums after its statement is over: the compiler must neither read nor move them before this one,
// which stands behind a wait.
template <int kValues>
__device__ inline void wgmma_sums_ready(float (&d)[kValues]) {
  FULMEN_UNROLL
  for (int i = 0; i < kValues; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

#define FULMEN_EIGHT(i)                                                                                       \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
// d += a b for the 64 rows of a warpgroup and 128 or 256 columns, k = 16. Thread: rows 16 w + g and + 8 of warp w;
// d[4 j], d[4 j + 1] are columns 8 j + 2t and + 1 of the first, the next two of the second. The flags say that an
// operand stands across k.
template <int kTransposeA, int kTransposeB>
__device__ inline void wgmma(float (&d)[64], uint64_t a, uint64_t b) {
  FULMEN_HOPPER(asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
                             "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                             "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                             "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
                             "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, "
                             "%64, %65, 1, 1, 1, %66, %67;"
                             : FULMEN_EIGHT(0), FULMEN_EIGHT(8), FULMEN_EIGHT(16), FULMEN_EIGHT(24), FULMEN_EIGHT(32),
                               FULMEN_EIGHT(40), FULMEN_EIGHT(48), FULMEN_EIGHT(56)
                             : "l"(a), "l"(b), "n"(kTransposeA), "n"(kTransposeB));)
}
template <int kTransposeA, int kTransposeB>
__device__ inline void wgmma(float (&d)[128], uint64_t a, uint64_t b) {
  FULMEN_HOPPER(asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
                             "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                             "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                             "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
                             "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
                             "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
                             "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"
                             "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,"
                             "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127}, "
                             "%128, %129, 1, 1, 1, %130, %131;"
                             : FULMEN_EIGHT(0), FULMEN_EIGHT(8), FULMEN_EIGHT(16), FULMEN_EIGHT(24), FULMEN_EIGHT(32),
                               FULMEN_EIGHT(40), FULMEN_EIGHT(48), FULMEN_EIGHT(56), FULMEN_EIGHT(64), FULMEN_EIGHT(72),
                               FULMEN_EIGHT(80), FULMEN_EIGHT(88), FULMEN_EIGHT(96), FULMEN_EIGHT(104),
                               FULMEN_EIGHT(112), FULMEN_EIGHT(120)
                             : "l"(a), "l"(b), "n"(kTransposeA), "n"(kTransposeB));)
}
#undef FULMEN_EIGHT
#else
using emulation::barrier_arrive;
using emulation::barrier_expect;
using emulation::barrier_init;
using emulation::barrier_wait;
using emulation::copy_box;
using emulation::shared_address;
using emulation::wgmma;
using emulation::wgmma_close;
using emulation::wgmma_fence;
using emulation::wgmma_wait;
inline void barriers_visible() {}
inline void map_acquire(const CUtensorMap*) {}
template <int kValues>
void wgmma_sums_ready(float (&)[kValues]) {}
template <int kRegisters>
void give_registers() {}
template <int kRegisters>
void take_registers() {}
#endif

}  // namespace fulmen::kernels::cuda
