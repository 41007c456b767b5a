#include "shared/base/config_keys.h"

#include <fmt/format.h>

#include <limits>

namespace fulmen::base {
namespace {

constexpr double kManyInts = 2147483647.0, kSeedMax = 9007199254740992.0;  // 2^53: exact in the JSON of others

// Collects keys under one section's prefix; each method declares one.
class Section {
 public:
  Section(std::vector<Key>& keys, std::string name) : keys_(keys), prefix_(std::move(name) + ".") {}

  void text(const char* name, std::string& m, const char* sentence) { add({prefix_ + name, &m, 0, 0, {}, sentence}); }
  void list(const char* name, std::vector<std::string>& m, const char* sentence) {
    add({prefix_ + name, &m, 0, 0, {}, sentence});
  }
  void mix(const char* name, std::vector<MixEntry>& m, const char* sentence) {
    add({prefix_ + name, &m, 0, 0, {}, sentence});
  }
  void flag(const char* name, bool& m, const char* sentence) { add({prefix_ + name, &m, 0, 0, {}, sentence}); }
  void choice(const char* name, std::string& m, std::vector<std::string> choices, const char* sentence) {
    add({prefix_ + name, &m, 0, 0, std::move(choices), sentence});
  }
  template <class T>
  void number(const char* name, T& m, double low, double high, const char* sentence) {
    add({prefix_ + name, &m, low, high, {}, sentence});
  }

 private:
  void add(Key key) { keys_.push_back(std::move(key)); }

