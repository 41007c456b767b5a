#include "kernels/memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "kernels/table.h"

namespace fulmen::kernels {
namespace {

void check_index(const char* name, std::span<const int32_t> index, int64_t rows) {
  for (size_t i = 0; i < index.size(); ++i)
    FULMEN_CHECK(index[i] >= 0 && index[i] < rows, "copy_rows: " + std::string(name) + "[" + std::to_string(i) +
                                                       "] is " + std::to_string(index[i]) + ", want 0.." +
                                                       std::to_string(rows - 1));
}

}  // namespace

bool host_memory(const Context& ctx) { return ctx.table->host_memory; }

// Huge pages: walking gigabytes of weights in small ones costs as much as reading them.
DeviceMemory allocate_host(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t align = bytes >= 2 * kHugePage ? kHugePage : 256;
  const size_t rounded = (bytes > 0 ? bytes + align - 1 : align) / align * align;
  void* p = std::aligned_alloc(align, rounded);
  FULMEN_CHECK(p, "memory: the host has no room for another " + std::to_string(bytes) + " bytes");
  if (align == kHugePage) madvise(p, rounded, MADV_HUGEPAGE);  // advice only; may be refused
  std::memset(p, 0, rounded);
  return {p, {[](void* q) noexcept { std::free(q); }}};
}

DeviceMemory allocate(size_t bytes, Context& ctx) {
  return DeviceMemory(ctx.table->allocate(bytes, ctx), {ctx.table->release});
}

void copy_in(void* device, const void* host, size_t bytes, Context& ctx) {
  if (bytes > 0 && device != host) ctx.table->copy_in(device, host, bytes, ctx);
}

void copy_out(void* host, const void* device, size_t bytes, Context& ctx) {
  if (bytes > 0 && device != host) ctx.table->copy_out(host, device, bytes, ctx);
}

void copy_within(void* to, const void* from, size_t bytes, Context& ctx) {
  if (bytes > 0 && to != from) ctx.table->copy_within(to, from, bytes, ctx);
}

void fill_zero(void* device, size_t bytes, Context& ctx) {
  if (bytes > 0) ctx.table->fill_zero(device, bytes, ctx);
}

Fetch::Fetch(Context& ctx) : ctx_(ctx), copy_(host_memory(ctx) ? nullptr : ctx.table->open_fetch(ctx)) {}

Fetch::~Fetch() {
  if (copy_ != nullptr) ctx_.table->close_fetch(copy_);
}

void Fetch::begin(const void* device, size_t bytes) {
  in_place_ = device;
  if (copy_ != nullptr) ctx_.table->begin_fetch(copy_, device, bytes, ctx_);
}

const void* Fetch::wait() { return copy_ != nullptr ? ctx_.table->wait_fetch(copy_) : in_place_; }

size_t bytes_free(const Context& ctx) {
  Context copy = ctx;
  return ctx.table->bytes_free != nullptr ? ctx.table->bytes_free(copy) : SIZE_MAX;
}

void reserve(size_t bytes, Context& ctx) {
  if (ctx.table->reserve != nullptr) ctx.table->reserve(bytes, ctx);
}

void trim(Context& ctx) {
  if (ctx.table->trim != nullptr) ctx.table->trim(ctx);
}

void synchronize(Context& ctx) { ctx.table->synchronize(ctx); }

DeviceMemory allocate_shared(size_t bytes, std::string& name, Context& ctx) {
  FULMEN_CHECK(ctx.table->allocate_shared != nullptr, "memory: this device shares none with other processes");
  return DeviceMemory(ctx.table->allocate_shared(bytes, name, ctx), {ctx.table->release_shared});
}

DeviceMemory open_shared(const std::string& name, Context& ctx) {
  FULMEN_CHECK(ctx.table->open_shared != nullptr, "memory: this device shares none with other processes");
  return DeviceMemory(ctx.table->open_shared(name, ctx), {ctx.table->close_shared});
}

void* stream(Context& ctx) { return ctx.table->stream != nullptr ? ctx.table->stream(ctx) : nullptr; }

bool idle(Context& ctx) { return ctx.table->idle == nullptr || ctx.table->idle(ctx); }

void copy_rows(const CopyRows& a, Context& ctx) {
  const char* op = "copy_rows";
  const int64_t n = a.to.empty() ? a.from.empty() ? a.x.dim[0] : static_cast<int64_t>(a.from.size())
                                 : static_cast<int64_t>(a.to.size());
  if (n == 0 || a.x.dim[1] == 0) return;
  check_shape(op, "x", a.x, {a.x.dim[0], a.x.dim[1]});
  check_shape(op, "y", a.y, {a.y.dim[0], a.x.dim[1]});
  FULMEN_CHECK(a.from.empty() || a.to.empty() || a.from.size() == a.to.size(),
               "copy_rows: from has " + std::to_string(a.from.size()) + " rows, to has " + std::to_string(a.to.size()));
  FULMEN_CHECK((!a.from.empty() || n <= a.x.dim[0]) && (!a.to.empty() || n <= a.y.dim[0]),
               "copy_rows: " + std::to_string(n) + " rows, x is " + shape_string(a.x) + ", y is " + shape_string(a.y));
  check_index("from", a.from, a.x.dim[0]);
  check_index("to", a.to, a.y.dim[0]);
  ctx.table->copy_rows(a, ctx);
}

}  // namespace fulmen::kernels
