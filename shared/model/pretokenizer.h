#pragma once
// Cuts text into the words that BPE may not merge across, by a sequence of regular expressions: each cuts the pieces of
// the one before into its matches and what lies between them. PCRE2 with Unicode properties. Safe to use from many
// threads.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fulmen::model {

extern const char* const kGpt2Pattern;
extern const char* const kO200kPattern;

class Pretokenizer {
 public:
  // Throws Error naming `where` and the place in the pattern that PCRE2 refuses. No patterns: the text is one word.
  Pretokenizer(const std::vector<std::string>& patterns, const std::string& where);
  ~Pretokenizer();

  // Calls `word` with consecutive pieces that make up `text`, any bytes. Runs that are not UTF-8 are words of their
  // own.
  void split(std::string_view text, const std::function<void(std::string_view)>& word) const;

 private:
  struct Pattern;
  void split_from(size_t pattern, std::string_view text, const std::function<void(std::string_view)>& word) const;
  std::vector<std::unique_ptr<Pattern>> patterns_;
};

// Length of the longest valid UTF-8 prefix.
size_t valid_utf8_prefix(std::string_view text);

// Unicode NFC of the valid runs; other bytes stay as they are.
std::string nfc(std::string_view text);

}  // namespace fulmen::model
