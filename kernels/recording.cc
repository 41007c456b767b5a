#include "kernels/recording.h"

#include <bit>

#include "kernels/table.h"

namespace fulmen::kernels {

Recording::Recording(uint64_t key, Context& ctx) : ctx_(ctx), key_(key) {
  if (ctx.table->begin_recording == nullptr) return;
  ctx.table->begin_recording(ctx);
  open_ = true;
}

Recording::~Recording() {
  if (open_) ctx_.table->drop_recording(ctx_);
}

void Recording::launch() {
  if (!open_) return;
  open_ = false;
  ctx_.table->launch_recording(key_, ctx_);
}

int64_t decode_bucket(int64_t rows) {
  if (rows <= 64) return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(rows > 0 ? rows : 1)));
  return (rows + 63) / 64 * 64;
}

}  // namespace fulmen::kernels
