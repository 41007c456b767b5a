#include <fmt/core.h>

#include "kernels/error.h"
#include "reward/functions.h"

namespace fulmen::reward {
namespace {

// Characters as a reader counts them: bytes that begin one.
int64_t characters(const std::string& text) {
  int64_t n = 0;
  for (const char c : text) n += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return n;
}

class Length : public Function {
 public:
  explicit Length(const LengthOptions& options)
      : options_(options),
        version_(fmt::format("length-1/{}/{}/{}", options.limit, options.soft, options.tokens ? "tokens" : "chars")) {}

  const std::string& name() const override { return name_; }
  const std::string& version() const override { return version_; }
  bool wants_reasoning() const override { return true; }
  bool wants_truth() const override { return false; }

  Verdict score(const Record& r) override {
    if (options_.tokens && r.tokens < 0)
      return make_verdict(Kind::kError, 0, "the record has no \"tokens\"; length(unit=chars) counts characters");
    const int64_t n = options_.tokens ? r.tokens : characters(r.response);
    const int64_t free = options_.limit - options_.soft;
    double score = 0;
    if (n > options_.limit) {
      score = -1;
    } else if (n > free) {
      score = static_cast<double>(free - n) / static_cast<double>(options_.soft);
    }
    return make_verdict(Kind::kScore, score, score < 0 ? fmt::format("{} of {}", n, options_.limit) : "");
  }

 private:
  LengthOptions options_;
  std::string name_ = "length", version_;
};

}  // namespace

std::unique_ptr<Function> make_length(const LengthOptions& options) {
  FULMEN_CHECK(options.soft >= 0 && options.soft <= options.limit,
               fmt::format("length: got soft={}, want 0..limit={}", options.soft, options.limit));
  return std::make_unique<Length>(options);
}

}  // namespace fulmen::reward
