#include "kernels/cuda/table.h"

#include "kernels/cuda/entries.h"
#include "kernels/cuda/state.h"

namespace fulmen::kernels::cuda {

KernelTable make_table(const char* name) {
  KernelTable t{};
  t.name = name;
  t.host_memory = false;
  t.allocate = allocate;
  t.release = release;
  t.copy_in = copy_in;
  t.copy_out = copy_out;
  t.copy_within = copy_within;
  t.fill_zero = fill_zero;
  t.bytes_free = bytes_free;
  t.synchronize = synchronize;
  t.stream = stream;
  t.idle = idle;
  t.open_fetch = open_fetch;
  t.begin_fetch = begin_fetch;
  t.wait_fetch = wait_fetch;
  t.close_fetch = close_fetch;
  t.allocate_shared = allocate_shared;
  t.release_shared = release_shared;
  t.open_shared = open_shared;
  t.close_shared = close_shared;
  t.reserve = reserve;
  t.trim = trim;
  t.begin_recording = begin_recording;
  t.launch_recording = launch_recording;
  t.drop_recording = drop_recording;
  t.copy_rows = copy_rows;
  t.dispatch = dispatch;
  t.pack_weight = pack_weight;
  t.linear_forward = linear_forward;
  t.linear_forward_together = linear_forward_together;
  t.linear_backward = linear_backward;
  t.grouped_linear_forward = grouped_linear_forward;
  t.grouped_linear_forward_together = grouped_linear_forward_together;
  t.grouped_linear_backward = grouped_linear_backward;
  t.lightning_forward = lightning_forward;
  t.lightning_backward = lightning_backward;
  t.lightning_recurrent_step = lightning_recurrent_step;
  t.attention_forward = attention_forward;
  t.attention_backward = attention_backward;
  t.rmsnorm_forward = rmsnorm_forward;
  t.rmsnorm_backward = rmsnorm_backward;
  t.gated_rmsnorm_forward = gated_rmsnorm_forward;
  t.gated_rmsnorm_backward = gated_rmsnorm_backward;
  t.embedding_forward = embedding_forward;
  t.embedding_backward = embedding_backward;
  t.silu_forward = silu_forward;
  t.silu_backward = silu_backward;
  t.swiglu_forward = swiglu_forward;
  t.swiglu_backward = swiglu_backward;
  t.scaled_add = scaled_add;
  t.round_to_bf16 = round_to_bf16;
  t.rope = rope;
  t.route_forward = route_forward;
  t.route_backward = route_backward;
  t.gather_rows = gather_rows;
  t.gather_rows_backward = gather_rows_backward;
  t.combine_forward = combine_forward;
  t.combine_backward = combine_backward;
  t.lm_head_forward = lm_head_forward;
  t.lm_head_backward = lm_head_backward;
  t.sample_rows = sample_rows;
  t.global_sum_of_squares = global_sum_of_squares;
  t.adamw_step = adamw_step;
  return t;
}

}  // namespace fulmen::kernels::cuda
