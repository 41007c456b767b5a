#include "kernels/cuda/arena.h"

#include <algorithm>
#include <iterator>

namespace fulmen::kernels::cuda {
namespace {

size_t rounded(size_t bytes) {
  return (std::max(bytes, size_t{1}) + Arena::kAlign - 1) / Arena::kAlign * Arena::kAlign;
}

}  // namespace

Arena::~Arena() {
  for (const auto& [begin, bytes] : pieces_) source_.give(begin);
}

bool Arena::grow(size_t bytes) {
  auto* begin = static_cast<char*>(source_.take(bytes));
  if (begin == nullptr) return false;
  pieces_[begin] = bytes;
  free_[begin] = bytes;
  held_ += bytes;
  return true;
}

bool Arena::reserve(size_t bytes) {
  const size_t need = rounded(bytes);
  const auto fits = [need](const auto& range) { return range.second >= need; };
  return std::any_of(free_.begin(), free_.end(), fits) || grow(need);
}

// The smallest range that is large enough: the large ones stay whole for those who need them.
void* Arena::take(size_t bytes) {
  const size_t need = rounded(bytes);
  const auto best_of = [&] {
    auto best = free_.end();
    for (auto r = free_.begin(); r != free_.end(); ++r)
      if (r->second >= need && (best == free_.end() || r->second < best->second)) best = r;
    return best;
  };
  auto best = best_of();
  if (best == free_.end()) {
    if (!grow(need)) return nullptr;
    best = best_of();
  }
  char* const begin = best->first;
  const size_t left = best->second - need;
  free_.erase(best);
  if (left > 0) free_[begin + need] = left;
  used_[begin] = need;
  in_use_ += need;
  return begin;
}

bool Arena::give(void* p) {
  const auto u = used_.find(static_cast<char*>(p));
  if (u == used_.end()) return false;
  auto [begin, bytes] = *u;
  used_.erase(u);
  in_use_ -= bytes;
  const auto piece = std::prev(pieces_.upper_bound(begin));
  const auto after = free_.find(begin + bytes);
  if (after != free_.end() && begin + bytes < piece->first + piece->second) {
    bytes += after->second;
    free_.erase(after);
  }
  auto before = free_.lower_bound(begin);
  if (before != free_.begin() && begin > piece->first) {
    --before;
    if (before->first + before->second == begin) {
      before->second += bytes;
      return true;
    }
  }
  free_[begin] = bytes;
  return true;
}

void Arena::trim() {
  for (auto p = pieces_.begin(); p != pieces_.end();) {
    const auto f = free_.find(p->first);
    if (f == free_.end() || f->second != p->second) {
      ++p;
      continue;
    }
    free_.erase(f);
    held_ -= p->second;
    source_.give(p->first);
    p = pieces_.erase(p);
  }
}

}  // namespace fulmen::kernels::cuda
