#include "reward/http_function.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "reward/http_post.h"
#include "reward/record_json.h"

namespace fulmen::reward {
namespace {

constexpr size_t kBatch = 64;

class HttpFunction : public Function {
 public:
  HttpFunction(const std::string& url, const HttpFunctionOptions& options)
      : url_(parse_url(url)), options_(options), version_(url + "/" + options.form) {
    const bool known = options.form == "fulmen" || options.form == "openrlhf" || options.form == "slime";
    FULMEN_CHECK(known,
                 fmt::format("reward function {}: form: got {}, want fulmen, openrlhf or slime", url, options.form));
  }

  const std::string& name() const override { return name_; }
  const std::string& version() const override { return version_; }
  bool wants_reasoning() const override { return true; }
  bool wants_truth() const override { return false; }  // what it needs is known over there
  bool repeatable() const override { return false; }
  size_t batch() const override { return options_.form == "slime" ? 1 : kBatch; }
  Verdict score(const Record& r) override { return score_all({&r, 1})[0]; }

  std::vector<Verdict> score_all(std::span<const Record> records) override {
    std::vector<Verdict> verdicts;
    for (size_t begin = 0; begin < records.size(); begin += batch()) {
      const auto part = records.subspan(begin, std::min(batch(), records.size() - begin));
      for (Verdict& v : ask(part)) verdicts.push_back(std::move(v));
    }
    return verdicts;
  }

 private:
  std::vector<Verdict> ask(std::span<const Record> records) const {
    int limit_ms = options_.deadline_ms;
    for (const Record& r : records)
      if (r.deadline_ms > 0) limit_ms = std::min(limit_ms, r.deadline_ms);
    PostOptions post{.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(limit_ms),
                     .attempts = options_.attempts,
                     .max_bytes = 16 << 20};
    const HttpReply reply = post_json(url_, request(records), post);
    if (reply.problem.empty()) {
      try {
        return read(reply.body, records.size());
      } catch (const std::exception& e) {
        return fill(records.size(), Kind::kError, json_reason(e) + ": " + reply.body.substr(0, 200));
      }
    }
    const bool late = reply.result == HttpReply::Result::kTimeout;
    std::string why = reply.problem;
    if (!reply.body.empty()) why += ": " + reply.body.substr(0, 200);
    return fill(records.size(), late ? Kind::kTimeout : Kind::kError, why);
  }

  static std::vector<Verdict> fill(size_t n, Kind kind, const std::string& why) {
    return std::vector<Verdict>(n, make_verdict(kind, 0, why));
  }

  std::string request(std::span<const Record> records) const {
    if (options_.form == "slime") {
      const Record& r = records[0];
      return dump_json({{"prompt", r.prompt}, {"response", r.response}, {"label", r.ground_truth}});
    }
    Json list = Json::array(), query = Json::array(), prompts = Json::array(), labels = Json::array();
    for (const Record& r : records) {
      list.push_back(write_record(r));
      query.push_back(r.prompt + r.response);
      prompts.push_back(r.prompt);
      labels.push_back(r.ground_truth);
    }
    if (options_.form == "fulmen") return dump_json({{"records", std::move(list)}});
    return dump_json({{"query", std::move(query)}, {"prompts", std::move(prompts)}, {"labels", std::move(labels)}});
  }

  std::vector<Verdict> read(const std::string& body, size_t wanted) const {
    const Json j = parse_json(body);
    std::vector<Verdict> verdicts;
    if (options_.form == "slime") return {read_verdict(j)};
    const char* name = options_.form == "fulmen" ? "verdicts" : "rewards";
    FULMEN_CHECK(j.is_object() && j.contains(name) && j[name].is_array(),
                 fmt::format("the answer has no \"{}\"", name));
    FULMEN_CHECK(j[name].size() == wanted, fmt::format("{} {} for {} records", j[name].size(), name, wanted));
    for (const Json& v : j[name]) verdicts.push_back(read_verdict(v));
    return verdicts;
  }

  const Url url_;
  const HttpFunctionOptions options_;
  std::string name_ = "http", version_;
};

}  // namespace

std::unique_ptr<Function> make_http(const std::string& url, const HttpFunctionOptions& options) {
  return std::make_unique<HttpFunction>(url, options);
}

}  // namespace fulmen::reward
