// fulmen-reward: `reward` serves a run's conductor or HTTP, `score` scores JSON lines from a file or stdin.

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <thread>

#include "kernels/error.h"
#include "reward/dataset_checks.h"
#include "reward/guarded.h"
#include "reward/http_service.h"
#include "reward/registry.h"
#include "reward/score_lines.h"
#include "reward/service.h"
#include "shared/base/config.h"
#include "shared/base/log.h"
#include "shared/base/program.h"

namespace {

using namespace fulmen;

struct Arguments {
  reward::ServiceOptions service;
  std::string config, http, file, kind, truths, golden, episodes;
  std::vector<std::string> overrides, functions, diff;
  reward::RewardOptions options;
  int workers = 1, queue = 4096, cache = 65536, shown = 20;
};

std::vector<std::string> functions_of(const Arguments& a) {
  std::vector<std::string> functions = a.functions;
  if (!a.kind.empty()) functions.insert(functions.begin(), reward::function_of_kind(a.kind, ""));
  if (functions.empty()) functions.push_back("auto");
  return functions;
}

int serve_run(Arguments& a) {
  FULMEN_CHECK(
      !a.service.endpoint.empty() && !a.service.run_id.empty() && !a.service.name.empty() && !a.config.empty(),
      "fulmen reward: want --http HOST:PORT to serve alone, or --endpoint, --run-id, --name and a config as the "
      "launcher of a run gives them");
  const base::Config config = base::load_config(a.config, a.overrides);
  base::open_log(a.service.name, config.run.dir + "/logs/" + a.service.name + ".log");
  a.service.config_hash = base::config_hash(config);
  a.options.deadline_ms = config.reward.deadline_ms;
  a.options.shared = std::make_shared<reward::Shared>(static_cast<size_t>(config.reward.cache));
  if (!config.reward.golden.empty()) a.service.golden = reward::read_golden_cases(config.reward.golden);
  reward::ScoringPool pool([&] { return reward::make_reward(config.reward.functions, a.options); },
                           config.reward.threads, static_cast<size_t>(config.reward.queue));
  try {
    base::info("{}: stopped: {}", a.service.name, reward::serve(a.service, pool));
    return 0;
  } catch (const Error& e) {  // not the configuration's fault: the conductor may start it again
    base::error("{}", e.what());
    return 1;
  }
}

int serve_http(Arguments& a) {
  reward::HttpServiceOptions http;
  reward::parse_address(a.http, http);
  a.options.shared = std::make_shared<reward::Shared>(static_cast<size_t>(a.cache));
  const auto make = [&] { return reward::make_reward(functions_of(a), a.options); };
  if (!a.golden.empty()) {
    const auto wrong = reward::check_golden_cases(reward::read_golden_cases(a.golden), *make());
    for (const std::string& text : wrong) base::error("golden: {}", text);
    FULMEN_CHECK(wrong.empty(), fmt::format("{} golden cases have another verdict: not started", wrong.size()));
  }
  const reward::StopSignals signals;  // before any thread is started
  reward::ScoringPool pool(make, a.workers, static_cast<size_t>(a.queue));
  reward::HttpService service(http, pool, *a.options.shared);
  std::thread serving([&] { service.run(); });
  base::info("rewards ({}) on http://{}:{}: POST /score /get_reward /rm, GET /metrics /health; {} workers",
             pool.version(), http.host, service.port(), a.workers);
  signals.wait();
  base::info("stopping");
  service.stop();
  serving.join();
  return 0;
}

int run_score(Arguments& a) {
  if (!a.diff.empty()) {
    FULMEN_CHECK(!a.episodes.empty(), "score --diff OLD NEW: want --episodes RUN, a run directory or a JSONL file");
    const auto old_function = a.diff[0] == "recorded" ? nullptr : reward::make_reward({a.diff[0]}, a.options);
    const auto new_function = reward::make_reward({a.diff[1]}, a.options);
    reward::diff_verdicts(a.episodes, old_function.get(), *new_function, static_cast<size_t>(a.shown), std::cout);
    return 0;
  }
  const auto function = reward::make_reward(functions_of(a), a.options);
  if (!a.truths.empty()) return reward::check_truths(a.truths, *function, std::cout).refused == 0 ? 0 : 1;
  if (a.file.empty() || a.file == "-") {
    reward::score_lines(std::cin, std::cout, *function);
    return 0;
  }
  std::ifstream in(a.file);
  FULMEN_CHECK(in.good(), "cannot read " + a.file);
  reward::score_lines(in, std::cout, *function);
  return 0;
}

void add_functions(CLI::App& app, Arguments& a) {
  app.add_option("--kind", a.kind, "the function for every record; without it each record's kind or data_source");
  app.add_option("--profile", a.options.profile, "of math: strict, math-verify or hendrycks");
  app.add_option("--language", a.options.language, "of code: python, c, cpp or shell");
  app.add_option("--function", a.functions, "NAME(key=value ...)=WEIGHT; several are summed")->allow_extra_args(false);
  app.add_option("--deadline-ms", a.options.deadline_ms, "of one call")->check(CLI::PositiveNumber);
  app.footer("Functions:\n" + reward::function_usage());
}

}  // namespace

int main(int argc, char** argv) {
  Arguments a;
  CLI::App app("Reward functions: verdicts for episodes", "fulmen");
  app.require_subcommand(1);

  CLI::App* serve = app.add_subcommand("reward", "serve a run (started by its launcher), or anybody over HTTP");
  add_functions(*serve, a);
  serve->add_option("--http", a.http,
                    "HOST:PORT to serve without a run; POST /score, /get_reward (OpenRLHF), /rm (slime)");
  serve->add_option("--workers", a.workers, "--http: scoring threads")->check(CLI::PositiveNumber);
  serve->add_option("--queue", a.queue, "--http: records taken in before clients wait")->check(CLI::PositiveNumber);
  serve->add_option("--cache", a.cache, "--http: verdicts remembered")->check(CLI::NonNegativeNumber);
  serve->add_option("--golden", a.golden, "--http: JSONL of records with the \"score\" they must get before it starts");
  serve->add_option("--endpoint", a.service.endpoint, "where the conductor listens");
  serve->add_option("--run-id", a.service.run_id, "the run's id");
  serve->add_option("--name", a.service.name, "this service, e.g. reward-0");
  serve->add_option("config", a.config, "the run's YAML file");
  serve->add_option("overrides", a.overrides, "key.path=value");

  CLI::App* score = app.add_subcommand("score", "score JSON lines; one JSON verdict a line, in order");
  add_functions(*score, a);
  score->add_option(
      "--golden", a.truths,
      "lists the records of this JSONL file whose ground truths (tests, puzzles) cannot be used, by line; "
      "exit code 0: none, 1: some, 2: the file cannot be read");
  score->add_option("--diff", a.diff, "OLD NEW: which verdicts NEW would change; OLD may be \"recorded\"")->expected(2);
  score->add_option("--episodes", a.episodes, "--diff: a run directory, or a JSONL file of episodes");
  score->add_option("--shown", a.shown, "--diff: changed episodes to list")->check(CLI::NonNegativeNumber);
  score->add_option("file", a.file, "JSONL with id, kind, prompt, response, ground_truth; stdin when absent");

  return base::run_program(app, argc, argv, [&] {
    try {
      return *score ? run_score(a) : a.http.empty() ? serve_run(a) : serve_http(a);
    } catch (const Error& e) {
      throw base::ConfigError(e.what());  // no verdict was given: 1 says that some ground truths are unreadable
    }
  });
}
