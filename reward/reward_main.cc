// fulmen-reward: `reward` serves a run's conductor, `score` scores JSON lines from a file or stdin.

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>

#include "kernels/error.h"
#include "reward/guarded.h"
#include "reward/registry.h"
#include "reward/reward.h"
#include "reward/score_lines.h"
#include "reward/service.h"
#include "shared/base/config.h"
#include "shared/base/log.h"

namespace {

using namespace fulmen;

struct Arguments {
  reward::ServiceOptions service;
  std::string config, file;
  std::vector<std::string> overrides, functions;
  std::string kind;
  reward::RewardOptions options;
};

void run_service(Arguments& a) {
  base::Config config = base::load_config(a.config, a.overrides);
  base::open_log(a.service.name, config.run.dir + "/logs/" + a.service.name + ".log");
  a.service.config_hash = base::config_hash(config);
  reward::RewardOptions options;
  options.deadline_ms = config.reward.deadline_ms;
  options.shared = std::make_shared<reward::Shared>(static_cast<size_t>(config.reward.cache));
  if (!config.reward.golden.empty()) a.service.golden = reward::read_golden_cases(config.reward.golden);
  reward::ScoringPool pool([&] { return reward::make_reward(config.reward.functions, options); }, config.reward.threads,
                           static_cast<size_t>(config.reward.queue));
  std::string reason = reward::serve(a.service, pool);
  base::info("{}: stopped: {}", a.service.name, reason);
}

void run_score(Arguments& a) {
  if (!a.kind.empty()) a.functions.insert(a.functions.begin(), reward::function_of_kind(a.kind, ""));
  if (a.functions.empty()) a.functions.push_back("auto");
  auto function = reward::make_reward(a.functions, a.options);
  if (a.file.empty() || a.file == "-") {
    reward::score_lines(std::cin, std::cout, *function);
    return;
  }
  std::ifstream in(a.file);
  FULMEN_CHECK(in.good(), "cannot read " + a.file);
  reward::score_lines(in, std::cout, *function);
}

}  // namespace

int main(int argc, char** argv) {
  Arguments a;
  CLI::App app("Reward functions: verdicts for episodes", "fulmen-reward");
  app.require_subcommand(1);

  CLI::App* serve = app.add_subcommand("reward", "serve the conductor of a run (started by the launcher)");
  serve->add_option("--endpoint", a.service.endpoint, "where the conductor listens")->required();
  serve->add_option("--run-id", a.service.run_id, "the run's id")->required();
  serve->add_option("--name", a.service.name, "this service, e.g. reward-0")->required();
  serve->add_option("config", a.config, "the run's YAML file")->required();
  serve->add_option("overrides", a.overrides, "key.path=value");

  CLI::App* score = app.add_subcommand("score", "score JSON lines; one JSON verdict a line, in order");
  score->add_option("--kind", a.kind, "the function for every record; without it each record's kind or data_source");
  score->add_option("--profile", a.options.profile, "of math: strict, math-verify or hendrycks");
  score->add_option("--language", a.options.language, "of code: python, cpp or sh");
  score->add_option("--function", a.functions, "NAME(key=value ...)=WEIGHT; several are summed")
      ->allow_extra_args(false);
  score->add_option("--deadline-ms", a.options.deadline_ms, "per record")->check(CLI::PositiveNumber);
  score->add_option("file", a.file, "JSONL with id, kind, prompt, response, ground_truth; stdin when absent");
  score->footer(
      "Functions:\n" + reward::function_usage() +
      "\necho '{\"id\":1,\"response\":\"so #### 1,234\",\"ground_truth\":\"1234\"}' | fulmen score --kind math");

  CLI11_PARSE(app, argc, argv);
  try {
    if (*serve) {
      run_service(a);
    } else {
      run_score(a);
    }
    return 0;
  } catch (const Error& e) {
    base::error("{}", e.what());
    return 2;
  }
}
