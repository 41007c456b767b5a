#include "learner/run_checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "shared/base/file.h"
#include "shared/base/log.h"
#include "shared/model/checkpoint.h"

namespace fulmen::learner {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// adamw.bin: m then v of every tensor, fp32, order of tensor_specs(). Its digest stands in state.json.
void write_moments(const std::string& path, const OptimizerState& o, kernels::Context& ctx) {
  base::FileWriter out(path);
  std::vector<float> fetched;
  for (const auto* moments : {&o.m, &o.v})
    for (const model::Buffer& b : *moments) {
      if (!kernels::host_memory(ctx)) {
        fetched.resize(b.size());
        kernels::copy_out(fetched.data(), b.data(), b.size() * sizeof(float), ctx);
      }
      out.write(kernels::host_memory(ctx) ? b.data() : fetched.data(), b.size() * sizeof(float));
    }
  out.commit();
}

void read_moments(const base::MappedFile& file, OptimizerState& o, kernels::Context& ctx) {
  size_t want = 0;
  for (const model::Buffer& b : o.m) want += 2 * b.size() * sizeof(float);
  FULMEN_CHECK(file.size() == want, file.path() + ": got " + std::to_string(file.size()) + " bytes, want " +
                                        std::to_string(want) + " for this model");
  const uint8_t* at = file.data();
  for (auto* moments : {&o.m, &o.v})
    for (model::Buffer& b : *moments) {
      kernels::copy_in(b.data(), at, b.size() * sizeof(float), ctx);
      at += b.size() * sizeof(float);
    }
}

json digests_of(const std::string& dir) {  // every file below dir except state.json
  json digests = json::object();
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    if (!entry.is_regular_file() || entry.path().filename() == "state.json") continue;
    const base::MappedFile file(entry.path());
    digests[fs::relative(entry.path(), dir).string()] = base::hex(base::digest128(file.data(), file.size()));
  }
  return digests;
}

int64_t step_of(const fs::path& dir) {  // checkpoints/step_12 -> 12, others -1
  const std::string name = dir.filename();
  if (name.rfind("step_", 0) != 0 || name.size() == 5 || name.find_first_not_of("0123456789", 5) != std::string::npos)
    return -1;
  return std::stoll(name.substr(5));
}

std::vector<fs::path> checkpoints_newest_first(const std::string& run_dir) {
  std::vector<fs::path> dirs;
  const fs::path root = fs::path(run_dir) / "checkpoints";
  if (fs::exists(root))
    for (const auto& entry : fs::directory_iterator(root))
      if (entry.is_directory() && step_of(entry.path()) >= 0) dirs.push_back(entry.path());
  std::sort(dirs.begin(), dirs.end(), [](const auto& a, const auto& b) { return step_of(a) > step_of(b); });
  return dirs;
}

constexpr std::pair<const char*, double PhaseTimes::*> kPhases[] = {
    {"sft", &PhaseTimes::sft},       {"generate", &PhaseTimes::generate}, {"reward", &PhaseTimes::reward},
    {"update", &PhaseTimes::update}, {"sync", &PhaseTimes::sync},         {"eval", &PhaseTimes::eval}};

json to_json(const RunState& s) {
  json phases;
  for (const auto& [name, seconds] : kPhases) phases[name] = s.times.*seconds;
  return {{"format", 2},
          {"step", s.step},
          {"weights_version", s.weights_version},
          {"episodes", s.episodes},
          {"tokens_generated", s.tokens_generated},
          {"tokens_compared", s.tokens_compared},
          {"bits_differing", s.bits_differing},
          {"accuracy_before", s.accuracy_before},
          {"accuracy_after_sft", s.accuracy_after_sft},
          {"reward_first", s.reward_first},
          {"reward_last", s.reward_last},
          {"seconds", s.seconds},
          {"times", phases},
          {"config", s.config}};
}

void verify(const fs::path& dir) {  // throws Error naming the file that differs
  const json state = json::parse(base::read_file(dir / "state.json"));
  const json found = digests_of(dir);
  for (const auto& [name, digest] : state.at("files").items())
    FULMEN_CHECK(
        found.value(name, "") == digest,
        (dir / name).string() + ": " + (found.contains(name) ? "digest differs" : "missing") + " from state.json");
}

}  // namespace

void save_run_checkpoint(const std::string& run_dir, const RunState& state, Trainer& trainer, int keep) {
  const fs::path root = fs::path(run_dir) / "checkpoints";
  const fs::path final_dir = root / ("step_" + std::to_string(state.step));
  const fs::path beside = root / ("tmp.step_" + std::to_string(state.step) + "." + std::to_string(getpid()));
  base::make_directories(root);
  for (const auto& entry : fs::directory_iterator(root))  // left by a process that was killed
    if (entry.path().filename().string().rfind("tmp.", 0) == 0) base::remove_all(entry.path());
  base::make_directories(beside);
  try {
    model::save_checkpoint(beside / "model", trainer.weights(), model::FileDType::kF32);
    write_moments(beside / "adamw.bin", trainer.optimizer(), trainer.context());
    json j = to_json(state);
    j["optimizer_step"] = trainer.optimizer().step;
    j["files"] = digests_of(beside);
    base::write_file_atomic(beside / "state.json", j.dump(2) + "\n");
    verify(beside);
    base::remove_all(final_dir);
    fs::rename(beside, final_dir);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(beside, ignored);
    throw;
  }
  const auto all = checkpoints_newest_first(run_dir);
  for (size_t i = static_cast<size_t>(std::max(1, keep)); i < all.size(); ++i) base::remove_all(all[i]);
}

std::vector<int64_t> checkpoint_steps(const std::string& run_dir) {
  std::vector<int64_t> steps;
  for (const fs::path& dir : checkpoints_newest_first(run_dir)) steps.push_back(step_of(dir));
  return steps;
}

std::string newest_run_checkpoint(const std::string& run_dir) {
  for (const fs::path& dir : checkpoints_newest_first(run_dir)) {
    try {
      verify(dir);
      return dir;
    } catch (const std::exception& e) {
      base::warn("checkpoint {} is not used: {}", dir.string(), e.what());
    }
  }
  return "";
}

RunState load_run_checkpoint(const std::string& checkpoint_dir, Trainer& trainer) {
  const fs::path dir(checkpoint_dir);
  const json j = json::parse(base::read_file(dir / "state.json"));
  model::load_checkpoint(dir / "model", trainer.weights());
  read_moments(base::MappedFile(dir / "adamw.bin"), trainer.optimizer(), trainer.context());
  trainer.optimizer().step = j.at("optimizer_step");
  RunState s;
  s.step = j.at("step");
  s.weights_version = j.at("weights_version");
  s.episodes = j.at("episodes");
  s.tokens_generated = j.at("tokens_generated");
  s.tokens_compared = j.at("tokens_compared");
  s.bits_differing = j.at("bits_differing");
  s.accuracy_before = j.at("accuracy_before");
  s.accuracy_after_sft = j.at("accuracy_after_sft");
  s.reward_first = j.at("reward_first");
  s.reward_last = j.at("reward_last");
  s.seconds = j.at("seconds");
  for (const auto& [name, seconds] : kPhases) s.times.*seconds = j.at("times").at(name);
  s.config = j.at("config").get<std::map<std::string, std::string>>();
  return s;
}

}  // namespace fulmen::learner
