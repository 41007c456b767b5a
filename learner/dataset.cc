#include "learner/dataset.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "learner/task_mix.h"
#include "shared/base/nested_json.h"
#include "shared/base/rng.h"

namespace fulmen::learner {
namespace {

using nlohmann::json;

// Follows "a.b" through nested objects; null when absent.
const json* find_path(const json& record, const std::string& path) {
  const json* at = &record;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    if (!at->is_object()) return nullptr;
    const auto it = at->find(path.substr(begin, end - begin));
    if (it == at->end()) return nullptr;
    at = &*it;
    begin = end + 1;
  }
  return at;
}

std::string text_value(const json& v) { return v.is_string() ? v.get<std::string>() : v.dump(); }

class JsonlDataset : public Dataset {
 public:
  JsonlDataset(const base::Config& c, const std::string& path, const model::Tokenizer& tokenizer) : path_(path) {
    std::ifstream in(path);
    FULMEN_CHECK(in.good(), "cannot read data file " + path + ": " + std::strerror(errno));
    std::string line;
    for (int64_t number = 1; std::getline(in, line); ++number)
      if (!line.empty()) records_.push_back(parse(c, line, path + ":" + std::to_string(number), tokenizer));
    FULMEN_CHECK(!records_.empty(), "data file " + path + " holds no record");
  }
  int64_t size() const override { return static_cast<int64_t>(records_.size()); }
  PromptRecord record(int64_t index) const override { return records_[static_cast<size_t>(index)]; }
  std::string describe() const override { return path_ + ", " + std::to_string(records_.size()) + " records"; }

 private:
  static PromptRecord parse(const base::Config& c, const std::string& line, const std::string& where,
                            const model::Tokenizer& tokenizer) {
    const json j = base::parse_json(line, where);
    const auto need = [&](const std::string& key) -> const json& {
      const json* v = find_path(j, key);
      FULMEN_CHECK(v != nullptr, where + ": no field " + key + " (data.*_key maps columns)");
      return *v;
    };
    PromptRecord r;
    std::vector<model::Message> messages;
    const json& prompt = need(c.data.prompt_key);
    if (prompt.is_array()) {
      for (const json& m : prompt) {
        FULMEN_CHECK(m.is_object() && m.contains("role") && m.contains("content"),
                     where + ": " + c.data.prompt_key + " holds a message without role or content");
        messages.push_back({text_value(m["role"]), text_value(m["content"])});
      }
    } else {
      messages.push_back({"user", text_value(prompt)});
    }
    r.prompt = model::render_chat(c.data.template_name, messages);
    r.ids = tokenizer.encode(r.prompt);
    FULMEN_CHECK(!r.ids.empty(), where + ": the prompt is empty");
    FULMEN_CHECK(static_cast<int>(r.ids.size()) <= c.data.max_prompt_tokens,
                 where + ": prompt has " + std::to_string(r.ids.size()) +
                     " tokens, want <= " + std::to_string(c.data.max_prompt_tokens) + " (data.max_prompt_tokens)");
    r.data_source = text_value(need(c.data.source_key));
    r.ground_truth = text_value(need(c.data.answer_key));
    if (const json* extra = find_path(j, "extra_info")) r.extra_info = extra->dump();
    if (const json* completion = find_path(j, "completion")) r.worked = text_value(*completion);
    return r;
  }

  std::string path_;
  std::vector<PromptRecord> records_;
};

}  // namespace

std::unique_ptr<Dataset> make_file_dataset(const base::Config& c, const std::string& path,
                                           const model::Tokenizer& tokenizer) {
  return std::make_unique<JsonlDataset>(c, path, tokenizer);
}

std::unique_ptr<Dataset> make_dataset(const base::Config& c, Split split, const model::Tokenizer& tokenizer) {
  const bool train = split == Split::kTrain;
  if (!train && !c.data.eval.empty()) return make_file_dataset(c, c.data.eval, tokenizer);
  if (!c.data.task.empty() || !c.data.mix.empty()) return make_mix(c, split, tokenizer);
  FULMEN_CHECK(train && !c.data.train.empty(),
               std::string("no data: set data.task, data.mix or data.") + (train ? "train" : "eval"));
  return make_file_dataset(c, c.data.train, tokenizer);
}

int64_t shuffled_index(uint64_t seed, int64_t n, int64_t size, bool shuffle) {
  const int64_t epoch = n / size, place = n % size;
  if (!shuffle || size > (int64_t{1} << 24)) return size > (int64_t{1} << 24) ? n : place;
  thread_local std::vector<int64_t> order;  // of one epoch; recomputed when it changes
  thread_local uint64_t order_seed = 0;
  thread_local int64_t order_epoch = -1;
  if (order_epoch != epoch || order_seed != seed || static_cast<int64_t>(order.size()) != size) {
    order.resize(static_cast<size_t>(size));
    std::iota(order.begin(), order.end(), 0);
    base::Stream rng(seed, base::Purpose::kShuffle, static_cast<uint64_t>(epoch));
    for (int64_t i = size - 1; i > 0; --i)
      std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(rng.next_int(0, i))]);
    order_seed = seed, order_epoch = epoch;
  }
  return order[static_cast<size_t>(place)];
}

}  // namespace fulmen::learner
