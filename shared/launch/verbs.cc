#include "shared/launch/verbs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "shared/base/config.h"
#include "shared/launch/arguments.h"
#include "shared/launch/diff.h"
#include "shared/launch/doctor.h"
#include "shared/launch/report.h"
#include "shared/launch/tool.h"
#include "shared/launch/top.h"

namespace fulmen::launch {
namespace {

constexpr char kRun[] = "Run", kLook[] = "Look", kModel[] = "Models and data", kCheck[] = "Check", kRole[] = "One role";

// `test` is the root wrapper's: the tests are not part of an installed program.
int tests_are_elsewhere(const Words&) { throw UsageError("the tests run from a checkout: ./fulmen test"); }

const Verb* find_verb(const std::string& name) {
  const auto& verbs = all_verbs();
  const auto match = std::find_if(verbs.begin(), verbs.end(), [&](const Verb& v) { return v.name == name; });
  return match == verbs.end() ? nullptr : &*match;
}

// The root wrapper builds these two when they are first asked for.
bool is_built_on_demand(const Verb& verb) { return verb.name == "bench" || verb.name == "selftest"; }

bool is_at_hand(const Verb& verb, const std::string& directory) {
  return verb.tool.empty() || is_built_on_demand(verb) || is_executable(directory + "/" + verb.tool);
}

std::string front_help(const std::string& directory) {
  std::string text =
      "fulmen VERB ...   reinforcement learning for hybrid lightning-attention models, exact to the bit\n";
  std::string group;
  for (const Verb& verb : all_verbs()) {
    if (!is_at_hand(verb, directory)) continue;
    if (verb.group != group) {
      group = verb.group;
      text += "\n" + group + "\n";
    }
    text += fmt::format("  {:<10} {}\n", verb.name, verb.sentence);
  }
  return text +
         "\nfulmen VERB --help shows a verb's options; fulmen help config lists every configuration key.\n"
         "Exit codes: 0 ok, 1 failure, 2 wrong usage or configuration,\n"
         "75 stopped by a signal and resumable.\n";
}

int print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  return 0;
}

int run_verb(const Verb& verb, const Words& words, const std::string& directory) {
  if (verb.tool.empty()) return verb.run(words);
  const std::string path = directory + "/" + verb.tool;
  if (!is_executable(path)) throw Error(verb.name + ": its program is not built: want " + path);
  Words arguments = words;
  if (verb.tool_takes_verb) arguments.insert(arguments.begin(), verb.name);
  become(path, arguments);
}

[[noreturn]] void reject_verb(const std::string& word) {
  std::vector<std::string> names{"help"};
  for (const Verb& verb : all_verbs()) names.push_back(verb.name);
  const std::string near = base::nearest(word, names);
  throw UsageError("unknown verb " + word +
                   (near.empty() ? "; fulmen help lists them" : ", did you mean " + near + "?"));
}

int run_words(const Words& words, const std::string& directory) {
  if (words.empty() || words[0] == "--help" || words[0] == "-h") return print(front_help(directory));
  if (words[0] == "--version") return print("fulmen " FULMEN_VERSION "\n");
  if (words[0] == "help") {
    if (words.size() == 1 || words[1] == "--help" || words[1] == "-h") return print(front_help(directory));
    if (words[1] == "config") return print(base::config_help());
    const Verb* verb = find_verb(words[1]);
    if (verb == nullptr) reject_verb(words[1]);
    return run_verb(*verb, {"--help"}, directory);
  }
  const Verb* verb = find_verb(words[0]);
  if (verb == nullptr) reject_verb(words[0]);
  return run_verb(*verb, Words(words.begin() + 1, words.end()), directory);
}

}  // namespace

const std::vector<Verb>& all_verbs() {
  static const std::vector<Verb> verbs{
      {"train", kRun, "the whole run a configuration describes: cold start, RL, evaluation, export", "fulmen-learner"},
      {"sft", kRun, "supervised fine-tuning on worked examples", "fulmen-learner"},
      {"eval", kRun, "greedy accuracy on held-out problems", "fulmen-learner"},
      {"generate", kRun, "complete a prompt with a model, as it is written", "fulmen-rollout"},
      {"score", kRun, "JSON lines of responses in, one verdict a line out", "fulmen-reward"},
      {"plan", kRun, "what a configuration would start, and whether it fits this machine", "fulmen-learner"},
      {"replay", kLook, "a recorded step once more: the same bits, or the first that is not", "fulmen-learner"},
      {"report", kLook, "a run as one HTML page: curves, facts, completions to read", "", false, run_report},
      {"top", kLook, "the newest numbers of a run, redrawn while it goes on", "", false, run_top},
      {"diff", kLook, "where two runs part: configuration, metrics, exported bytes", "", false, run_diff},
      {"inspect", kModel, "tensors, parameters and bytes of a checkpoint or a config.json", "fulmen-model"},
      {"import", kModel, "check a Hugging Face checkpoint and write it in M1's layout", "fulmen-model"},
      {"export", kModel, "write a run's checkpoint as a Hugging Face directory", "fulmen-model"},
      {"convert", kModel, "a published data set into the JSONL records a run reads", "fulmen-model"},
      {"tokenize", kModel, "text into token ids and back", "fulmen-model"},
      {"task", kModel, "logic puzzles: list them, generate records, verify answers", "fulmen-task"},
      {"doctor", kCheck, "what this machine offers and what is in the way", "", false, run_doctor},
      {"selftest", kCheck, "bitwise and gradient checks of the kernels on this machine", "fulmen-selftest", false},
      {"bench", kCheck, "speed against other libraries and the limits of this machine", "fulmen-bench", false},
      {"test", kCheck, "build and run the tests (from a checkout)", "", false, tests_are_elsewhere},
      {"learner", kRole, "a learner rank above 0, as rank 0 starts it", "fulmen-learner"},
      {"rollout", kRole, "a rollout worker, as the launcher starts it", "fulmen-rollout"},
      {"reward", kRole, "a reward service, as the launcher starts it", "fulmen-reward"},
  };
  return verbs;
}

int run_front(const Words& arguments, const std::string& directory) {
  try {
    return run_words(arguments, directory);
  } catch (const UsageError& e) {
    fmt::print(stderr, "fulmen: {}\n", e.what());
    return 2;
  } catch (const base::ConfigError& e) {
    fmt::print(stderr, "fulmen: {}\n", e.what());
    return 2;
  } catch (const std::exception& e) {
    fmt::print(stderr, "fulmen: {}\n", e.what());
    return 1;
  }
}

}  // namespace fulmen::launch
