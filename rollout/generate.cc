#include "rollout/generate.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <ostream>

#include "rollout/cache_plan.h"
#include "rollout/stop_rules.h"
#include "rollout/utf8_stream.h"
#include "rollout/worker.h"
#include "shared/base/log.h"
#include "shared/base/progress.h"
#include "shared/model/checkpoint.h"
#include "shared/model/checkpoint_reader.h"

namespace fulmen::rollout {
namespace {

namespace fs = std::filesystem;

const char* finish_text(Finish f) {
  switch (f) {
    case Finish::kStop:
      return "stop";
    case Finish::kLength:
      return "length";
    case Finish::kRepetition:
      return "repetition";
    case Finish::kAborted:
      return "aborted";
  }
  return "?";
}

// Sequences of exactly the length asked for, as many at once as the budget holds, but at least one.
EngineLimits limits_for(const base::Config& config, const model::ModelConfig& m, kernels::DType cache,
                        int64_t max_tokens, int samples) {
  EngineLimits limits = engine_limits(config);
  limits.max_tokens = max_tokens;
  limits.max_sequences = std::min(limits.max_sequences, samples);
  const int64_t one = model::Cache::slot_bytes(m, cache) + pages_for(max_tokens) * model::Cache::page_bytes(m, cache);
  limits.memory_bytes = std::max(limits.memory_bytes, one);
  return limits;
}

// Completions as text: the only one as it comes, several whole and in order.
class Printer {
 public:
  Printer(const model::Tokenizer& tokenizer, int32_t end_token, int samples, std::ostream& out)
      : tokenizer_(tokenizer), end_token_(end_token), samples_(samples), out_(out) {}

  void token(int32_t id) {
    if (samples_ > 1 || id == end_token_) return;
    out_ << stream_.push(token_text(tokenizer_, id)) << std::flush;
  }

  void done(const std::vector<Completion>& completions) {
    for (const Completion& c : completions) {
      if (samples_ > 1) {
        out_ << fmt::format("--- sample {} ({} tokens, {})\n", c.sample_index, c.tokens.size(), finish_text(c.finish));
        for (const int32_t id : c.tokens) {
          if (id != end_token_) out_ << stream_.push(token_text(tokenizer_, id));
        }
      }
      out_ << stream_.flush() << "\n" << std::flush;
    }
  }

 private:
  const model::Tokenizer& tokenizer_;
  int32_t end_token_;
  int samples_;
  std::ostream& out_;
  Utf8Stream stream_;
};

std::string summary(const GenerateResult& r, size_t prompt_tokens) {
  size_t tokens = 0;
  std::string finish;
  for (const Completion& c : r.completions) {
    tokens += c.tokens.size();
    const std::string f = finish_text(c.finish);
    if (finish.find(f) == std::string::npos) finish += (finish.empty() ? "" : ", ") + f;
  }
  return fmt::format("{} prompt tokens, {} tokens in {:.2f} s, {:.1f} tokens/s, finish: {}\n", prompt_tokens, tokens,
                     r.seconds, static_cast<double>(tokens) / std::max(r.seconds, 1e-9), finish);
}

}  // namespace

LoadedModel load_model(const base::Config& config, kernels::Context& ctx) {
  FULMEN_CHECK(!config.model.path.empty(), "model.path: empty, want a model directory or a config.json");
  LoadedModel m;
  m.tokenizer = model::load_tokenizer(config.model.tokenizer);
  m.weights =
      std::make_unique<model::Weights>(model::load_model_config(config.model.path), model::ComputeDtypes(config.model));
  if (model::has_weights(config.model.path)) {
    base::Progress progress("loading " + config.model.path, static_cast<int64_t>(m.weights->num_tensors()));
    model::load_checkpoint(config.model.path, *m.weights,
                           {[&](int64_t done, int64_t, const std::string& name) { progress.update(done, name); }});
  } else {
    base::warn("{} holds no model.safetensors: random weights from run.seed {}", config.model.path, config.run.seed);
    m.weights->init_random(static_cast<uint64_t>(config.run.seed));
  }
  m.weights->pack(ctx);
  return m;
}

GenerateResult generate(const GenerateOptions& options, const base::Config& config, const LoadedModel& model,
                        kernels::Context& ctx, std::ostream& out, std::ostream& err) {
  const auto cache = parse_dtype(config.model.cache_dtype, "model.cache_dtype");
  const model::ModelConfig& m = model.weights->config();
  FULMEN_CHECK(options.samples >= 1, fmt::format("samples: got {}, want at least 1", options.samples));
  GroupRequest request;
  request.settings = options.settings;
  request.prompt = model.tokenizer->encode(model::render_chat(config.data.template_name, {{"user", options.prompt}}));
  FULMEN_CHECK(!request.prompt.empty(), "prompt: empty, want text from --prompt or standard input");
  for (int i = 0; i < options.samples; ++i) request.sample_index.push_back(static_cast<uint32_t>(i));
  const size_t prompt_tokens = request.prompt.size();
  const auto max_tokens = static_cast<int64_t>(prompt_tokens) + options.settings.max_new_tokens;

  const auto engine = make_engine(*model.weights, cache, limits_for(config, m, cache, max_tokens, options.samples),
                                  model.tokenizer.get(), ctx);
  Printer printer(*model.tokenizer, end_token_of(model.tokenizer.get(), m), options.samples, out);
  engine->on_token([&](uint64_t, uint32_t, int32_t token) { printer.token(token); });
  GenerateResult result;
  const auto begin = std::chrono::steady_clock::now();
  engine->submit(std::move(request));
  while (!engine->idle()) {
    for (Completion& c : engine->step()) result.completions.push_back(std::move(c));
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::sort(result.completions.begin(), result.completions.end(),
            [](const Completion& a, const Completion& b) { return a.sample_index < b.sample_index; });
  printer.done(result.completions);
  err << summary(result, prompt_tokens);
  return result;
}

}  // namespace fulmen::rollout
