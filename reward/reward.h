#pragma once
// Verdicts. A reward function looks at one record and returns a typed verdict; it never silently returns 0: timeout,
// error, unparsable and undecided are their own kinds, and only scores enter an advantage. Host only: includes
// shared/base, shared/wire.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace fulmen::reward {

struct Record {
  std::string id;    // any JSON scalar, kept verbatim
  std::string kind;  // a function's name (math, code, ...) or a logic task's; may be empty
  std::string data_source;
  std::string prompt, response, ground_truth;
  std::string extra_info = "{}";  // JSON object; top-level fields of the record that have no place above are in it too
  int deadline_ms = 0;            // for this record, from the start of its scoring; 0 = the function's own limit alone
  int64_t tokens = -1;            // of the response; -1 = not known
  bool fresh = false;             // true: a remembered verdict will not do
  bool has_truth = true;          // false: the record came without a ground_truth
};

// kUnparsable: no answer to be read in the response, or (truth_at_fault) nothing in the ground truth. kUndecided: an
// answer was read, and the verifier cannot tell. kError: the record, the function or the sandbox is at fault, never the
// response.
enum class Kind { kScore, kTimeout, kError, kUnparsable, kUndecided };
const char* kind_name(Kind k);  // "score" ...

struct Verdict {
  Kind kind = Kind::kScore;
  double score = 0;                                        // any finite number; negative ones are fine
  std::vector<std::pair<std::string, double>> components;  // function name -> its score; further numbers it reported
  std::string detail;                                      // why, in a few words
  std::string version;                                     // of the function that gave it
  double ms = 0;
  // Of kUnparsable. No response is to blame, so a run counts it as an error: it is never a 0 (reward.unparsable: zero),
  // and too many of them pause the run.
  bool truth_at_fault = false;
};

Verdict make_verdict(Kind kind, double score, std::string detail);
std::string verdict_text(const Verdict& v);  // in a table: "score 1", "timeout"

// One instance is used by one thread at a time.
class Function {
 public:
  virtual ~Function() = default;
  virtual const std::string& name() const = 0;
  // A text that changes whenever verdicts may change (options, a user's file): key of the result cache.
  virtual const std::string& version() const = 0;
  // Within its deadline; expected trouble is a verdict, not an exception. What is thrown becomes an error verdict.
  virtual Verdict score(const Record& r) = 0;
  // One verdict for each record, in order. Overridden by functions that are faster on many at once.
  virtual std::vector<Verdict> score_all(std::span<const Record> records);
  // What keeps this record from being scored whatever the response (`response` is not looked at), empty when nothing
  // does: the question of `fulmen score --golden`. Unless overridden: whether the ground truth is accepted as its own
  // answer, as it is, in a \boxed{}, or in <answer> tags.
  virtual std::string truth_problem(const Record& r);
  virtual size_t batch() const { return 1; }  // how many records score_all would like at once
  // False: `response` is what follows </think>, cut by the caller, and an unclosed <think> never gets here (it is
  // unparsable). True: the response as it was generated.
  virtual bool wants_reasoning() const { return false; }
  // True: a record without a ground_truth is an error and never gets here.
  virtual bool wants_truth() const { return true; }
  // False: the same record may give another verdict (a judge, a user's server), so nothing is cached.
  virtual bool repeatable() const { return true; }
};

class Shared;  // guarded.h: cache, metrics and limits of one process

struct RewardOptions {
  int deadline_ms = 10000;  // of one call
  uint64_t memory_bytes =
      uint64_t{32} << 30;             // address space of a user's process; libraries map far more than they use
  std::shared_ptr<Shared> shared{};   // none: nothing cached, nothing measured, no limit on concurrency
  std::string profile{}, language{};  // for the functions that have such an option and do not set it
};

// specs: function_spec.h; the names are listed by `fulmen score --help`. Several functions: weighted sum; the first
// verdict that is not a score decides the kind. "auto" takes the function that each record's `kind` or `data_source`
// names. Throws Error for an unknown name (nearest known named), or a user's function that does not load.
std::unique_ptr<Function> make_reward(const std::vector<std::string>& specs, const RewardOptions& options = {});

}  // namespace fulmen::reward
