// The reward service under load: two real processes behind the real socket, asked as the conductor asks.

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "kernels/error.h"
#include "learner/score_desk.h"
#include "shared/base/file.h"
#include "shared/launch/local_process.h"
#include "shared/wire/socket.h"
#include "tests/bench/bench.h"

namespace fulmen::bench {
namespace {

struct Case {
  const char* name;
  double wanted;                                             // verdicts a second
  std::vector<std::pair<std::string, std::string>> answers;  // of the response, ground truth
};

const std::string kReasoning =
    "We read the problem again and collect what is given. There are three parts, and each of them adds to the total. "
    "First we add the parts that are known, then we subtract what was sold, and in the end we divide by the number of "
    "people, which gives the share of each of them. Let us check the result by going backwards: multiplying again "
    "gives "
    "the number we began with, so nothing was lost on the way.\n";

std::vector<Case> cases() {
  Case gsm8k{"GSM8K answers, 2 processes", 20000, {}}, math{"MATH answers, 2 processes", 2000, {}};
  for (int n = 0; n < 50; ++n) {
    const std::string truth = std::to_string(37 * n + 5), other = std::to_string(37 * n + 6);
    gsm8k.answers.emplace_back("#### " + (n % 3 == 0 ? other : truth), truth);
  }
  const std::vector<std::pair<const char*, const char*>> forms{
      {"\\frac{3}{4}", "\\dfrac34"},
      {"\\left(3, \\frac{\\pi}{2}\\right)", "(3,\\pi/2)"},
      {"[-2,7]", "[-2, 7]"},
      {"2\\sqrt{3}+5", "5+\\sqrt{12}"},
      {"x^2+2x+1", "(x+1)^2"},
      {"\\{1,2,3\\}", "\\{3,2,1\\}"},
      {"(-\\infty,0)\\cup(1,\\infty)", "(-\\infty, 0) \\cup (1, \\infty)"},
      {"\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}"},
      {"12.5\\%", "12.5\\%"},
      {"1,234", "1234"},
      {"y=2x-3", "y = 2x - 3"},
      {"\\frac{1+\\sqrt{5}}{2}", "\\frac{\\sqrt{5}+1}{2}"},
      {"10\\text{ cm}", "10"},
      {"\\text{even}", "\\text{even}"},
      {"\\binom{7}{3}", "35"}};
  for (const auto& [answer, truth] : forms) math.answers.emplace_back("\\boxed{" + std::string(answer) + "}", truth);
  return {gsm8k, math};
}

// Two services and the socket they talk to.
class Services {
 public:
  Services()
      : directory_(std::filesystem::temp_directory_path() / fmt::format("fulmen-bench-{}", getpid())),
        server_("ipc", directory_, "bench") {
    std::filesystem::create_directories(directory_ + "/logs");
    const std::string config = directory_ + "/config.yaml";
    base::write_file_atomic(config, "run: {dir: " + directory_ + "}\nreward: {functions: [math], cache: 0}\n");
    for (const std::string name : {"reward-0", "reward-1"}) {
      const std::string program = launch::directory_of_this_program() + "/fulmen-reward";
      processes_.push_back(std::make_unique<launch::LocalProcess>(
          std::vector<std::string>{program, "reward", "--endpoint", server_.endpoint(), "--run-id", "bench", "--name",
                                   name, config},
          directory_ + "/logs/" + name + ".out"));
    }
    const double begin = now_seconds();
    while (peers_.size() < processes_.size()) {
      FULMEN_CHECK(now_seconds() - begin < 30, "the reward services did not connect: see " + directory_ + "/logs");
      listen(100);
    }
  }
  ~Services() {
    processes_.clear();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  // CPU time of both processes so far.
  double cpu_seconds() const {
    double sum = 0;
    for (const auto& p : processes_) {
      std::ifstream in(fmt::format("/proc/{}/stat", p->pid()));
      std::string text((std::istreambuf_iterator<char>(in)), {}), skipped;
      std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 1)));
      constexpr int kBeforeUserTime = 11;
      for (int i = 0; i < kBeforeUserTime; ++i) fields >> skipped;
      double user = 0, system = 0;
      fields >> user >> system;
      sum += (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
    }
    return sum;
  }

