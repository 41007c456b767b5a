#include "learner/plan.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>

#include "kernels/attention.h"
#include "learner/shards.h"
#include "shared/model/inspect.h"
#include "shared/model/transformer.h"

namespace fulmen::learner {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kRewardBytes = 50 * kMiB;  // a service and its Python host, as measured

std::string size_text(int64_t bytes) {
  const double b = static_cast<double>(bytes);
  if (b >= 1e12) return fmt::format("{:.1f} TB", b / 1e12);
  if (b >= 1e9) return fmt::format("{:.1f} GB", b / 1e9);
  return fmt::format("{:.1f} MB", b / 1e6);
}

int64_t longest_sequence(const base::Config& c) { return int64_t{c.data.max_prompt_tokens} + c.rollout.max_new_tokens; }

int64_t micro_batch_rows(const base::Config& c) {
  return std::max<int64_t>(c.optimizer.micro_batch_tokens, longest_sequence(c));
}

// Master copy and packed compute copies of one weights version.
int64_t version_bytes(const model::ModelConfig& m) {
  int64_t bytes = 0;
  for (const model::TensorSpec& spec : model::tensor_specs(m))  // a copy is of 4 bytes: fp32, or bf16 panels and rows
    bytes += (model::use_of(spec, m, kernels::DType::kF32).linear ? 8 : 4) * spec.numel();
  return bytes;
}

// A version on its way to a worker: each tensor in the dtype that forward reads.
int64_t sync_bytes(const model::ModelConfig& m, const model::ComputeDtypes& dtypes) {
  int64_t bytes = 0;
  for (const model::TensorSpec& spec : model::tensor_specs(m))
    bytes += kernels::dtype_bytes(model::use_of(spec, m, dtypes).wire) * spec.numel();
  return bytes;
}

int64_t cache_bytes(const base::Config& c, const model::ModelConfig& m) {
  const auto kv = c.model.cache_dtype == "bf16" ? kernels::DType::kBf16 : kernels::DType::kF32;
  const int64_t pages = (longest_sequence(c) + kernels::kAttentionTile - 1) / kernels::kAttentionTile;
  const int64_t one = model::Cache::slot_bytes(m, kv) + pages * model::Cache::page_bytes(m, kv);
  return std::min<int64_t>(int64_t{c.rollout.memory_mb} * kMiB, c.rollout.max_sequences * one);
}

int64_t parameters_of(const model::ModelConfig& m) { return model::count_model(m).parameters; }

}  // namespace

Machine this_machine(const std::string& run_dir) {
  Machine machine{static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)), 0, 0};
  std::ifstream in("/proc/meminfo");
  std::string name, unit;
  for (int64_t kib = 0; in >> name >> kib; std::getline(in, unit))
    if (name == "MemAvailable:") machine.memory_bytes = kib * 1024;
  std::filesystem::path dir = std::filesystem::absolute(run_dir);
  while (!std::filesystem::exists(dir) && dir.has_relative_path()) dir = dir.parent_path();
  std::error_code failed;
  const auto space = std::filesystem::space(dir, failed);
  if (!failed) machine.disk_bytes = static_cast<int64_t>(space.available);
  return machine;
}

int64_t activation_floats(const model::ModelConfig& m, int64_t rows, bool recompute) {
  const int64_t C = m.hidden_size, F = m.intermediate_size, H = m.num_heads, HD = H * m.head_dim,
                KVD = int64_t{m.num_kv_heads} * m.head_dim, E = m.num_experts, K = m.top_k,
                Fs = m.shared_intermediate_size;
  const int64_t shared = Fs > 0 ? 2 * Fs + 2 * C + 4 + 4 : 0;
  const int64_t rest = HD + C + K * (2 * F + C) + K + 2 * K + shared;  // what both kinds of layer keep
  const int64_t lightning = 4 * HD + rest, softmax = HD + 2 * KVD + H + rest;
  int64_t tape = (int64_t{m.num_layers} + 1) * C;
  for (int l = 0; l < m.num_layers; ++l)
    if (!recompute) tape += m.softmax_layer(l) ? softmax : lightning;
  // One layer's, refilled for each, with buffers of both kinds: what forwards without a tape use; backward has another
  // when it recomputes.
  tape += (recompute ? 2 : 1) * (lightning + HD + 2 * KVD + H);
  const int64_t forward = 3 * C + 4 * HD + C + E + K * C + std::max(K * F, Fs) + 2 * C;
  const int64_t backward =
      3 * C + HD + std::max(3 * HD, HD + 2 * KVD) + HD + 2 * K * C + 2 * std::max(K * F, Fs) + E + (Fs > 0 ? 2 * C : 0);
  return rows * (tape + forward + backward + 4 * C);  // 4 C: hidden states and their gradients in the trainer
}

