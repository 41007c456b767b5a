#pragma once
// Byte pair encoding of one word: bytes become symbols, then the pair with the lowest rank merges, leftmost first,
// until no pair is left. Knows nothing of regular expressions, JSON or special tokens. Safe to use from many threads.

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fulmen::model {

// The printable alphabet in which tokenizer files spell bytes (GPT-2's): byte 0x20 is written as U+0120, and so on.
struct ByteAlphabet {
  std::array<std::string, 256> spelled;  // UTF-8 of each byte's character
  std::array<uint8_t, 256> order;  // bytes in the order of their characters: the first 256 ids of such vocabularies
  ByteAlphabet();
  // The bytes that a token's spelling stands for; false if it has a character outside the alphabet.
  bool to_bytes(std::string_view spelling, std::string& bytes) const;
};

struct Merge {
  int32_t left = 0, right = 0, result = 0;  // token ids; the position in the list is the rank
};

class Bpe {
 public:
  // byte_ids: the token of each single byte. Of two equal pairs the first counts.
  Bpe(const std::array<int32_t, 256>& byte_ids, const std::vector<Merge>& merges);
  ~Bpe();
  void encode_word(std::string_view bytes, std::vector<int32_t>& out) const;  // appends

 private:
  struct Pair {
    int32_t rank = 0, result = 0;
  };
  const Pair* find(int32_t left, int32_t right) const;
  void merge_word(std::string_view bytes, std::vector<int32_t>& out) const;

  struct Slot {
    uint64_t key = UINT64_MAX;
    Pair pair;
  };
  std::array<int32_t, 256> byte_ids_;
  std::vector<Slot> slots_;  // open addressing, at most half full
  uint64_t mask_ = 0;

  class Cache;  // of short words
  std::unique_ptr<Cache> cache_;
};

}  // namespace fulmen::model
