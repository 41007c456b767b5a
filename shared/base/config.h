#pragma once
// The configuration of a run: one YAML file, strict. Every key is declared once, in visit_config() (config.cc), with
// its type, default (the initialiser here), range and a sentence; parse, overrides, help and print follow from that
// list.
//
//   precedence: default < YAML file < `key.path=value` on the command line
//   errors (thrown as ConfigError, one line): unknown key with the nearest known one ("unknown key rollot.workers, did
//   you mean rollout.workers? [configs/x.yaml:12]"), wrong type or out of range with key, got, want and file:line
//
// Two batch numbers only: algorithm.prompts_per_step and samples_per_prompt (plus updates_per_step); the rest is
// derived.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/error.h"

namespace fulmen::base {

class ConfigError : public Error {  // the user's input is wrong and nothing was started: mains return 2 for it
  using Error::Error;
};

struct RunConfig {
  std::string dir = "runs/default";  // everything a run writes lies under it
  int64_t seed = 1;
  std::string device = "auto";   // auto | cpu | cuda | cuda:N
  int threads = 0;               // CPU threads of the learner; 0 = all cores
  std::string products = "own";  // own | library: who multiplies matrices on a GPU; the bits are the same
};

struct ModelSection {
  std::string path;                // a Hugging Face directory, or a config.json (then weights are random from run.seed)
  std::string tokenizer = "byte";  // byte | path of tokenizer.json | dir
  std::string weights_dtype = "f32";  // f32 | bf16: compute copy of the linear weights (the learner's master is fp32)
  std::string head_dtype = "f32";     // f32 | bf16: the LM head's operands; its sums, logits and softmax are fp32
  std::string cache_dtype = "f32";    // f32 | bf16: K and V of both attention caches (rounded on both sides)
  bool recompute = false;             // learner keeps only layer inputs and recomputes activations in backward
};

struct MixEntry {                   // one of several sources of prompts
  std::string task, file;           // exactly one: a generated task, or JSONL in verl's shape
  std::string difficulty = "1..3";  // of a task
  float weight = 1;                 // its share of the prompts is weight / sum of weights
};

struct DataSection {
  std::string train, eval;          // JSONL in verl's shape; empty when a task or a mix is given
  std::string task;                 // e.g. arithmetic: generated from run.seed
  std::string difficulty = "1..3";  // range of the task's difficulty
  std::vector<MixEntry> mix;        // several sources; instead of train and task
  int curriculum_steps = 0;         // steps until the whole range of difficulty is drawn from; 0 = at once
  std::string prompt_key = "prompt", source_key = "data_source", answer_key = "reward_model.ground_truth";
  std::string template_name = "plain";  // plain | m1: how messages become text
  int max_prompt_tokens = 1024;         // longer prompts are an error naming file:line
  bool shuffle = true;
};

struct RolloutSection {
  int workers = 1;
  int threads = 0;       // per worker; 0 = all cores
  std::string device;    // as run.device; empty = that
  bool in_turn = false;  // with the learner: memory of one goes to the other
  int max_new_tokens = 256;
  float temperature = 1.0f, top_p = 1.0f,
        min_p = 0.0f;  // training requires top_p 1, min_p 0, top_k 0 (see rollout/sampling)
  int top_k = 0;
  int max_sequences = 128;        // concurrent sequences
  int prefill_rows = 256;         // prompt rows per step, so decode never waits long
  int memory_mb = 1024;           // caches; admission and preemption keep within it
  std::vector<std::string> stop;  // stop strings besides the end token
  int repetition_window = 3000;   // M1: stop after this many consecutive tokens ...
  float repetition_prob = 0.99f;  // ... each with probability above this; window 0 = off
  int timeout_s = 600;            // a step without any episode for this long is an error naming the worker
};

struct AlgorithmSection {
  std::string loss = "cispo";  // cispo | grpo | dapo
  int steps = 100;
  int prompts_per_step = 32, samples_per_prompt = 8, updates_per_step = 1;
  float ratio_max = 4.0f, ratio_min = 0.0f;  // absolute bounds of the importance ratio (CISPO weight, GRPO/DAPO clip)
  bool advantage_std = true;                 // divide by the group's standard deviation
  bool drop_zero_variance = true;            // groups whose rewards are all equal are dropped and counted
  bool mask_truncated = false;               // completions cut by max_new_tokens give no gradient
  float entropy_coef = 0.0f;
};

struct OptimizerSection {
  float lr = 1e-4f, beta1 = 0.9f, beta2 = 0.95f, eps = 1e-15f, weight_decay = 0.0f, grad_clip = 1.0f;
  std::string schedule = "constant";  // constant | cosine | linear, after warmup
  int warmup_steps = 0;
  int micro_batch_tokens = 4096;  // rows of one forward/backward; changes memory, not the gradient
};

struct SftSection {
  int steps = 0;  // 0 = no cold start
  int examples_per_step = 64;
  float lr = 1e-3f;
  int warmup_steps = 10;
  float answer_share = 1.0f;  // of the examples of a task; the others stop before the final answer
  std::string data;           // JSONL with prompt and completion; empty = worked examples of data.task
};

struct RewardSection {
  std::vector<std::string> functions{"math"};  // reward/function_spec.h; several are summed by weight
  int workers = 1;                             // processes
  int threads = 1;                             // of each, that score
  int deadline_ms = 10000;                     // per call
  int queue = 4096;                            // records a process takes in before it makes others wait
  int cache = 65536;                           // verdicts a process remembers
  std::string golden;                          // JSONL of records with known verdicts
  int golden_every = 0;                        // steps
  float max_error_fraction = 0.1f;             // of a step's verdicts
  std::string on_alarm = "pause";              // pause | stop | warn
  float length_bias_limit = 0;                 // correlation of score with length inside groups; 0 = not watched
  float length_drift_limit = 0;                // growth of the mean length in 20 steps without gain; 0 = not watched
  std::string unparsable = "drop";  // drop | zero: what a completion without a readable answer counts as in its group
};

struct SyncSection {
  std::string transport = "shm";  // shm | zmq | file | nccl
  std::string directory;          // of transport file; empty = weights/ in run.dir
  int timeout_s = 120;            // for one version to reach a worker
  std::string bind = "ipc";       // ipc | tcp://HOST:PORT
};

struct CheckpointSection {
  int every = 10, keep = 2;  // steps; 0 = only at the end
  bool export_final = true;  // Hugging Face directory under export/
};

struct EvalSection {
  int every = 0;       // steps; 0 = only before and after
  int problems = 500;  // held out, greedy
};

struct LearnerSection {
  int ranks = 1;
  int shards = 4;                   // most parts of a batch; changes the last bits of a gradient, as ranks do not
  std::string collective = "gloo";  // gloo | nccl
  int timeout_s = 600;              // a rank that keeps the others waiting for this long is an error naming it
};

struct LogSection {
  bool tensorboard = true;
  int episodes_per_step = 16;  // written to episodes/step_N.jsonl; 0 = none, -1 = all
};

struct Config {
  RunConfig run;
  ModelSection model;
  DataSection data;
  RolloutSection rollout;
  AlgorithmSection algorithm;
  OptimizerSection optimizer;
  SftSection sft;
  RewardSection reward;
  SyncSection sync;
  CheckpointSection checkpoint;
  EvalSection eval;
  LearnerSection learner;
  LogSection log;

