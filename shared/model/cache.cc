// Cache: memory of all sequences a rollout worker has in flight. Layouts are those of kernels/lightning.h and
// attention.h.

#include <algorithm>
#include <cstring>

#include "shared/model/transformer.h"

namespace fulmen::model {

using kernels::DType;

namespace {

constexpr int64_t kPanelTokens = 16;  // K is kept in panels of 16 tokens, (tokens/16, D, 16)

struct LayerBytes {
  int64_t state = 0, keys = 0;  // of one slot or page; values take as much as keys
  int64_t total() const { return state + 2 * keys; }
};

LayerBytes lightning_bytes(const ModelConfig& c, DType kv) {
  const int64_t H = c.num_heads, D = c.head_dim;
  return {H * D * D * 4, H * kernels::kLightningBlock * D * kernels::dtype_bytes(kv)};
}

LayerBytes softmax_bytes(const ModelConfig& c, DType kv) {
  return {0, int64_t{c.num_kv_heads} * kernels::kAttentionTile * c.head_dim * kernels::dtype_bytes(kv)};
}

uint8_t* at(void* base, int64_t offset) { return static_cast<uint8_t*>(base) + offset; }

}  // namespace

Cache::Cache(const ModelConfig& c, DType kv, int64_t slots, int64_t pages, int64_t max_pages_per_slot,
             kernels::Context* ctx)
    : ctx_(ctx != nullptr && !kernels::host_memory(*ctx) ? ctx : nullptr),
      config_(c),
      kv_(kv),
      slots_(slots),
      pages_(pages),
      max_pages_(max_pages_per_slot) {
  FULMEN_CHECK(slots > 0 && pages >= 0 && max_pages_ >= 0,
               "cache: got " + std::to_string(slots) + " slots, " + std::to_string(pages) + " pages, " +
                   std::to_string(max_pages_) + " pages per slot, want at least one slot and nothing negative");
  const size_t L = static_cast<size_t>(c.num_layers);
  storage_.resize(L);
  lightning_.resize(L);
  softmax_.resize(L);
  page_table_.assign(static_cast<size_t>(slots * max_pages_), -1);
  if (ctx_ != nullptr) device_page_table_.resize(page_table_.size(), *ctx_);
  const auto* device_table = reinterpret_cast<const int32_t*>(device_page_table_.data());
  for (size_t l = 0; l < L; ++l) {
    const bool softmax = c.softmax_layer(static_cast<int>(l));
    const LayerBytes one = softmax ? softmax_bytes(c, kv) : lightning_bytes(c, kv);
    const int64_t count = softmax ? pages : slots;
    const auto floats = static_cast<size_t>(count * one.total() / 4);
    ctx_ != nullptr ? storage_[l].resize(floats, *ctx_) : storage_[l].resize(floats);
    float* base = storage_[l].data();
    void* keys = at(base, count * one.state);
    void* values = at(base, count * (one.state + one.keys));
    if (softmax) {
      softmax_[l] = {keys, values, kv, page_table_.data(), max_pages_, device_table};
    } else {
      lightning_[l] = {base, keys, values, kv, slots};
    }
  }
}

int64_t Cache::slot_bytes(const ModelConfig& c, DType kv) {
  int64_t bytes = 0;
  for (int l = 0; l < c.num_layers; ++l) bytes += c.softmax_layer(l) ? 0 : lightning_bytes(c, kv).total();
  return bytes;
}

int64_t Cache::page_bytes(const ModelConfig& c, DType kv) {
  int64_t bytes = 0;
  for (int l = 0; l < c.num_layers; ++l) bytes += c.softmax_layer(l) ? softmax_bytes(c, kv).total() : 0;
  return bytes;
}

void Cache::copy(void* to, const void* from, int64_t bytes) {
  if (to == from) return;
  ctx_ != nullptr ? kernels::copy_within(to, from, static_cast<size_t>(bytes), *ctx_)
                  : void(std::memcpy(to, from, static_cast<size_t>(bytes)));
}

void Cache::copy_slot(int32_t from, int32_t to, int32_t position) {
  FULMEN_CHECK(from >= 0 && from < slots_ && to >= 0 && to < slots_,
               "cache.copy_slot: got slots " + std::to_string(from) + " to " + std::to_string(to) + ", want 0.." +
                   std::to_string(slots_ - 1));
  if (from == to || position <= 0) return;
  const int64_t H = config_.num_heads, D = config_.head_dim, block = kernels::kLightningBlock;
  // The block is closed by the first token of the next one, so a full block still stands in K and V.
  const int64_t tokens = (position - 1) % block + 1;
  const int64_t panels = (tokens + kPanelTokens - 1) / kPanelTokens;
  const int64_t bytes = kernels::dtype_bytes(kv_), head = block * D * bytes, state = H * D * D;
  for (const kernels::LightningCache& cache : lightning_) {
    if (cache.state == nullptr) continue;
    copy(cache.state + to * state, cache.state + from * state, state * 4);
    for (int64_t h = 0; h < H; ++h) {
      const int64_t source = (from * H + h) * head, target = (to * H + h) * head;
      copy(at(cache.k, target), at(cache.k, source), panels * kPanelTokens * D * bytes);
      copy(at(cache.v, target), at(cache.v, source), tokens * D * bytes);
    }
  }
}

void Cache::copy_page(int32_t from, int32_t to) {
  FULMEN_CHECK(from >= 0 && from < pages_ && to >= 0 && to < pages_,
               "cache.copy_page: got pages " + std::to_string(from) + " to " + std::to_string(to) + ", want 0.." +
                   std::to_string(pages_ - 1));
  const int64_t bytes = softmax_bytes(config_, kv_).keys;
  for (const kernels::PagedKvCache& cache : softmax_) {
    if (cache.k == nullptr) continue;
    copy(at(cache.k, to * bytes), at(cache.k, from * bytes), bytes);
    copy(at(cache.v, to * bytes), at(cache.v, from * bytes), bytes);
  }
}

void Cache::set_page(int32_t slot, int64_t nth, int32_t page) {
  FULMEN_CHECK(slot >= 0 && slot < slots_ && nth >= 0 && nth < max_pages_ && page >= 0 && page < pages_,
               "cache.set_page: got slot " + std::to_string(slot) + ", entry " + std::to_string(nth) + ", page " +
                   std::to_string(page) + ", want below " + std::to_string(slots_) + ", " + std::to_string(max_pages_) +
                   ", " + std::to_string(pages_));
  const auto entry = static_cast<size_t>(slot * max_pages_ + nth);
  page_table_[entry] = page;
  if (ctx_ == nullptr) return;
  if (!changed_.empty() && changed_.back().second == entry)
    ++changed_.back().second;
  else
    changed_.emplace_back(entry, entry + 1);
}

void Cache::send_page_table() {
  for (const auto& [first, last] : changed_)
    kernels::copy_in(device_page_table_.data() + first, page_table_.data() + first, (last - first) * sizeof(int32_t),
                     *ctx_);
  changed_.clear();
}

kernels::PagedKvCache Cache::softmax(int layer) const { return softmax_[static_cast<size_t>(layer)]; }

}  // namespace fulmen::model
