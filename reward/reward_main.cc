// fulmen-reward: `reward` serves a run's conductor, `score` scores JSON lines from a file or stdin.

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>

#include "kernels/error.h"
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
  std::vector<std::string> overrides, functions{"math"};
  int deadline_ms = 10000;
};

void run_service(Arguments& a) {
  base::Config config = base::load_config(a.config, a.overrides);
  base::open_log(a.service.name, config.run.dir + "/logs/" + a.service.name + ".log");
  a.service.config_hash = base::config_hash(config);
  auto function = reward::make_reward(config.reward.functions, config.reward.deadline_ms);
  std::string reason = reward::serve(a.service, *function);
  base::info("{}: stopped: {}", a.service.name, reason);
}

void run_score(const Arguments& a) {
  auto function = reward::make_reward(a.functions, a.deadline_ms);
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
  score->add_option("--function", a.functions, "math, format or python:FILE.py:FUNCTION, each optionally =WEIGHT")
      ->allow_extra_args(false);
  score->add_option("--deadline-ms", a.deadline_ms, "per record")->check(CLI::PositiveNumber);
  score->add_option("file", a.file, "JSONL with id, data_source, prompt, response, ground_truth; stdin when absent");
  score->footer(
      "echo '{\"id\":1,\"data_source\":\"gsm8k\",\"response\":\"so #### 1,234\",\"ground_truth\":\"1234\"}' | fulmen "
      "score");

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