  std::map<std::string, std::string> origin;  // key -> "default", "FILE:LINE" or "command line"
};

// path may be empty (defaults only). overrides: "key.path=value", lists as [a, "b c"] or a,b. A relative path of
// something to read is seen from the working directory; one written in the file that is not there is looked for beside
// the file. run.dir is always seen from the working directory. Also runs check_config.
Config load_config(const std::string& path, const std::vector<std::string>& overrides);

// What must hold for any use of a Config; throws ConfigError "KEY: got, want, why [origin]".
void check_config(const Config& c);
void check_model(const Config& c);  // model.path is given and is there
// What a training run needs besides: data, a model, the sampled distribution to be the trained one, groups of two or
// more.
void validate_for_train(const Config& c);
void validate_for_sft(const Config& c);  // `fulmen sft`: a model, worked examples, steps

std::string to_yaml(const Config& c,
                    bool with_origin);     // all keys; with_origin adds "# from ..." comments (--print-config)
std::string config_hash(const Config& c);  // hex xxh3-128 of to_yaml(c, false) without run.dir: same run, same hash
// Every key with its value as YAML, without run.dir; and "optimizer.lr: LEFT | RIGHT" for each that differs.
std::map<std::string, std::string> config_values(const Config& c);
std::vector<std::string> config_differences(const std::map<std::string, std::string>& left,
                                            const std::map<std::string, std::string>& right);
std::string config_help();  // one line a key: type, default, range, sentence

// "2..4" or "3" -> (2, 4), (3, 3); nullopt for anything else.
std::optional<std::pair<int, int>> parse_range(const std::string& text);
bool has_train_data(const Config& c);     // data.train, task or mix
bool has_held_out_data(const Config& c);  // data.eval, or a task whose problems can be held out

// The member of `known` with the smallest edit distance, or "" when nothing is near. Used for keys, verbs and names.
std::string nearest(const std::string& word, const std::vector<std::string>& known);

}  // namespace fulmen::base
