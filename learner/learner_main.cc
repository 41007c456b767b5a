// fulmen-learner: the verbs that the learner carries out: train, sft, eval. Learner rank 0 conducts.

#include <CLI/CLI.hpp>
#include <cstdio>

#include "learner/dataset.h"
#include "learner/evaluation.h"
#include "learner/plan.h"
#include "learner/ranks.h"
#include "learner/replay.h"
#include "learner/train_run.h"
#include "shared/base/config.h"
#include "shared/base/log.h"
#include "shared/base/program.h"
#include "shared/launch/stop_signal.h"

namespace {

using namespace fulmen;

struct Arguments {
  std::string config;
  std::vector<std::string> overrides;
  bool resume = false, fresh = false, print_config = false;
};

constexpr char kOverrides[] = "key.path=value ...; `fulmen help config` lists the keys";

// A verb's callback: a stop that somebody asked for is no failure, but has an exit code of its own.
std::function<void()> unless_stopped(int& code, std::function<void()> f) {
  return [&code, f = std::move(f)] {
    try {
      f();
    } catch (const launch::Stopped& e) {
      base::info("{}", e.what());
      code = launch::kStoppedExit;
    }
  };
}

void add_run_verb(CLI::App& app, const std::string& name, const std::string& what, Arguments& a, int& code,
                  std::function<void()> f) {
  CLI::App* verb = app.add_subcommand(name, what);
  verb->add_option("config", a.config, "YAML file; configs/README.md lists them")->required();
  verb->add_option("overrides", a.overrides, kOverrides);
  if (name != "eval" && name != "plan") {
    verb->add_flag("--resume", a.resume, "go on from the newest checkpoint of run.dir");
    verb->add_flag("--fresh", a.fresh, "throw away what run.dir holds");
  }
  verb->add_flag("--print-config", a.print_config, "print every key with its origin and stop");
  verb->callback(unless_stopped(code, std::move(f)));
}

learner::Start start_of(const Arguments& a) {
  if (a.resume && a.fresh) throw base::ConfigError("--resume and --fresh exclude each other");
  return a.resume ? learner::Start::kResume : a.fresh ? learner::Start::kFresh : learner::Start::kNew;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Fulmen's learner: training runs and evaluation", "fulmen"};
  app.require_subcommand(1);
  Arguments a;
  int code = 0;
  const auto load = [&](void (*check)(const base::Config&)) {
    base::Config c = base::load_config(a.config, a.overrides);
    if (a.print_config) {
      std::fputs(base::to_yaml(c, true).c_str(), stdout);
      std::exit(0);
    }
    check(c);
    learner::check_data(c);
    return c;
  };
  add_run_verb(app, "train", "run the whole loop: cold start, RL, evaluation, export", a, code,
               [&] { learner::run_training(load(base::validate_for_train), start_of(a)); });
  add_run_verb(app, "sft", "supervised fine-tuning on worked examples, evaluation, export", a, code,
               [&] { learner::run_sft_only(load(base::validate_for_sft), start_of(a)); });
  add_run_verb(app, "eval", "greedy accuracy of model.path on held-out problems", a, code,
               [&] { learner::run_evaluation(load(base::check_model)); });

  add_run_verb(app, "plan", "what a config would start here and whether it fits; starts and allocates nothing", a, code,
               [&] {
                 const base::Config c = load(base::validate_for_train);
                 const auto m = model::load_model_config(c.model.path);
                 const learner::Machine machine = learner::this_machine(c.run.dir);
                 std::fputs(learner::plan_text(c, m, machine).c_str(), stdout);
                 code = learner::advice(c, m, machine).empty() ? 0 : 1;
               });

  std::string run_dir;
  int64_t step = 0;
  CLI::App* replay = app.add_subcommand("replay", "run a recorded step again and compare the bits; exit 0 when equal");
  replay->add_option("run", run_dir, "run directory")->required();
  replay->add_option("--step", step, "the step; a checkpoint of an earlier one must be there")->required();
  replay->add_option("overrides", a.overrides, "keys that must not matter, e.g. rollout.workers=2 learner.ranks=2");
  replay->callback(unless_stopped(code, [&] {
    const learner::Replay r = learner::replay_step(run_dir, step, a.overrides);
    std::fputs(r.text.c_str(), stdout);
    code = r.same ? 0 : 1;
  }));

  learner::RankOptions rank;
  CLI::App* learner_verb = app.add_subcommand("learner", "one learner rank above 0, as rank 0 of a run starts it");
  learner_verb->add_option("--rank", rank.rank, "1 to learner.ranks - 1; rank 0 is `fulmen train`")->required();
  learner_verb->add_option("--epoch", rank.epoch, "rank 0's name for this start of the run")->required();
  learner_verb->add_option("--host", rank.host, "address of this rank for the others")->capture_default_str();
  learner_verb->add_option("config", a.config, "config.resolved.yaml of the run directory, which all ranks see")
      ->required();
  learner_verb->callback(unless_stopped(code, [&] {
    const base::Config c = load(base::check_config);
    base::open_log("learner-" + std::to_string(rank.rank), "");  // rank 0 keeps our stderr as the log file
    learner::run_rank(c, rank);
  }));

  return base::run_program(app, argc, argv, [&] { return code; });
}
