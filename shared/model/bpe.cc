#include "shared/model/bpe.h"

#include <algorithm>
#include <bit>
#include <mutex>
#include <unordered_map>

#include "shared/base/file.h"

namespace fulmen::model {
namespace {

std::string utf8(uint32_t c) {  // below U+0800
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 63))};
}

bool spelled_as_itself(int b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; }

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

uint64_t spread(uint64_t key) {
  key *= 0x9E3779B97F4A7C15ull;
  return key ^ (key >> 29);
}

struct Symbol {
  int32_t id, previous, next;  // neighbours by place in the list; -1: none
};

// A pair that may merge. It is stale, and skipped, once either side has changed.
struct Candidate {
  int32_t rank, place, left, right, result;
  bool operator<(const Candidate& o) const { return rank != o.rank ? rank > o.rank : place > o.place; }  // best on top
};

}  // namespace

ByteAlphabet::ByteAlphabet() {
  size_t n = 0;
  for (int b = 0; b < 256; ++b)
    if (spelled_as_itself(b)) {
      spelled[static_cast<size_t>(b)] = utf8(static_cast<uint32_t>(b));
      order[n++] = static_cast<uint8_t>(b);
    }
  uint32_t next = 256;
  for (int b = 0; b < 256; ++b)
    if (!spelled_as_itself(b)) {
      spelled[static_cast<size_t>(b)] = utf8(next++);
      order[n++] = static_cast<uint8_t>(b);
    }
}

bool ByteAlphabet::to_bytes(std::string_view spelling, std::string& bytes) const {
  static const std::unordered_map<std::string_view, uint8_t> reverse = [] {
    static const ByteAlphabet alphabet;
    std::unordered_map<std::string_view, uint8_t> map;
    for (size_t b = 0; b < 256; ++b) map.emplace(alphabet.spelled[b], static_cast<uint8_t>(b));
    return map;
  }();
  bytes.clear();
  for (size_t i = 0; i < spelling.size();) {
    const size_t length = static_cast<uint8_t>(spelling[i]) < 0x80 ? 1 : 2;
    auto it = reverse.find(spelling.substr(i, length));
    if (it == reverse.end()) return false;
    bytes.push_back(static_cast<char>(it->second));
    i += length;
  }
  return true;
}

// Words repeat, and a look-up is many times cheaper than merging. Sharded so that threads seldom meet; a full shard is
// emptied, which bounds the memory at some tens of MB.
class Bpe::Cache {
 public:
  static constexpr size_t kMaxWord = 48;

  bool get(std::string_view word, std::vector<int32_t>& out) {
    Shard& shard = shard_of(word);
    std::lock_guard lock(shard.mutex);
    auto it = shard.words.find(word);
    if (it == shard.words.end()) return false;
    out.insert(out.end(), it->second.begin(), it->second.end());
    return true;
  }

  void put(std::string_view word, const int32_t* begin, const int32_t* end) {
    Shard& shard = shard_of(word);
    std::lock_guard lock(shard.mutex);
    if (shard.words.size() >= kMaxWords) shard.words.clear();
    shard.words.try_emplace(std::string(word), begin, end);
  }

 private:
  static constexpr size_t kShards = 32, kMaxWords = 8192;
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return base::digest64(s.data(), s.size()); }
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::string, std::vector<int32_t>, Hash, std::equal_to<>> words;
  };
  Shard& shard_of(std::string_view word) { return shards_[base::digest64(word.data(), word.size(), 1) % kShards]; }
  std::array<Shard, kShards> shards_;
};

Bpe::Bpe(const std::array<int32_t, 256>& byte_ids, const std::vector<Merge>& merges)
    : byte_ids_(byte_ids), cache_(std::make_unique<Cache>()) {
  slots_.resize(std::bit_ceil(2 * merges.size() + 2));
  mask_ = slots_.size() - 1;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const uint64_t key = pair_key(merges[rank].left, merges[rank].right);
    uint64_t at = spread(key) & mask_;
    while (slots_[at].key != UINT64_MAX && slots_[at].key != key) at = (at + 1) & mask_;
    if (slots_[at].key != key) slots_[at] = {key, {static_cast<int32_t>(rank), merges[rank].result}};
  }
}

Bpe::~Bpe() = default;

const Bpe::Pair* Bpe::find(int32_t left, int32_t right) const {
  const uint64_t key = pair_key(left, right);
  for (uint64_t at = spread(key) & mask_; slots_[at].key != UINT64_MAX; at = (at + 1) & mask_)
    if (slots_[at].key == key) return &slots_[at].pair;
  return nullptr;
}

void Bpe::encode_word(std::string_view bytes, std::vector<int32_t>& out) const {
  if (bytes.size() > Cache::kMaxWord) return merge_word(bytes, out);
  if (cache_->get(bytes, out)) return;
  const size_t before = out.size();
  merge_word(bytes, out);
  cache_->put(bytes, out.data() + before, out.data() + out.size());
}

// A linked list of symbols and a heap of candidate pairs: n log n, also for a megabyte without a space.
void Bpe::merge_word(std::string_view bytes, std::vector<int32_t>& out) const {
  const auto n = static_cast<int32_t>(bytes.size());
  std::vector<Symbol> symbols(bytes.size());
  std::vector<Candidate> heap;
  auto push = [&](int32_t place) {
    if (place < 0 || symbols[static_cast<size_t>(place)].next < 0) return;
    const Symbol& left = symbols[static_cast<size_t>(place)];
    const Symbol& right = symbols[static_cast<size_t>(left.next)];
    if (const Pair* pair = find(left.id, right.id)) {
      heap.push_back({pair->rank, place, left.id, right.id, pair->result});
      std::push_heap(heap.begin(), heap.end());
    }
  };
  for (int32_t i = 0; i < n; ++i)
    symbols[static_cast<size_t>(i)] = {byte_ids_[static_cast<uint8_t>(bytes[static_cast<size_t>(i)])], i - 1,
                                       i + 1 < n ? i + 1 : -1};
  for (int32_t i = 0; i < n; ++i) push(i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate best = heap.back();
    heap.pop_back();
    Symbol& left = symbols[static_cast<size_t>(best.place)];
    if (left.id != best.left || left.next < 0 || symbols[static_cast<size_t>(left.next)].id != best.right) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    left.id = best.result;
    left.next = right.next;
    right.id = -1;  // swallowed: no candidate that starts here may match again
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = best.place;
    push(left.previous);
    push(best.place);
  }
  for (int32_t i = n > 0 ? 0 : -1; i >= 0; i = symbols[static_cast<size_t>(i)].next)
    out.push_back(symbols[static_cast<size_t>(i)].id);
}

}  // namespace fulmen::model
