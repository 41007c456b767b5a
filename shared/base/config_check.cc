#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "shared/base/config.h"

namespace fulmen::base {
namespace {

// Throws: KEY is got, want; and where the value came from.
[[noreturn]] void refuse(const Config& c, const std::string& key, const std::string& what) {
  const auto origin = c.origin.find(key);
  throw ConfigError(fmt::format("{}: {} [{}]", key, what, origin == c.origin.end() ? "default" : origin->second));
}

void check_difficulty(const Config& c, const std::string& key, const std::string& text) {
  const auto range = parse_range(text);
  if (!range || range->first < 0 || range->first > range->second)
    refuse(c, key, "got \"" + text + "\", want LOW..HIGH with LOW <= HIGH, e.g. 1..3, or one number");
}

void check_mix(const Config& c) {
  for (size_t i = 0; i < c.data.mix.size(); ++i) {
    const MixEntry& e = c.data.mix[i];
    const std::string where = fmt::format("entry {}: ", i);
    if (e.task.empty() == e.file.empty()) refuse(c, "data.mix", where + "want either task or file");
    if (!(e.weight > 0)) refuse(c, "data.mix", where + fmt::format("weight is {}, want more than 0", e.weight));
    if (!e.task.empty()) check_difficulty(c, "data.mix", e.difficulty);
  }
}

void check_ratio_bounds(const Config& c) {
  const AlgorithmSection& a = c.algorithm;
  if (a.ratio_max < 1) {
    refuse(c, "algorithm.ratio_max",
           fmt::format("got {}, want at least 1: it bounds the ratio itself, so a clip of 0.2 above 1 is 1.2",
                       a.ratio_max));
  }
  if (a.ratio_min > 1) {
    refuse(c, "algorithm.ratio_min",
           fmt::format("got {}, want at most 1: it bounds the ratio itself, so a clip of 0.2 below 1 is 0.8",
                       a.ratio_min));
  }
}

// The learner's log-probs are of the plain softmax at this temperature. A truncated distribution is another one: its
// ratio to the learner's would never be 1, and the run would train on tokens it believes less likely than they were.
void check_sampled_is_trained(const Config& c) {
  const RolloutSection& r = c.rollout;
  const char* why = " for training: the distribution sampled from would not be the one that is trained";
  if (r.top_p < 1) refuse(c, "rollout.top_p", fmt::format("got {}, want 1{}", r.top_p, why));
  if (r.top_k > 0) refuse(c, "rollout.top_k", fmt::format("got {}, want 0{}", r.top_k, why));
  if (r.min_p > 0) refuse(c, "rollout.min_p", fmt::format("got {}, want 0{}", r.min_p, why));
  if (r.temperature == 0)
    refuse(c, "rollout.temperature", "got 0 (greedy), want above 0 for training: nothing to explore");
}

bool is_device(const std::string& choice) {
  if (choice == "auto" || choice == "cpu" || choice == "cuda") return true;
  const std::string number = choice.starts_with("cuda:") ? choice.substr(5) : "";
  return !number.empty() && number.size() <= 3 && number.find_first_not_of("0123456789") == std::string::npos;
}

void check_devices(const Config& c) {
  const char* want = "want auto, cpu, cuda or cuda:N";
  if (!is_device(c.run.device)) refuse(c, "run.device", fmt::format("got \"{}\", {}", c.run.device, want));
  if (!c.rollout.device.empty() && !is_device(c.rollout.device))
    refuse(c, "rollout.device", fmt::format("got \"{}\", {}", c.rollout.device, want));
  if (c.sync.transport == "nccl" && c.rollout.device == "cpu")
    refuse(c, "sync.transport", "got nccl, which needs GPUs, but rollout.device is cpu; want shm, zmq or file");
  if (c.run.device != "cpu") return;
  if (c.sync.transport == "nccl")
    refuse(c, "sync.transport", "got nccl, which needs GPUs, but run.device is cpu; want shm, zmq or file");
  if (c.learner.collective == "nccl")
    refuse(c, "learner.collective", "got nccl, which needs GPUs, but run.device is cpu; want gloo");
}

void check_batches(const Config& c) {
  const AlgorithmSection& a = c.algorithm;
  if (a.samples_per_prompt < 2) {
    refuse(c, "algorithm.samples_per_prompt",
           "got 1, want at least 2: an advantage compares completions of one prompt");
  }
  if (a.updates_per_step > a.prompts_per_step) {
    refuse(c, "algorithm.updates_per_step",
           fmt::format("got {}, want at most algorithm.prompts_per_step = {}: each update needs a group",
                       a.updates_per_step, a.prompts_per_step));
  }
}

void check_sft_data(const Config& c) {
  if (c.sft.data.empty() && c.data.task.empty() && c.data.mix.empty()) {
    refuse(c, "sft.data", "not given, and no data.task or data.mix that makes worked examples: one of them is needed");
  }
}

}  // namespace

std::optional<std::pair<int, int>> parse_range(const std::string& text) {
  int low = 0, high = 0;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, low);
  if (first.ec != std::errc()) return std::nullopt;
  if (first.ptr == end) return std::pair{low, low};
  if (!std::string_view(first.ptr, end).starts_with("..")) return std::nullopt;
  const auto second = std::from_chars(first.ptr + 2, end, high);
  if (second.ec != std::errc() || second.ptr != end) return std::nullopt;
  return std::pair{low, high};
}

