#include "reward/code/checker.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <optional>

namespace fulmen::reward {
namespace {

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v'; }

class Tokens {
 public:
  explicit Tokens(std::string_view text) : text_(text) {}
  std::optional<std::string_view> next() {
    while (at_ < text_.size() && is_space(text_[at_])) at_++;
    if (at_ == text_.size()) return std::nullopt;
    const size_t begin = at_;
    while (at_ < text_.size() && !is_space(text_[at_])) at_++;
    return text_.substr(begin, at_ - begin);
  }

 private:
  std::string_view text_;
  size_t at_ = 0;
};

std::optional<double> number(std::string_view token) {
  if (!token.empty() && token[0] == '+') token.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
  if (error != std::errc() || end != token.data() + token.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

bool tokens_agree(const Checker& c, std::string_view expected, std::string_view got) {
  if (expected == got) return true;
  if (c.kind == Checker::Kind::kTokens) return false;
  if (c.kind == Checker::Kind::kAuto && expected.find_first_of(".eE") == std::string_view::npos) return false;
  const auto want = number(expected), have = number(got);
  if (!want || !have) return false;
  return std::abs(*want - *have) <= c.tolerance * std::max(1.0, std::abs(*want));
}

std::string_view without_trailing_space(std::string_view text) {
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::string_view take_line(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return without_trailing_space(line);
}

std::string shown(std::optional<std::string_view> token) {
  if (!token) return "nothing more";
  return fmt::format("\"{}{}\"", token->substr(0, 60), token->size() > 60 ? "..." : "");
}

}  // namespace

bool outputs_agree(const Checker& checker, std::string_view expected, std::string_view got) {
  if (checker.kind == Checker::Kind::kExact) {
    expected = without_trailing_space(expected);
    got = without_trailing_space(got);
    while (!expected.empty() || !got.empty()) {
      if (expected.empty() || got.empty() || take_line(expected) != take_line(got)) return false;
    }
    return true;
  }
  Tokens a(expected), b(got);
  for (;;) {
    const auto want = a.next(), have = b.next();
    if (!want || !have) return !want && !have;
    if (!tokens_agree(checker, *want, *have)) return false;
  }
}

std::string first_difference(std::string_view expected, std::string_view got) {
  Tokens a(expected), b(got);
  for (int word = 1;; word++) {
    const auto want = a.next(), have = b.next();
    if (!want && !have) return "white space";
    if (want != have) return fmt::format("word {}: got {}, want {}", word, shown(have), shown(want));
  }
}

}  // namespace fulmen::reward
