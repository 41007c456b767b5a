#include "reward/result_cache.h"

#include <cstring>

namespace fulmen::reward {

size_t ResultCache::Hash::operator()(const base::Digest& d) const {
  size_t h = 0;
  std::memcpy(&h, d.data(), sizeof h);
  return h;
}

base::Digest ResultCache::key(const Function& function, const Record& r) {
  std::string bytes;
  bytes.reserve(r.prompt.size() + r.response.size() + r.ground_truth.size() + r.extra_info.size() + 256);
  // Each with its length, so that no two records have the same bytes.
  for (const std::string* part :
       {&function.version(), &r.kind, &r.data_source, &r.prompt, &r.response, &r.ground_truth, &r.extra_info}) {
    const uint64_t size = part->size();
    bytes.append(reinterpret_cast<const char*>(&size), sizeof size);
    bytes += *part;
  }
  bytes.append(reinterpret_cast<const char*>(&r.tokens), sizeof r.tokens);
  return base::digest128(bytes.data(), bytes.size());
}

std::optional<Verdict> ResultCache::find(const base::Digest& key) {
  Stripe& s = stripe(key);
  std::lock_guard lock(s.mutex);
  const auto found = s.at.find(key);
  if (found == s.at.end()) return std::nullopt;
  s.used.splice(s.used.begin(), s.used, found->second);
  return found->second->second;
}

void ResultCache::store(const base::Digest& key, const Verdict& v) {
  if (capacity_ == 0 || v.kind == Kind::kError || v.kind == Kind::kTimeout) return;
  Stripe& s = stripe(key);
  std::lock_guard lock(s.mutex);
  if (s.at.count(key) != 0) return;
  s.used.emplace_front(key, v);
  s.at[key] = s.used.begin();
  if (s.used.size() > capacity_) {
    s.at.erase(s.used.back().first);
    s.used.pop_back();
  }
}

}  // namespace fulmen::reward