  // Verdicts a second, with as many records asked for as the conductor has at once.
  double rate(const Case& c, double seconds, double& scored) {
    desk_.clear();
    uint64_t verdicts = 0, scores = 0;
    const double begin = now_seconds();
    while (now_seconds() - begin < seconds) {
      while (desk_.missing() < 2 * learner::ScoreDesk::kOutstanding) desk_.add(request(c));
      issue();
      const auto [n, good] = listen(10);
      verdicts += n, scores += good;
    }
    scored = verdicts > 0 ? static_cast<double>(scores) / static_cast<double>(verdicts) : 0;
    return static_cast<double>(verdicts) / (now_seconds() - begin);
  }

 private:
  wire::ScoreRequest request(const Case& c) {
    const auto& [answer, truth] = c.answers[next_ % c.answers.size()];
    wire::ScoreRequest r;
    r.set_id(++next_);
    r.set_prompt("A problem of some lines stands here.");
    r.set_response("<think>\n" + kReasoning + kReasoning + "</think>\n" + kReasoning + answer);
    r.set_ground_truth(truth);
    return r;
  }

  void issue() {
    std::vector<std::string> names;
    for (const auto& [name, peer] : peers_) names.push_back(name);
    desk_.issue(names, [&](const std::string& name, const wire::ScoreRequests& q) {
      wire::Message m;
      m.peer = peers_.at(name);
      *m.envelope.mutable_score_requests() = q;
      FULMEN_CHECK(server_.send(m), name + " cannot be reached");
    });
  }

  std::pair<uint64_t, uint64_t> listen(int timeout_ms) {
    uint64_t verdicts = 0, scores = 0;
    wire::Message m;
    for (int wait = timeout_ms; server_.receive(m, wait); wait = 0) {
      if (m.envelope.has_hello()) {
        peers_[m.envelope.hello().name()] = m.peer;
        wire::Message w;
        w.peer = m.peer;
        w.envelope.mutable_welcome();
        server_.send(w);
      }
      for (const wire::Verdict& v : m.envelope.verdicts().items()) {
        verdicts += desk_.take(v.worker(), v);
        scores += v.kind() == wire::VERDICT_SCORE;
      }
    }
    return {verdicts, scores};
  }

  const std::string directory_;
  wire::Server server_;
  std::vector<std::unique_ptr<launch::LocalProcess>> processes_;
  std::map<std::string, std::string> peers_;
  learner::ScoreDesk desk_;
  uint64_t next_ = 0;
};

void run(const Options& options) {
  Services services;
  std::printf("%-32s %14s %10s %16s %8s %8s\n", "", "verdicts/s", "wanted", "ratio", "scored", "others");
  for (const Case& c : cases()) {
    if (std::string(c.name).find(options.filter) == std::string::npos) continue;
    double scored = 0;
    services.rate(c, 0.3, scored);
    const Quiet quiet;
    const double begin = now_seconds(), spent = services.cpu_seconds();
    const double rate = services.rate(c, std::max(2.0, options.seconds_per_case), scored);
    // What the services used themselves is no disturbance.
    const double own = (services.cpu_seconds() - spent) / (now_seconds() - begin);
    const double others = std::max(0.0, quiet.others() - own);
    std::printf(
        "%-32s %14.0f %10.0f %16s %7.0f%% %7.0f%%\n", c.name, rate, c.wanted,
        judge(std::string("reward, ") + c.name, rate / c.wanted, {Bar::kAtLeast, 1.0}, others <= Quiet::kLimit).c_str(),
        100 * scored, 100 * others);
  }
}

const bool kRegistered = register_table(
    "reward", "math verdicts through the service's socket, caches off (the asking side runs on the same cores)", run);

}  // namespace
}  // namespace fulmen::bench
