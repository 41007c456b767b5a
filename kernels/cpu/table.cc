#include "kernels/table.h"

#include "kernels/cpu/entries.h"

namespace fulmen::kernels {
namespace {

#define FULMEN_STRING_(x) #x
#define FULMEN_STRING(x) FULMEN_STRING_(x)

namespace isa = FULMEN_ISA;
const KernelTable kTable{
    .name = "cpu-" FULMEN_STRING(FULMEN_ISA),
    .allocate = isa::allocate,
    .release = isa::release,
    .copy_in = isa::copy,
    .copy_out = isa::copy,
    .copy_within = isa::copy,
    .fill_zero = isa::fill_zero,
    .synchronize = isa::synchronize,
    .copy_rows = isa::copy_rows,
    .dispatch = isa::dispatch,
    .pack_weight = isa::pack_weight,
    .linear_forward = isa::linear_forward,
    .linear_forward_together = isa::linear_forward_together,
    .linear_backward = isa::linear_backward,
    .grouped_linear_forward = isa::grouped_linear_forward,
    .grouped_linear_forward_together = isa::grouped_linear_forward_together,
    .grouped_linear_backward = isa::grouped_linear_backward,
    .lightning_forward = isa::lightning_forward,
    .lightning_backward = isa::lightning_backward,
    .lightning_recurrent_step = isa::lightning_recurrent_step,
    .attention_forward = isa::attention_forward,
    .attention_backward = isa::attention_backward,
    .rmsnorm_forward = isa::rmsnorm_forward,
    .rmsnorm_backward = isa::rmsnorm_backward,
    .gated_rmsnorm_forward = isa::gated_rmsnorm_forward,
    .gated_rmsnorm_backward = isa::gated_rmsnorm_backward,
    .embedding_forward = isa::embedding_forward,
    .embedding_backward = isa::embedding_backward,
    .silu_forward = isa::silu_forward,
    .silu_backward = isa::silu_backward,
    .swiglu_forward = isa::swiglu_forward,
    .swiglu_backward = isa::swiglu_backward,
    .scaled_add = isa::scaled_add,
    .round_to_bf16 = isa::round_to_bf16,
    .rope = isa::rope,
    .route_forward = isa::route_forward,
    .route_backward = isa::route_backward,
    .gather_rows = isa::gather_rows,
    .gather_rows_backward = isa::gather_rows_backward,
    .combine_forward = isa::combine_forward,
    .combine_backward = isa::combine_backward,
    .lm_head_forward = isa::lm_head_forward,
    .lm_head_backward = isa::lm_head_backward,
    .sample_rows = isa::sample_rows,
    .global_sum_of_squares = isa::global_sum_of_squares,
    .adamw_step = isa::adamw_step,
};

}  // namespace

#define FULMEN_TABLE_(x) cpu_##x##_table
#define FULMEN_TABLE(x) FULMEN_TABLE_(x)
const KernelTable& FULMEN_TABLE(FULMEN_ISA)() { return kTable; }

}  // namespace fulmen::kernels
