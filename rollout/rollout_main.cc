// fulmen-rollout: the verbs `rollout` (a worker, as the launcher starts it) and `generate` (a prompt at the terminal).

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <thread>

#include "kernels/device.h"
#include "rollout/generate.h"
#include "rollout/worker.h"
#include "shared/base/log.h"
#include "shared/base/program.h"
#include "shared/model/library_shapes.h"
#include "shared/model/model_config.h"

namespace {

using namespace fulmen;

struct WorkerArguments {
  rollout::WorkerOptions options;
  std::string config;
  std::vector<std::string> overrides;
};

struct GenerateArguments {
  std::string model, config, tokenizer, prompt;
  std::vector<std::string> overrides, stop;
  rollout::GenerateSettings settings;
  int samples = 1;
};

void declare(CLI::App& app, WorkerArguments& a) {
  app.add_option("--endpoint", a.options.endpoint, "where the conductor listens: ipc://... or tcp://HOST:PORT")
      ->required();
  app.add_option("--run-id", a.options.run_id, "run this worker belongs to")->required();
  app.add_option("--name", a.options.name, "its name, e.g. rollout-0")->required();
  app.add_option("CONFIG", a.config, "YAML file of the run")->required();
  app.add_option("OVERRIDES", a.overrides, "key=value");
}

void declare(CLI::App& app, GenerateArguments& a) {
  auto* from = app.add_option_group("model");
  from->add_option("--model", a.model, "directory with config.json and safetensors, a run, or one of its checkpoints");
  from->add_option("--config", a.config,
                   "YAML file of a run: its tokenizer, template and dtypes, and its model unless --model is given");
  from->require_option(1, 2);
  app.add_option("--tokenizer", a.tokenizer, "byte, a tokenizer.json or its directory (default: the model's)");
  app.add_option("--prompt", a.prompt, "text; without it standard input is read to its end, less a last newline");
  auto& s = a.settings;
  app.add_option("--max-new-tokens", s.max_new_tokens, "length limit of a completion")
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str();
  app.add_option("--temperature", s.sampling.temperature, "0 takes the likeliest token")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  app.add_option("--top-p", s.sampling.top_p, "smallest set of this mass")
      ->check(CLI::Range(1e-6, 1.0))
      ->capture_default_str();
  app.add_option("--top-k", s.sampling.top_k, "only the k likeliest; 0 = all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--min-p", s.sampling.min_p, "relative to the likeliest; 0 = all")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--seed", s.seed, "same seed, same text")->capture_default_str();
  app.add_option("--samples", a.samples, "completions of the prompt")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--stop", a.stop, "text that ends a completion; may be given again")->allow_extra_args(false);
  app.add_option("OVERRIDES", a.overrides, "key=value of the configuration, e.g. rollout.threads=2");
}

int threads_of(const base::Config& c) {
  return c.rollout.threads > 0 ? c.rollout.threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// Of "rollout-3": 3.
int index_of(const std::string& name) {
  const size_t digits = name.find_last_not_of("0123456789") + 1;
  return digits < name.size() ? std::stoi(name.substr(digits)) : 0;
}

std::string device_of(const base::Config& c) { return c.rollout.device.empty() ? c.run.device : c.rollout.device; }

int run_worker(const WorkerArguments& a) {
  base::open_log(a.options.name, "");  // the launcher keeps our stderr as the log file
  const base::Config config = base::load_config(a.config, a.overrides);
  kernels::ThreadPool pool(threads_of(config));
  kernels::Device device(kernels::nth_device(device_of(config), index_of(a.options.name)), pool);
  kernels::Context& ctx = device.context();
  base::info("{}", device.note());
  if (config.run.products == "library")
    base::info("matrix products: {}", device.use_library(model::library_shapes(config.model)));
  rollout::WorkerOptions options = a.options;
  options.weights_timeout_ms = config.sync.timeout_s * 1000;
  return rollout::RolloutWorker(options, config, ctx).run();
}

int run_generate(GenerateArguments a) {
  if (!a.model.empty()) {
    a.overrides.insert(a.overrides.begin(), "model.path=" + a.model);
    const std::string directory = model::weights_directory(a.model);
    if (a.tokenizer.empty() && std::filesystem::exists(directory + "/tokenizer.json")) a.tokenizer = directory;
    if (a.tokenizer.empty() && a.config.empty())
      base::warn("{} holds no tokenizer.json: text is taken as bytes unless --tokenizer or --config says otherwise",
                 directory);
  }
  if (!a.tokenizer.empty()) a.overrides.push_back("model.tokenizer=" + a.tokenizer);
  const base::Config config = base::load_config(a.config, a.overrides);
  base::check_model(config);
  rollout::GenerateOptions options{a.prompt, a.samples, a.settings};
  options.settings.stop = a.stop.empty() ? config.rollout.stop : a.stop;
  options.settings.repetition_window = config.rollout.repetition_window;
  options.settings.repetition_prob = config.rollout.repetition_prob;
  if (a.prompt.empty()) {
    options.prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
    if (options.prompt.ends_with('\n')) options.prompt.pop_back();  // echo and editors write one
  }
  kernels::ThreadPool pool(threads_of(config));
  kernels::Device device(device_of(config), pool);
  kernels::Context& ctx = device.context();
  const rollout::LoadedModel model = rollout::load_model(config, ctx);
  rollout::generate(options, config, model, ctx, std::cout, std::cerr);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Generates completions: as a worker of a run, or of one prompt at the terminal.", "fulmen"};
  app.require_subcommand(1);
  WorkerArguments worker;
  GenerateArguments generate;
  auto* rollout_verb = app.add_subcommand("rollout", "one rollout worker, as the launcher starts it");
  auto* generate_verb = app.add_subcommand("generate", "complete a prompt with a model");
  declare(*rollout_verb, worker);
  declare(*generate_verb, generate);
  return base::run_program(app, argc, argv,
                           [&] { return rollout_verb->parsed() ? run_worker(worker) : run_generate(generate); });
}
