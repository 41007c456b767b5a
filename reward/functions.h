#pragma once
// The built-in reward functions. The registry (registry.cc) puts them together from names; a user's function comes in
// by python_host.

#include <memory>
#include <string>

#include "reward/reward.h"

namespace fulmen::reward {

// "format": 1 when the response is one reasoning between one pair of <think> and </think>, at the very beginning and
// with at least `words` words, and then something else; else 0. The opening tag may be the end of the prompt.
struct FormatOptions {
  bool tags_required = true;  // false: a response without any tag is fine too
  bool final_answer =
      false;  // true: after the reasoning exactly one final answer (math/answer_text.h), and it ends the text
  int words = 1;
};
std::unique_ptr<Function> make_format(const FormatOptions& options);

// "length": the soft overlong penalty of DAPO (arXiv 2503.14476, equation 13): 0 up to limit - soft, falling to -1 at
// the limit, -1 beyond. In the record's `tokens`, or in characters.
struct LengthOptions {
  int64_t limit = 4096, soft = 512;
  bool tokens = true;
};
std::unique_ptr<Function> make_length(const LengthOptions& options);

// "language": the share of a response's letters, reasoning included, that are of the script of the wanted language
// (en, zh, ...; "prompt": the script that most letters of the prompt have). Formulas between dollars, \commands and
// code between ``` have no language. It tells scripts apart, not English from French.
std::unique_ptr<Function> make_language(const std::string& want);

}  // namespace fulmen::reward