int64_t Plan::memory_bytes(const base::Config& c) const {
  return c.learner.ranks * learner.total() + c.rollout.workers * rollout.total() + c.reward.workers * kRewardBytes +
         shared_image;
}

Plan make_plan(const base::Config& c, const model::ModelConfig& m) {
  const int64_t P = parameters_of(m), rows = micro_batch_rows(c);
  const bool bf16 = c.model.weights_dtype == "bf16";
  Plan p;
  // Rank 0 adds shard by shard; the others keep each shard's gradient until the sum.
  const int64_t per_rank = (int64_t{c.learner.shards} + c.learner.ranks - 1) / c.learner.ranks;
  const int64_t gradients =
      c.learner.ranks == 1 ? std::min<int64_t>(c.learner.shards, 2) : std::max<int64_t>(per_rank, 1);
  p.learner = {.weights = version_bytes(m),
               .gradients = 4 * P * gradients,
               .moments = 8 * P,
               .activations = 4 * activation_floats(m, rows, c.model.recompute),
               .caches = 0};
  p.rollout.weights = 2 * version_bytes(m);  // in service, and coming in
  p.rollout.caches = cache_bytes(c, m);
  p.sync_bytes = sync_bytes(m, model::ComputeDtypes(c.model));
  p.shared_image = c.sync.transport == "shm" ? p.sync_bytes : 0;
  p.checkpoint_bytes = 12 * P;
  p.disk_bytes =
      (int64_t{c.checkpoint.keep} + 1) * p.checkpoint_bytes + (c.checkpoint.export_final ? (bf16 ? 2 : 4) * P : 0);
  p.completions = int64_t{c.algorithm.prompts_per_step} * c.algorithm.samples_per_prompt;
  p.most_tokens = p.completions * c.rollout.max_new_tokens;
  return p;
}

namespace {

// "" when need_of(config) fits, else one line with the first number that is enough on its own, from the cheapest to
// give up. What the caches and activations of the roles take is taken as often as need_of counts a worker or a rank.
std::string memory_line(const std::string& what, const base::Config& config, const model::ModelConfig& m, int64_t have,
                        const std::function<int64_t(const base::Config&)>& need_of) {
  const int64_t need = need_of(config);
  if (need <= have) return "";
  const std::string head = fmt::format("{}: {} wanted, {} available; ", what, size_text(need), size_text(have));
  const auto fits = [&](auto&& change) {
    base::Config c = config;
    change(c);
    return need_of(c) <= have;
  };
  const Plan plan = make_plan(config, m);
  const int64_t over = need - have, cache = plan.rollout.caches;
  const int64_t memory_mb = (cache - (over + config.rollout.workers - 1) / config.rollout.workers) / kMiB;
  const int64_t longest = longest_sequence(config);
  const int64_t row_bytes = plan.learner.activations / micro_batch_rows(config);
  const int64_t rows = micro_batch_rows(config) - (over / config.learner.ranks + row_bytes - 1) / row_bytes;
  if (memory_mb >= 16 && memory_mb > cache / kMiB / 8 &&
      fits([&](base::Config& c) { c.rollout.memory_mb = static_cast<int>(memory_mb); }))
    return head + fmt::format("lower rollout.memory_mb from {} to {}", config.rollout.memory_mb, memory_mb);
  if (rows >= longest && fits([&](base::Config& c) { c.optimizer.micro_batch_tokens = static_cast<int>(rows); }))
    return head +
           fmt::format("lower optimizer.micro_batch_tokens from {} to {}", config.optimizer.micro_batch_tokens, rows);
  if (!config.model.recompute && fits([](base::Config& c) { c.model.recompute = true; }))
    return head + "set model.recompute to true";
  if (config.rollout.workers > 1 && fits([](base::Config& c) { c.rollout.workers = 1; }))
    return head + fmt::format("lower rollout.workers from {} to 1", config.rollout.workers);
  if (config.learner.ranks > 1 && fits([](base::Config& c) { c.learner.ranks = 1; }))
    return head + fmt::format("lower learner.ranks from {} to 1", config.learner.ranks);
  return head + "no single number is enough: a smaller model (its weights, gradients and moments alone take " +
         size_text(plan.learner.total() - plan.learner.activations) + " of the learner), or another machine";
}

}  // namespace

