#pragma once
// The function table of a device: one entry per kernel, same argument structs on every device. The public functions
// (linear_forward and so on) check shapes, return on empty input, then call the table of their Context. A CUDA build
// exports `extern "C" const fulmen::kernels::KernelTable* fulmen_kernel_table(uint32_t version)` from
// libfulmen_cuda.so.
//
// Where arguments live: TensorRef data, weights, caches, decay tables and what the router makes (expert, order, offset)
// are in the device's memory; tokens, segments, targets, sampling settings and the page table are in the
// host's, sampled tokens and log-probs in the device's. Work is queued in order; copy_out, wait_fetch,
// global_sum_of_squares and synchronize wait for it.

#include "kernels/attention.h"
#include "kernels/lightning.h"
#include "kernels/linear.h"
#include "kernels/lm_head.h"
#include "kernels/memory.h"
#include "kernels/norm.h"
#include "kernels/optimizer.h"
#include "kernels/pointwise.h"
#include "kernels/router.h"
#include "kernels/sampler.h"

namespace fulmen::kernels {

inline constexpr uint32_t kKernelTableVersion = 4;

struct KernelTable {
  uint32_t version = kKernelTableVersion;
  const char* name = "";  // "cpu-avx512", "cpu-avx2", "cuda-sm90"; for people
  // Memory of the device. On the CPU all of it is the host's own and these are malloc, memcpy and memset.
  bool host_memory = true;                              // may the host read and write it in place?
  void* (*allocate)(size_t bytes, Context&) = nullptr;  // zeroed, aligned to 256 bytes; throws Error when full
  void (*release)(void*) noexcept = nullptr;
  void (*copy_in)(void* device, const void* host, size_t bytes, Context&) = nullptr;   // host may be reused at once
  void (*copy_out)(void* host, const void* device, size_t bytes, Context&) = nullptr;  // waits
  void (*copy_within)(void* to, const void* from, size_t bytes, Context&) = nullptr;   // must not overlap
  void (*fill_zero)(void* device, size_t bytes, Context&) = nullptr;
  size_t (*bytes_free)(Context&) = nullptr;  // of device memory, now; null where it is the host's
  void (*synchronize)(Context&) = nullptr;   // waits for everything queued; throws what went wrong in it
  void* (*stream)(Context&) = nullptr;       // of a device that has streams; null elsewhere, and idle with it
  bool (*idle)(Context&) = nullptr;
  void* (*open_fetch)(Context&) = nullptr;  // Fetch of memory.h; null where memory is the host's, and the next three
  void (*begin_fetch)(void* fetch, const void* device, size_t bytes, Context&) = nullptr;
  const void* (*wait_fetch)(void* fetch) = nullptr;
  void (*close_fetch)(void* fetch) noexcept = nullptr;
  void* (*allocate_shared)(size_t bytes, std::string& name, Context&) = nullptr;  // null as above, and the next three
  void (*release_shared)(void*) noexcept = nullptr;
  void* (*open_shared)(const std::string& name, Context&) = nullptr;
  void (*close_shared)(void*) noexcept = nullptr;
  void (*reserve)(size_t bytes, Context&) = nullptr;  // null where memory is the host's, and trim with it
  void (*trim)(Context&) = nullptr;
  void (*begin_recording)(Context&) = nullptr;  // recording.h; null where a device has no graphs
  void (*launch_recording)(uint64_t key, Context&) = nullptr;
  void (*drop_recording)(Context&) noexcept = nullptr;
  void (*copy_rows)(const CopyRows&, Context&);
  void (*dispatch)(const Dispatch&, Context&);
  void (*pack_weight)(const TensorRef& src, DType dtype, void* dst, Context& ctx);
  void (*linear_forward)(const LinearForward&, Context&);
  void (*linear_forward_together)(std::span<const LinearForward>, Context&) = nullptr;  // null: one by one
  void (*linear_backward)(const LinearBackward&, Context&);
  void (*grouped_linear_forward)(const GroupedLinearForward&, Context&);
  void (*grouped_linear_forward_together)(std::span<const GroupedLinearForward>, Context&) = nullptr;
  void (*grouped_linear_backward)(const GroupedLinearBackward&, Context&);
  void (*lightning_forward)(const LightningForward&, Context&);
  void (*lightning_backward)(const LightningBackward&, Context&);
  void (*lightning_recurrent_step)(const LightningRecurrentStep&, Context&);
  void (*attention_forward)(const AttentionForward&, Context&);
  void (*attention_backward)(const AttentionBackward&, Context&);
  void (*rmsnorm_forward)(const RmsNormForward&, Context&);
  void (*rmsnorm_backward)(const RmsNormBackward&, Context&);
  void (*gated_rmsnorm_forward)(const GatedRmsNormForward&, Context&);
  void (*gated_rmsnorm_backward)(const GatedRmsNormBackward&, Context&);
  void (*embedding_forward)(const EmbeddingForward&, Context&);
  void (*embedding_backward)(const EmbeddingBackward&, Context&);
  void (*silu_forward)(const Silu&, Context&);
  void (*silu_backward)(const SiluBackward&, Context&);
  void (*swiglu_forward)(const SwiGlu&, Context&);
  void (*swiglu_backward)(const SwiGluBackward&, Context&);
  void (*scaled_add)(const ScaledAdd&, Context&);
  void (*round_to_bf16)(const TensorRef&, Context&);
  void (*rope)(const Rope&, Context&);
  void (*route_forward)(const RouteForward&, Context&);
  void (*route_backward)(const RouteBackward&, Context&);
  void (*gather_rows)(const GatherRows&, Context&);
  void (*gather_rows_backward)(const GatherRowsBackward&, Context&);
  void (*combine_forward)(const CombineForward&, Context&);
  void (*combine_backward)(const CombineBackward&, Context&);
  void (*lm_head_forward)(const LmHeadForward&, Context&);
  void (*lm_head_backward)(const LmHeadBackward&, Context&);
  void (*sample_rows)(const SampleRows&, Context&);
  double (*global_sum_of_squares)(std::span<const TensorRef>, Context&);
  void (*adamw_step)(std::span<const AdamW>, Context&);
};

const KernelTable& cpu_avx512_table();  // call only where the processor has it
const KernelTable& cpu_avx2_table();

}  // namespace fulmen::kernels