  std::vector<Key>& keys_;
  std::string prefix_;
};

void visit_run(Section s, RunConfig& c) {
  s.text("dir", c.dir, "everything the run writes lies under it");
  s.number("seed", c.seed, 0, kSeedMax, "all randomness of the run follows from it");
  s.text("device", c.device,
         "auto (a GPU when one works, and says why when not), cpu, cuda, or cuda:N: learner rank r on GPU N + r");
  s.number("threads", c.threads, 0, 1024, "CPU threads of the learner; 0 = all cores");
  s.choice("products", c.products, {"own", "library"},
           "library: a GPU's linear layers by cuBLASLt too, where it shows at start-up that it gives the same bits");
}

void visit_model(Section s, ModelSection& c) {
  s.text("path", c.path, "Hugging Face directory, or a config.json (then weights are random from run.seed)");
  s.text("tokenizer", c.tokenizer, "byte, a tokenizer.json, or a directory that holds one");
  s.choice("weights_dtype", c.weights_dtype, {"f32", "bf16"},
           "compute copy of the linear weights; the learner's master copy is fp32");
  s.choice("head_dtype", c.head_dtype, {"f32", "bf16"},
           "what the LM head multiplies, in both roles (bf16 on a GPU: tensor cores); logits and softmax are fp32");
  s.choice("cache_dtype", c.cache_dtype, {"f32", "bf16"}, "K and V of both attention caches");
  s.flag("recompute", c.recompute, "recompute activations in backward: less memory, a third more time");
}

void visit_data(Section s, DataSection& c) {
  s.text("train", c.train, "JSONL file of training prompts; empty when a task is given");
  s.text("eval", c.eval, "JSONL file of held-out prompts; empty = held-out problems of the tasks");
  s.text("task", c.task, "name of a generated task, e.g. arithmetic");
  s.text("difficulty", c.difficulty, "range LOW..HIGH of the task's difficulty");
  s.mix("mix", c.mix, "several sources, e.g. [{task: sudoku, difficulty: 2..4, weight: 0.2}, {file: a.jsonl}]");
  s.number("curriculum_steps", c.curriculum_steps, 0, kManyInts,
           "the highest difficulty drawn rises from LOW to HIGH over so many steps; 0 = the whole range at once");
  s.text("prompt_key", c.prompt_key, "dotted path of the prompt in a record");
  s.text("source_key", c.source_key, "dotted path of the data source in a record");
  s.text("answer_key", c.answer_key, "dotted path of the ground truth in a record");
  s.choice("template_name", c.template_name, {"plain", "m1"}, "how messages become text");
  s.number("max_prompt_tokens", c.max_prompt_tokens, 1, kManyInts, "a longer prompt is an error naming file:line");
  s.flag("shuffle", c.shuffle, "a new order of the records in each epoch, from run.seed");
}

void visit_rollout(Section s, RolloutSection& c) {
  s.number("workers", c.workers, 1, 4096, "rollout processes; changes the speed, not the result");
  s.number("threads", c.threads, 0, 1024, "CPU threads of each worker; 0 = all cores");
  s.flag("in_turn", c.in_turn,
         "caches of the workers and activations of the learner take turns in memory: for roles that share a GPU");
  s.text("device", c.device, "as run.device, for the workers; empty = the same, cuda:N: worker i on GPU N + i");
  s.number("max_new_tokens", c.max_new_tokens, 1, kManyInts, "longest completion");
  s.number("temperature", c.temperature, 0, 100, "logits are divided by it; 0 = greedy (not for training)");
  s.number("top_p", c.top_p, 0, 1, "nucleus sampling; 1 = off (training requires 1)");
  s.number("min_p", c.min_p, 0, 1, "drop tokens below this share of the best one's probability; 0 = off");
  s.number("top_k", c.top_k, 0, kManyInts, "sample among the k best; 0 = off (training requires 0)");
  s.number("max_sequences", c.max_sequences, 1, 1 << 20, "sequences decoded together by a worker");
  s.number("prefill_rows", c.prefill_rows, 1, 1 << 20, "prompt tokens taken into one step, so decode never waits long");
  s.number("memory_mb", c.memory_mb, 1, kManyInts, "budget of a worker's caches in MiB");
  s.list("stop", c.stop, "stop strings besides the end token");
  s.number("repetition_window", c.repetition_window, 0, kManyInts,
           "stop after so many consecutive tokens above repetition_prob; 0 = off");
  s.number("repetition_prob", c.repetition_prob, 0, 1, "see repetition_window");
  s.number("timeout_s", c.timeout_s, 1, kManyInts, "a step without a finished episode for so long is an error");
}

void visit_algorithm(Section s, AlgorithmSection& c) {
  s.choice("loss", c.loss, {"cispo", "grpo", "dapo"}, "the policy objective");
  s.number("steps", c.steps, 0, kManyInts, "rollout batches to train on");
  s.number("prompts_per_step", c.prompts_per_step, 1, kManyInts, "prompts of one rollout batch");
  s.number("samples_per_prompt", c.samples_per_prompt, 1, kManyInts, "completions of each prompt: its group");
  s.number("updates_per_step", c.updates_per_step, 1, kManyInts, "optimizer steps made from one rollout batch");
  s.number("ratio_max", c.ratio_max, 0, 1e6,
           "absolute upper bound of the importance ratio (verl's eps 0.2 is 1.2 here)");
  s.number("ratio_min", c.ratio_min, 0, 1e6, "absolute lower bound of the importance ratio; 0 = none");
  s.flag("advantage_std", c.advantage_std, "divide a group's advantages by its standard deviation");
  s.flag("drop_zero_variance", c.drop_zero_variance, "drop, and count, groups whose rewards are all equal");
  s.flag("mask_truncated", c.mask_truncated, "completions cut by max_new_tokens give no gradient");
  s.number("entropy_coef", c.entropy_coef, -1e3, 1e3, "weight of the entropy bonus");
}

void visit_optimizer(Section s, OptimizerSection& c) {
  s.number("lr", c.lr, 0, 10, "AdamW learning rate");
  s.number("beta1", c.beta1, 0, 1, "AdamW decay of the first moment");
  s.number("beta2", c.beta2, 0, 1, "AdamW decay of the second moment");
  s.number("eps", c.eps, 0, 1, "AdamW epsilon; M1 needs it this small");
  s.number("weight_decay", c.weight_decay, 0, 10, "AdamW decoupled weight decay");
  s.number("grad_clip", c.grad_clip, 0, 1e9, "largest global gradient norm; 0 = no clipping");
  s.choice("schedule", c.schedule, {"constant", "cosine", "linear"}, "learning rate after the warm-up");
  s.number("warmup_steps", c.warmup_steps, 0, kManyInts, "linear warm-up in updates");
  s.number("micro_batch_tokens", c.micro_batch_tokens, 1, kManyInts,
           "tokens of one forward and backward; changes memory, not the gradient");
}

void visit_sft(Section s, SftSection& c) {
  s.number("steps", c.steps, 0, kManyInts, "updates of the cold start; 0 = none");
  s.number("examples_per_step", c.examples_per_step, 1, kManyInts, "worked examples of one update");
  s.number("lr", c.lr, 0, 10, "learning rate of the cold start");
  s.number("warmup_steps", c.warmup_steps, 0, kManyInts, "its linear warm-up");
  s.text("data", c.data, "JSONL with prompt and completion; empty = worked examples of data.task");
  s.number("answer_share", c.answer_share, 0, 1,
           "share of a task's examples that end with the final answer; the others stop before it");
}

void visit_services(std::vector<Key>& keys, Config& c) {
  Section reward(keys, "reward");
  reward.list("functions", c.reward.functions,
              "math, code, format=0.1, python:FILE.py:FUNCTION ...; fulmen score --help lists them; summed by weight");
  reward.number("workers", c.reward.workers, 1, 4096, "reward processes");
  reward.number("threads", c.reward.threads, 1, 1024, "scoring threads of each reward process");
  reward.number("deadline_ms", c.reward.deadline_ms, 1, kManyInts, "of one call; later it is a timeout verdict");
  reward.number("queue", c.reward.queue, 1, kManyInts, "records a process takes in before it makes others wait");
  reward.number("cache", c.reward.cache, 0, kManyInts, "verdicts a process remembers; 0 = none");
  reward.text("golden", c.reward.golden, "JSONL of records with the score they must get, checked at the start");
  reward.number("golden_every", c.reward.golden_every, 0, kManyInts,
                "steps between checks of reward.golden; 0 = only at the start");
  reward.number("max_error_fraction", c.reward.max_error_fraction, 0, 1,
                "more errors and timeouts than this among a step's verdicts raise the alarm");
  reward.choice("on_alarm", c.reward.on_alarm, {"pause", "stop", "warn"},
                "what an alarm of the rewards does: wait with a checkpoint written, end the run, or say so");
  reward.number("length_bias_limit", c.reward.length_bias_limit, 0, 1,
                "correlation of score with length inside groups that raises the alarm; 0 = not watched");
  reward.number("length_drift_limit", c.reward.length_drift_limit, 0, 100,
                "growth of the mean length over 20 steps without a better score that raises it; 0 = not watched");
  reward.choice("unparsable", c.reward.unparsable, {"drop", "zero"},
                "a completion without a readable answer: dropped and counted, or a score of 0 in its group");

  Section sync(keys, "sync");
  sync.choice("transport", c.sync.transport, {"shm", "zmq", "file", "nccl"},
              "how weights reach the workers: memory of this host (of a GPU that all share), sockets, files that all "
              "hosts see, or GPU to GPU");
  sync.text("directory", c.sync.directory, "where transport file puts the versions; empty = weights/ in run.dir");
  sync.number("timeout_s", c.sync.timeout_s, 1, kManyInts, "a version that a worker has not got by then is refused");
  sync.text("bind", c.sync.bind, "ipc, or tcp://HOST:PORT for workers on other hosts");

  Section checkpoint(keys, "checkpoint");
  checkpoint.number("every", c.checkpoint.every, 0, kManyInts, "steps between checkpoints; 0 = only at the end");
  checkpoint.number("keep", c.checkpoint.keep, 1, kManyInts, "checkpoints kept");
  checkpoint.flag("export_final", c.checkpoint.export_final, "write a Hugging Face directory under export/ at the end");

  Section eval(keys, "eval");
  eval.number("every", c.eval.every, 0, kManyInts, "steps between evaluations; 0 = only before and after");
  eval.number("problems", c.eval.problems, 0, kManyInts, "held-out problems, answered greedily");

  Section learner(keys, "learner");
  learner.number("ranks", c.learner.ranks, 1, 65536, "learner processes; changes the speed, not the result");
  learner.number("shards", c.learner.shards, 1, 65536,
                 "most parts a batch is cut into for the ranks; a run with another number has other last bits");
  learner.choice("collective", c.learner.collective, {"gloo", "nccl"},
                 "how ranks reach each other: sockets, or NCCL where each has a GPU of its own; the bits are the same");
  learner.number("timeout_s", c.learner.timeout_s, 1, kManyInts, "longest wait of a rank for the others");

  Section log(keys, "log");
  log.flag("tensorboard", c.log.tensorboard, "also write TensorBoard event files");
  log.number("episodes_per_step", c.log.episodes_per_step, -1, kManyInts,
             "episodes written to episodes/step_N.jsonl; 0 = none, -1 = all");
}

bool is_plain_yaml(const std::string& text) {
  static constexpr const char* kFirst = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_/";
  static constexpr const char* kRest = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_/.+=-";
  return !text.empty() && std::string(kFirst).find(text[0]) != std::string::npos &&
         text.find_first_not_of(kRest) == std::string::npos && text != "null" && text != "Null" && text != "NULL";
}

std::string quote(const std::string& text) {
  if (is_plain_yaml(text)) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += std::string("\\") + c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      quoted += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::string entry_text(const MixEntry& e) {  // in YAML's flow form, as the command line takes it too
  const std::string source = e.task.empty()
                                 ? "file: " + quote(e.file)
                                 : fmt::format("task: {}, difficulty: {}", quote(e.task), quote(e.difficulty));
  return fmt::format("{{{}, weight: {}}}", source, e.weight);
}

std::string range_text(const Key& key) {
  const auto bound = [](double x) {
    return x == kManyInts ? std::string("2^31-1") : x == kSeedMax ? "2^53" : fmt::format("{}", x);
  };
  return bound(key.low) + ".." + bound(key.high);
}

}  // namespace

std::vector<Key> visit_config(Config& c) {
  std::vector<Key> keys;
  visit_run({keys, "run"}, c.run);
  visit_model({keys, "model"}, c.model);
  visit_data({keys, "data"}, c.data);
  visit_rollout({keys, "rollout"}, c.rollout);
  visit_algorithm({keys, "algorithm"}, c.algorithm);
  visit_optimizer({keys, "optimizer"}, c.optimizer);
  visit_sft({keys, "sft"}, c.sft);
  visit_services(keys, c);
  return keys;
}

std::string type_of(const Key& key) {
  if (!key.choices.empty()) return fmt::format("{}", fmt::join(key.choices, " | "));
  if (std::holds_alternative<std::string*>(key.member)) return "text";
  if (std::holds_alternative<std::vector<std::string>*>(key.member)) return "list";
  if (std::holds_alternative<std::vector<MixEntry>*>(key.member)) return "list of sources";
  if (std::holds_alternative<bool*>(key.member)) return "true | false";
  if (std::holds_alternative<float*>(key.member)) return "number in " + range_text(key);
  return "integer in " + range_text(key);
}

std::string value_of(const Key& key) {
  if (const auto* m = std::get_if<std::string*>(&key.member)) return quote(**m);
  if (const auto* m = std::get_if<bool*>(&key.member)) return **m ? "true" : "false";
  if (const auto* m = std::get_if<float*>(&key.member)) return fmt::format("{}", **m);  // shortest text that reads back
  if (const auto* m = std::get_if<int*>(&key.member)) return fmt::format("{}", **m);
  if (const auto* m = std::get_if<int64_t*>(&key.member)) return fmt::format("{}", **m);
  std::vector<std::string> items;
  if (const auto* m = std::get_if<std::vector<MixEntry>*>(&key.member)) {
    for (const MixEntry& e : **m) items.push_back(entry_text(e));
    return fmt::format("[{}]", fmt::join(items, ", "));
  }
  for (const std::string& item : *std::get<std::vector<std::string>*>(key.member)) items.push_back(quote(item));
  return fmt::format("[{}]", fmt::join(items, ", "));
}

}  // namespace fulmen::base