int64_t device_bytes(const base::Config& c, const model::ModelConfig& m) {
  const Plan plan = make_plan(c, m);
  const std::string& rollout_device = c.rollout.device.empty() ? c.run.device : c.rollout.device;
  const bool numbered = c.run.device.starts_with("cuda:");  // each process of a role has its own
  const int64_t ranks = numbered ? 1 : c.learner.ranks;
  const int64_t workers = rollout_device != c.run.device ? 0 : numbered ? 1 : c.rollout.workers;
  const int64_t phase = ranks * (plan.learner.gradients + plan.learner.activations);
  const int64_t caches = workers * plan.rollout.caches;
  const int64_t shared_image = workers > 0 ? plan.shared_image : 0;  // conductor_state.h: transport ipc
  return ranks * (plan.learner.weights + plan.learner.moments) + workers * plan.rollout.weights + shared_image +
         (c.rollout.in_turn ? std::max(phase, caches) : phase + caches);
}

std::string device_advice(const base::Config& config, const model::ModelConfig& m, int64_t bytes_free) {
  return memory_line("memory of the GPU", config, m, bytes_free,
                     [&m](const base::Config& c) { return device_bytes(c, m); });
}

std::vector<std::string> advice(const base::Config& config, const model::ModelConfig& m, const Machine& machine) {
  std::vector<std::string> lines;
  const Plan plan = make_plan(config, m);
  const std::string line = memory_line("memory", config, m, machine.memory_bytes,
                                       [&m](const base::Config& c) { return make_plan(c, m).memory_bytes(c); });
  if (!line.empty()) lines.push_back(line);
  if (plan.disk_bytes > machine.disk_bytes) {
    const int64_t keep = machine.disk_bytes / std::max<int64_t>(1, plan.checkpoint_bytes) - 2;
    lines.push_back(fmt::format("disk: {} wanted for checkpoints and export, {} free; ", size_text(plan.disk_bytes),
                                size_text(machine.disk_bytes)) +
                    (keep >= 1 ? fmt::format("lower checkpoint.keep from {} to {}", config.checkpoint.keep, keep)
                               : "give run.dir on a larger disk"));
  }
  return lines;
}

std::string plan_text(const base::Config& c, const model::ModelConfig& m, const Machine& machine) {
  const Plan p = make_plan(c, m);
  std::string text;
  const auto row = [&](const std::string& name, const std::string& what) {
    text += fmt::format("{:<11} {}\n", name, what);
  };
  const auto role = [&](const std::string& name, int count, const RoleMemory& r) {
    std::string parts;
    const auto part = [&](const char* of, int64_t bytes) {
      if (bytes > 0) parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", of, size_text(bytes));
    };
    part("weights", r.weights), part("gradients", r.gradients), part("moments", r.moments);
    part("activations", r.activations), part("caches", r.caches);
    text += fmt::format("  {:<9} {:>3} x {:>9}   {}\n", name, count, size_text(r.total()), parts);
  };
  row("model",
      fmt::format("{}: {} parameters, {} layers", c.model.path, model::with_commas(parameters_of(m)), m.num_layers));
  row("processes", fmt::format("{} on {} cores, and their memory at most",
                               c.learner.ranks + c.rollout.workers + c.reward.workers, machine.cores));
  role("learner", c.learner.ranks, p.learner);
  role("rollout", c.rollout.workers, p.rollout);
  text += fmt::format("  {:<9} {:>3} x {:>9}   more with Python functions that load much\n", "reward", c.reward.workers,
                      size_text(kRewardBytes));
  row("memory", fmt::format("{} with the {} of shared memory, {} available", size_text(p.memory_bytes(c)),
                            size_text(p.shared_image), size_text(machine.memory_bytes)));
  row("a step", fmt::format("{} prompts x {} completions = {}, at most {} tokens generated, {} update{}",
                            c.algorithm.prompts_per_step, c.algorithm.samples_per_prompt,
                            model::with_commas(p.completions), model::with_commas(p.most_tokens),
                            c.algorithm.updates_per_step, c.algorithm.updates_per_step == 1 ? "" : "s"));
  row("weight sync", fmt::format("{} a version to each worker, by {}", size_text(p.sync_bytes), c.sync.transport));
  row("checkpoint", fmt::format("{} each, {} kept and one being written, then the export: {} on disk, {} free",
                                size_text(p.checkpoint_bytes), c.checkpoint.keep, size_text(p.disk_bytes),
                                size_text(machine.disk_bytes)));
  row("run", fmt::format("cold start {} updates of {} examples, then {} steps, checkpoint {}", c.sft.steps,
                         c.sft.examples_per_step, c.algorithm.steps,
                         c.checkpoint.every > 0 ? fmt::format("every {} steps", c.checkpoint.every) : "at the end"));
  const auto lines = advice(c, m, machine);
  if (lines.empty()) text += "It fits this machine. Nothing was started.\n";
  for (const std::string& line : lines) text += "It does not fit. " + line + "\n";
  return text;
}

}  // namespace fulmen::learner
