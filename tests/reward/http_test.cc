// The HTTP service and the HTTP function, each against the other and against what strangers send.
#include <gtest/gtest.h>
#include <httplib.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "kernels/error.h"
#include "reward/http_function.h"
#include "reward/http_post.h"
#include "reward/http_service.h"

namespace fulmen::reward {
namespace {

using nlohmann::json;

class HttpTest : public testing::Test {
 protected:
  void start(const std::vector<std::string>& functions = {"math"}, int threads = 2, size_t queue = 64) {
    shared_ = std::make_shared<Shared>(1000);
    RewardOptions options;
    options.shared = shared_;
    pool_ = std::make_unique<ScoringPool>([=] { return make_reward(functions, options); }, threads, queue);
    service_ = std::make_unique<HttpService>(options_, *pool_, *shared_);
    thread_ = std::thread([this] { service_->run(); });
    client_ = std::make_unique<httplib::Client>("127.0.0.1", service_->port());
    client_->set_read_timeout(20);
    while (!client_->Get("/health")) std::this_thread::yield();
  }
  void TearDown() override {
    if (service_) service_->stop();
    if (thread_.joinable()) thread_.join();
  }
  std::pair<int, json> post(const std::string& path, const std::string& body) {
    const auto r = client_->Post(path.c_str(), body, "application/json");
    if (!r) return {0, json()};
    return {r->status, json::parse(r->body, nullptr, false)};
  }
  std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(service_->port()) + path;
  }

  HttpServiceOptions options_;
  std::shared_ptr<Shared> shared_;
  std::unique_ptr<ScoringPool> pool_;
  std::unique_ptr<HttpService> service_;
  std::unique_ptr<httplib::Client> client_;
  std::thread thread_;
};

TEST_F(HttpTest, BatchOfRecordsGivesVerdictsInOrder) {
  start();
  const auto [status, j] = post("/score", R"({"records": [{"id": "a", "response": "#### 1", "ground_truth": "1"}, [],
      {"id": 2, "response": "#### 2", "ground_truth": "1"}, {"id": 3, "response": "?", "ground_truth": "1"}]})");
  ASSERT_EQ(status, 200) << j;
  EXPECT_EQ(j["verdicts"].size(), 4u);
  EXPECT_EQ(j["verdicts"][0]["id"], "a");
  EXPECT_EQ(j["verdicts"][0]["score"], 1.0);
  EXPECT_EQ(j["verdicts"][1]["verdict"], "error");
  EXPECT_EQ(j["verdicts"][2]["score"], 0.0);
  EXPECT_EQ(j["verdicts"][3]["verdict"], "unparsable");
  EXPECT_TRUE(j["verdicts"][3]["score"].is_null());
}

