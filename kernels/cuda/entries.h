#pragma once
// The CUDA entries of the kernel table. Arguments have been checked and are not empty. Each queues its kernels on the
// context's stream and returns.

#include "kernels/cuda/state.h"
#include "kernels/table.h"

namespace fulmen::kernels::cuda {

void* allocate(size_t bytes, Context& ctx);
void release(void* p) noexcept;
void copy_in(void* device, const void* host, size_t bytes, Context& ctx);
void copy_out(void* host, const void* device, size_t bytes, Context& ctx);
void copy_within(void* to, const void* from, size_t bytes, Context& ctx);
void fill_zero(void* device, size_t bytes, Context& ctx);
size_t bytes_free(Context& ctx);
void synchronize(Context& ctx);
void* stream(Context& ctx);
bool idle(Context& ctx);
void* open_fetch(Context& ctx);
void begin_fetch(void* fetch, const void* device, size_t bytes, Context& ctx);
const void* wait_fetch(void* fetch);
void close_fetch(void* fetch) noexcept;
void* allocate_shared(size_t bytes, std::string& name, Context& ctx);
void release_shared(void* p) noexcept;
void* open_shared(const std::string& name, Context& ctx);
void close_shared(void* p) noexcept;
void reserve(size_t bytes, Context& ctx);
void trim(Context& ctx);
void begin_recording(Context& ctx);
void launch_recording(uint64_t key, Context& ctx);
void drop_recording(Context& ctx) noexcept;
void copy_rows(const CopyRows&, Context&);
void dispatch(const Dispatch&, Context&);
void pack_weight(const TensorRef& src, DType dtype, void* dst, Context& ctx);
void linear_forward(const LinearForward&, Context&);
void linear_forward_together(std::span<const LinearForward>, Context&);
void linear_backward(const LinearBackward&, Context&);
void grouped_linear_forward(const GroupedLinearForward&, Context&);
void grouped_linear_forward_together(std::span<const GroupedLinearForward>, Context&);
void grouped_linear_backward(const GroupedLinearBackward&, Context&);
void lightning_forward(const LightningForward&, Context&);
void lightning_backward(const LightningBackward&, Context&);
void lightning_recurrent_step(const LightningRecurrentStep&, Context&);
void attention_forward(const AttentionForward&, Context&);
void attention_backward(const AttentionBackward&, Context&);
void rmsnorm_forward(const RmsNormForward&, Context&);
void rmsnorm_backward(const RmsNormBackward&, Context&);
void gated_rmsnorm_forward(const GatedRmsNormForward&, Context&);
void gated_rmsnorm_backward(const GatedRmsNormBackward&, Context&);
void embedding_forward(const EmbeddingForward&, Context&);
void embedding_backward(const EmbeddingBackward&, Context&);
void silu_forward(const Silu&, Context&);
void silu_backward(const SiluBackward&, Context&);
void swiglu_forward(const SwiGlu&, Context&);
void swiglu_backward(const SwiGluBackward&, Context&);
void scaled_add(const ScaledAdd&, Context&);
void round_to_bf16(const TensorRef&, Context&);
void rope(const Rope&, Context&);
void route_forward(const RouteForward&, Context&);
void route_backward(const RouteBackward&, Context&);
void gather_rows(const GatherRows&, Context&);
void gather_rows_backward(const GatherRowsBackward&, Context&);
void combine_forward(const CombineForward&, Context&);
void combine_backward(const CombineBackward&, Context&);
void lm_head_forward(const LmHeadForward&, Context&);
void lm_head_backward(const LmHeadBackward&, Context&);
void sample_rows(const SampleRows&, Context&);
double global_sum_of_squares(std::span<const TensorRef>, Context&);
void adamw_step(std::span<const AdamW>, Context&);

// The forms of bf16 (arguments' kv), on the tensor cores.
void lightning_forward_bf16(const LightningForward&, State&);
void lightning_backward_bf16(const LightningBackward&, State&);
void attention_forward_bf16(const AttentionForward&, State&);
void attention_backward_bf16(const AttentionBackward&, State&);        // D <= 128
void attention_delta(const AttentionBackward&, float* delta, State&);  // delta (T, H): sum of d_o * o

}  // namespace fulmen::kernels::cuda