bool has_train_data(const Config& c) { return !c.data.train.empty() || !c.data.task.empty() || !c.data.mix.empty(); }

bool has_held_out_data(const Config& c) {
  const auto is_task = [](const MixEntry& e) { return !e.task.empty(); };
  return !c.data.eval.empty() || !c.data.task.empty() || std::any_of(c.data.mix.begin(), c.data.mix.end(), is_task);
}

void check_model(const Config& c) {
  if (c.model.path.empty()) refuse(c, "model.path", "not given, want a Hugging Face directory or a config.json");
  if (!std::filesystem::exists(c.model.path)) {
    refuse(c, "model.path",
           fmt::format("got {}, which does not exist (seen from {}); want a Hugging Face directory or a config.json",
                       c.model.path, std::filesystem::current_path().string()));
  }
}

void check_config(const Config& c) {
  check_difficulty(c, "data.difficulty", c.data.difficulty);
  check_mix(c);
  check_ratio_bounds(c);
  if (c.run.dir.empty()) refuse(c, "run.dir", "got \"\", want a directory");
  if (c.model.tokenizer.empty()) refuse(c, "model.tokenizer", "got \"\", want byte or a path");
  if (c.reward.functions.empty()) refuse(c, "reward.functions", "got an empty list, want at least one function");
  if (c.sync.bind != "ipc" && !c.sync.bind.starts_with("tcp://")) {
    refuse(c, "sync.bind", "got \"" + c.sync.bind + "\", want ipc or tcp://HOST:PORT");
  }
  check_devices(c);
  if (c.learner.ranks > c.learner.shards) {
    refuse(c, "learner.ranks",
           fmt::format("got {}, want at most learner.shards = {}: each rank needs a part of the batch", c.learner.ranks,
                       c.learner.shards));
  }
  if (c.optimizer.beta1 >= 1) refuse(c, "optimizer.beta1", "got 1, want below 1: the moment would never move");
  if (c.optimizer.beta2 >= 1) refuse(c, "optimizer.beta2", "got 1, want below 1: the moment would never move");
}

void validate_for_train(const Config& c) {
  check_model(c);
  if (!has_train_data(c)) {
    refuse(c, "data.train", "not given, and no data.task or data.mix: training needs prompts from one of them");
  }
  if (!c.data.train.empty() + !c.data.task.empty() + !c.data.mix.empty() > 1) {
    refuse(c, "data.train",
           "more than one of data.train, data.task and data.mix: training takes its prompts from one of them");
  }
  if (c.eval.every > 0 && !has_held_out_data(c)) {
    refuse(c, "eval.every", "set, but there is nothing held out: give data.eval or data.task");
  }
  check_sampled_is_trained(c);
  check_batches(c);
  if (c.sft.steps > 0) check_sft_data(c);
}

void validate_for_sft(const Config& c) {
  check_model(c);
  check_sft_data(c);
  if (c.sft.steps == 0) refuse(c, "sft.steps", "got 0, want at least 1");
}

}  // namespace fulmen::base