TEST_F(HttpTest, OpenRlhfAndSlimeAreAnsweredInTheirOwnForm) {
  start();
  const auto [status, j] =
      post("/get_reward", R"({"query": ["q #### 1", "q #### 2"], "prompts": ["q", "q"], "labels": ["1", "1"]})");
  ASSERT_EQ(status, 200) << j;
  EXPECT_EQ(j["rewards"], json({1.0, 0.0}));
  EXPECT_EQ(post("/rm", R"({"prompt": "q", "response": "#### 1", "label": "1"})").second, json(1.0));
  EXPECT_EQ(post("/rm", R"({"prompt": "q", "response": "?", "label": "1"})").second, json(0.0));
  EXPECT_EQ(post("/rm?strict=1", R"({"prompt": "q", "response": "?", "label": "1"})").first, 500);
  EXPECT_EQ(post("/rm", R"({"prompt": "q", "response": "#### 1"})").first, 500) << "an error is never a silent 0";
  const auto [unread, why] = post("/rm", R"({"prompt": "q", "response": "#### 1", "label": "3 + * 4"})");
  EXPECT_EQ(unread, 500) << "nor is a ground truth that cannot be read";
  EXPECT_NE(why.dump().find("ground_truth"), std::string::npos) << why;
}

TEST_F(HttpTest, WhatIsNoRequestGetsAClearRefusal) {
  options_.max_body_bytes = 10000;
  options_.max_records = 3;
  start();
  const auto refused = [&](const std::string& path, const std::string& body, int status, const std::string& part) {
    const auto [got, j] = post(path, body);
    EXPECT_EQ(got, status) << body.substr(0, 100);
    EXPECT_NE(j.dump().find(part), std::string::npos) << j;
  };
  refused("/score", "{", 400, "not JSON");
  refused("/score", "{}", 400, "records");
  refused("/score", R"({"records": 1})", 400, "want a list");
  refused("/score", "[{},{},{},{}]", 413, "at most 3");
  refused("/score", std::string(5000, '['), 400, "nested");
  refused("/get_reward", R"({"query": ["a"], "labels": []})", 400, "want 1");
  refused("/rm", "[]", 400, "response");
  refused("/nowhere", "{}", 404, "POST /score");
  refused("/score", std::string(20000, ' '), 413, "10000 bytes");
  EXPECT_EQ(post("/score", "[]").first, 200) << "the service lives";
}

TEST_F(HttpTest, MetricsAreThePrometheusText) {
  start();
  post("/score", R"([{"response": "#### 1", "ground_truth": "1"}, {"response": "#### 1", "ground_truth": "1"}])");
  const std::string text = client_->Get("/metrics")->body;
  EXPECT_NE(text.find("fulmen_reward_verdicts_total{function=\"math\",verdict=\"score\"}"), std::string::npos);
  EXPECT_NE(text.find("fulmen_reward_seconds_bucket{function=\"math\",le=\"+Inf\"}"), std::string::npos);
  EXPECT_NE(text.find("fulmen_reward_queue_length 0"), std::string::npos);
}

TEST_F(HttpTest, TenTimesTheLoadThatFitsLosesNothing) {
  options_.wait_ms = 20000;
  start({"math"}, 2, 16);
  std::atomic<int> scored{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 10; c++) {
    clients.emplace_back([&, c] {
      httplib::Client client("127.0.0.1", service_->port());
      client.set_read_timeout(30);
      for (int i = 0; i < 10; i++) {
        json records = json::array();
        for (int k = 0; k < 16; k++) {
          const int n = c * 1000 + i * 20 + k;
          records.push_back({{"response", "#### " + std::to_string(n)}, {"ground_truth", std::to_string(n)}});
        }
        const auto r = client.Post("/score", records.dump(), "application/json");
        ASSERT_TRUE(r && r->status == 200);
        const json answer = json::parse(r->body);
        for (const json& v : answer["verdicts"]) scored += v["score"] == 1.0;
      }
    });
  }
  for (std::thread& t : clients) t.join();
  EXPECT_EQ(scored, 1600);
}

TEST_F(HttpTest, APortInUseIsAnErrorNotShared) {
  start();
  HttpServiceOptions second;
  second.port = service_->port();
  EXPECT_THROW(HttpService(second, *pool_, *shared_), Error);
}

TEST_F(HttpTest, FunctionOverHttpSpeaksAllThreeForms) {
  start();
  Record right, wrong;
  right.response = "#### 1", wrong.response = "#### 2";
  right.prompt = wrong.prompt = "q";
  right.ground_truth = wrong.ground_truth = "1";
  const std::vector<Record> records{right, wrong, right};
  for (const auto& [path, form] : {std::pair("/score", "fulmen"), {"/get_reward", "openrlhf"}, {"/rm", "slime"}}) {
    auto f = make_http(url(path), {.form = form});
    const auto v = f->score_all(records);
    for (size_t i = 0; i < 3; i++) EXPECT_EQ(v[i].score, i == 1 ? 0 : 1) << form << ": " << v[i].detail;
  }
  auto f = make_http(url("/nowhere"), {});
  EXPECT_NE(f->score(right).detail.find("status 404"), std::string::npos);
  EXPECT_THROW(make_http("ftp://x", {}), Error);
  EXPECT_THROW(make_http(url("/"), {.form = "soap"}), Error);
}

TEST_F(HttpTest, ServerThatDripsIsCutOffAtTheDeadline) {
  httplib::Server server;
  server.Post("/drip", [](const httplib::Request&, httplib::Response& r) {
    r.set_chunked_content_provider("application/json", [](size_t, httplib::DataSink& sink) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      return sink.write(" ", 1);
    });
  });
  server.Post("/away", [](const httplib::Request&, httplib::Response& r) { r.set_redirect("/drip"); });
  std::atomic<int> tries{0};
  server.Post("/busy", [&](const httplib::Request&, httplib::Response& r) {
    r.status = ++tries < 3 ? 503 : 200;
    r.set_content("1", "application/json");
  });
  server.Post("/huge", [](const httplib::Request&, httplib::Response& r) {
    r.set_content(std::string(20 << 20, '1'), "application/json");
  });
  const int port = server.bind_to_any_port("127.0.0.1");
  std::thread thread([&] { server.listen_after_bind(); });
  const auto ask = [&](const std::string& path, int ms) {
    const Url url = parse_url("http://127.0.0.1:" + std::to_string(port) + path);
    return post_json(url, "{}", {.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms)});
  };
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(ask("/drip", 400).result == HttpReply::Result::kTimeout);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  EXPECT_EQ(ask("/away", 2000).status, 302) << "redirects are not followed";
  EXPECT_EQ(ask("/busy", 5000).body.back(), '1');
  EXPECT_EQ(tries, 3);
  EXPECT_NE(ask("/huge", 5000).problem.find("larger than"), std::string::npos);
  server.stop();
  thread.join();
  EXPECT_FALSE(ask("/drip", 500).problem.empty()) << "nobody there";
}

}  // namespace
}  // namespace fulmen::reward
