#include <cstdlib>

#include "kernels/cpu/entries.h"
#include "kernels/cpu/row_loop.h"

namespace fulmen::kernels::FULMEN_ISA {

void* allocate(size_t bytes, Context&) { return allocate_host(bytes).release(); }

void release(void* p) noexcept { std::free(p); }
void copy(void* to, const void* from, size_t bytes, Context&) { memcpy(to, from, bytes); }
void fill_zero(void* p, size_t bytes, Context&) { memset(p, 0, bytes); }
void synchronize(Context&) {}

void copy_rows(const CopyRows& a, Context&) {
  const size_t n = a.to.empty() ? a.from.empty() ? (size_t)a.x.dim[0] : a.from.size() : a.to.size();
  for (size_t i = 0; i < n; ++i)
    memcpy(a.y.row(a.to.empty() ? (int64_t)i : a.to[i]), a.x.row(a.from.empty() ? (int64_t)i : a.from[i]),
           (size_t)a.x.dim[1] * sizeof(float));
}

}  // namespace fulmen::kernels::FULMEN_ISA
