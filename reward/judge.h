#pragma once
// "judge": a generative reward model behind an OpenAI-style server (POST /v1/chat/completions), in the two forms of
// M1's report: verification on five grades against a ground truth, and comparison with a reference answer (-1, 0, 1).
//
// A judge can be talked to, so: what the response says stands between two lines with a random number of this request
// and is declared to be data; the judge ends with one line of a fixed form, and only the last line of its text is read;
// empty and very short responses and the known master keys (":", "Solution", "Let's solve this problem step by step.",
// arXiv 2507.08794) are graded worst by rule, without asking. A comparison is asked twice with the positions swapped;
// when the two disagree it is 0. Sampling is greedy. What the server does wrong is a verdict that is no score: timeout
// (deadline), error (status, garbage, truncated text), undecided (no grade in the last line).

#include <memory>
#include <string>

#include "reward/reward.h"

namespace fulmen::reward {

struct JudgeOptions {
  std::string url;  // http://host:port, /v1/chat/completions is added when there is no path
  std::string model = "judge";
  bool pairwise = false;    // the record's reference: extra_info.reference, else its ground truth
  int min_chars = 2;        // fewer letters and digits: worst grade by rule
  int max_tokens = 2048;    // of the judge
  int deadline_ms = 60000;  // of all attempts for one record
  int attempts = 4;
  std::string key_variable = "FULMEN_JUDGE_KEY";  // environment variable with the bearer token; may be unset
  size_t cached = 65536;                          // answers remembered by (model, question)
};

// Score of a verification: 0, 0.25, 0.5, 0.75, 1 for grades 1 to 5; component "grade". Of a comparison: -1, 0 or 1;
// component "agreed" is 0 when the two orders disagreed.
std::unique_ptr<Function> make_judge(const JudgeOptions& options);

// What the judge said, or why there is nothing: kError for what is no answer of such a server, kUndecided for a text
// cut by its limit, which has not come to its last line.
struct JudgeReply {
  std::string text;
  Kind kind = Kind::kScore;
  std::string why;
};
JudgeReply read_judge_reply(const std::string& body);

// The number in the last line that is not blank when that line is exactly `Grade: N` (case and ** do not matter), N in
// low..high; -1 for anything else.
int read_grade(const std::string& text, int low, int high);

// "A", "B" or "tie" of a last line `Better: ...`; 0 for anything else, else 'A', 'B' or 'T'.
char read_preference(const std::string& text);

// Why a response is graded worst without asking; empty when it is to be asked about.
std::string rule_against(const std::string& response, const std::string& truth, int min_chars);

}  // namespace fulmen::reward
