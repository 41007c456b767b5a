#include "shared/collective/collective.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <random>
#include <thread>

#include "kernels/error.h"
#include "kernels/table.h"
#include "shared/collective/roll_call.h"

namespace fulmen::collective {
namespace {

class Directory {  // a fresh one, gone at the end
 public:
  Directory() : path_(std::filesystem::path(testing::TempDir()) / ("collective." + std::to_string(getpid()))) {
    std::filesystem::remove_all(path_);
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  operator std::string() const { return path_; }

 private:
  std::filesystem::path path_;
};

GroupOptions options(const std::string& dir, int rank, int size) {
  GroupOptions o;
  o.rank = rank;
  o.size = size;
  o.directory = dir;
  o.epoch = "e0";
  o.timeout_ms = 20000;
  return o;
}

// Each rank in a process of its own; `body` says whether the rank saw what it should. A rank that gives no verdict is
// -1.
std::vector<int> run_ranks(int size, const std::function<bool(int rank)>& body) {
  std::vector<pid_t> pids;
  for (int r = 0; r < size; r++) {
    pid_t pid = fork();
    if (pid == 0) {
      bool ok = false;
      try {
        ok = body(r);
      } catch (const std::exception& e) {
        fprintf(stderr, "rank %d: %s\n", r, e.what());
      }
      _exit(ok ? 0 : 1);
    }
    pids.push_back(pid);
  }
  std::vector<int> codes;
  for (pid_t pid : pids) {
    int status = 0;
    waitpid(pid, &status, 0);
    codes.push_back(WIFEXITED(status) ? WEXITSTATUS(status) : -1);
  }
  return codes;
}

// A device for NCCL: the CPU's kernels and memory, and a stream as nccl_double.cc has it.
struct Device {
  kernels::ThreadPool pool{1};
  kernels::KernelTable table = *kernels::cpu_context(pool).table;
  std::atomic<int> under_way{0};
  kernels::Context ctx{&table, &pool, &under_way};
  Device() {
    table.stream = [](kernels::Context& c) { return c.device; };
    table.idle = [](kernels::Context& c) { return static_cast<std::atomic<int>*>(c.device)->load() == 0; };
  }
};

// Every property holds for Gloo and for NCCL, the latter against a double of the library (nccl_double.cc).
class CollectiveOf : public ::testing::TestWithParam<const char*> {
 protected:
  static bool nccl() { return std::string(GetParam()) == "nccl"; }
  static std::unique_ptr<Collective> make(const GroupOptions& o) {
    if (!nccl()) return make_gloo(o);
    static Device device;
    return make_nccl(o, {.ctx = &device.ctx, .library = FULMEN_NCCL_DOUBLE});
  }
};
INSTANTIATE_TEST_SUITE_P(, CollectiveOf, ::testing::Values("gloo", "nccl"),
                         [](const auto& p) { return std::string(p.param); });

std::vector<float> values(int rank, size_t n) {  // magnitudes so apart that every other order gives other bits
  std::mt19937 g(static_cast<uint32_t>(rank) + 77);
  std::vector<float> v(n);
  for (float& x : v) x = (static_cast<float>(g() % 2001) - 1000) * std::exp2(static_cast<float>(g() % 40) - 20);
  return v;
}

TEST_P(CollectiveOf, SumIsInRankOrderBitForBitAndTheSameOnEveryRank) {
  Directory dir;
  auto codes = run_ranks(3, [&](int rank) {
    auto c = make(options(dir, rank, 3));
    for (size_t n : {size_t{1}, size_t{2}, size_t{7}, size_t{1000003}}) {  // fewer than ranks, odd, several rounds
      std::vector<float> zero = values(0, n), one = values(1, n), two = values(2, n), want(n), other(n);
      for (size_t i = 0; i < n; i++) {
        want[i] = (zero[i] + one[i]) + two[i];
        other[i] = (two[i] + one[i]) + zero[i];
      }
      if (n > 100 && memcmp(want.data(), other.data(), n * sizeof(float)) == 0) return false;  // the values must tell
      std::vector<float> got = values(rank, n);
      std::this_thread::sleep_for(std::chrono::milliseconds(rank == 0 ? 20 : 0));  // arrival order is not rank order
      c->allreduce_sum(got);
      if (memcmp(got.data(), want.data(), n * sizeof(float)) != 0) return false;
    }
    std::vector<double> d{1.0 + rank};
    c->allreduce_sum(d);
    c->allreduce_sum(std::span<float>());
    return d[0] == 6.0;
  });
  EXPECT_EQ(codes, std::vector<int>(3, 0));
}

TEST_P(CollectiveOf, PartsAreAddedInOrderWhateverRankHoldsThem) {
  constexpr size_t kLength = 700001;  // more than one round
  std::vector<std::vector<float>> part;
  for (int p = 0; p < 5; p++) part.push_back(values(p, kLength));
  std::vector<float> want = part[0], grouped = part[0], tail = part[2];
  for (size_t p = 1; p < 5; p++)
    for (size_t i = 0; i < kLength; i++) want[i] += part[p][i];
  for (size_t i = 0; i < kLength; i++)
    grouped[i] = (part[0][i] + part[1][i]) + ((part[2][i] + part[3][i]) + part[4][i]);
  ASSERT_NE(memcmp(want.data(), grouped.data(), kLength * sizeof(float)), 0) << "the values must tell orders apart";
  const std::vector<std::vector<int>> splits{{2, 3}, {0, 5}, {1, 0, 4}, {2, 2, 1}};
  for (size_t s = 0; s < splits.size(); s++) {
    Directory dir;
    const std::vector<int>& counts = splits[s];
    const int size = static_cast<int>(counts.size());
    auto codes = run_ranks(size, [&](int rank) {
      auto c = make(options(dir, rank, size));
      std::vector<std::span<const float>> own;
      size_t first = 0;
      for (int r = 0; r < rank; r++) first += static_cast<size_t>(counts[static_cast<size_t>(r)]);
      for (int k = 0; k < counts[static_cast<size_t>(rank)]; k++) own.push_back(part[first + static_cast<size_t>(k)]);
      std::vector<float> out(kLength, 99.0f);
      std::span<float> into = out;
      if (!own.empty()) into = part[first];  // in place
      c->sum_in_order(own, counts, into);
      return memcmp(into.data(), want.data(), kLength * sizeof(float)) == 0;
    });
    EXPECT_EQ(codes, std::vector<int>(counts.size(), 0)) << "split " << s;
  }
}

TEST_P(CollectiveOf, WaitForHasNoDeadlineWhileTheRankLivesAndEndsWhenItIsGone) {
  Directory dir;
  auto codes = run_ranks(2, [&](int rank) {
    GroupOptions o = options(dir, rank, 2);
    o.timeout_ms = 300;
    auto c = make(o);
    if (rank == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(900));
      c->barrier();
      return true;
    }
    c->wait_for(0);
    c->barrier();
    try {
      c->wait_for(0);
    } catch (const Error& e) {
      return std::string(e.what()).find("rank 0 is gone") != std::string::npos;
    }
    return false;
  });
  EXPECT_EQ(codes, std::vector<int>(2, 0));
}

TEST_P(CollectiveOf, WaitingForRanksEndsWhenTheCallerKnowsBetter) {
  Directory dir;
  GroupOptions o = options(dir, 0, 2);
  o.while_waiting = [] { throw Error("rank 1 could not read its model"); };
  EXPECT_THROW(make(o), Error);
}

TEST_P(CollectiveOf, GatherAndBroadcastCarryBytesOfAnyLength) {
  Directory dir;
  auto codes = run_ranks(3, [&](int rank) {
    auto c = make(options(dir, rank, 3));
    std::string own(static_cast<size_t>(rank) * 1000, static_cast<char>('a' + rank));  // rank 0 sends nothing
    std::vector<std::string> all = c->allgather(own);
    bool ok = all.size() == 3 && all[0].empty() && all[1] == std::string(1000, 'b') && all[2] == std::string(2000, 'c');
    std::string text = rank == 2 ? std::string("weights\0v7", 10) : "old";
    c->broadcast(text, 2);
    ok = ok && text == std::string("weights\0v7", 10);
    text = "something";
    if (rank == 1) text.clear();
    c->broadcast(text, 1);
    c->barrier();
    return ok && text.empty() && c->allgather("").at(1).empty();
  });
  EXPECT_EQ(codes, std::vector<int>(3, 0));
}

TEST_P(CollectiveOf, RankThatNeverComesIsNamed) {
  Directory dir;
  GroupOptions o = options(dir, 0, 3);
  o.timeout_ms = 50;
  try {
    make(o);
    FAIL() << "a group of one out of three";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("ranks 1, 2 of 3 did not come"), std::string::npos) << e.what();
  }
  EXPECT_THROW(make(o), Error) << "the epoch was used before";
}

bool fails_naming(Collective& c, const std::vector<std::string>& any_of) {
  std::vector<float> v(1000, 1.0f);
  try {
    for (int i = 0; i < 100; i++) c.allreduce_sum(v);
  } catch (const Error& e) {
    bool named = false;
    for (const std::string& part : any_of) named = named || std::string(e.what()).find(part) != std::string::npos;
    if (!named) fprintf(stderr, "%s\n", e.what());
    try {
      c.barrier();
    } catch (const Error&) {
      return named;  // and the group stays broken
    }
  }
  return false;
}

TEST_P(CollectiveOf, RankThatDiesEndsTheCallOfTheOthersAndIsNamed) {
  Directory dir;
  auto codes = run_ranks(3, [&](int rank) {
    auto c = make(options(dir, rank, 3));
    std::vector<float> v(1000, 1.0f);
    c->allreduce_sum(v);
    if (rank == 1) kill(getpid(), SIGKILL);
    // The one that notices second may find the first to have ended too.
    return fails_naming(*c, {"rank 1 is gone", "ranks 0, 1 are gone", "ranks 1, 2 are gone"});
  });
  EXPECT_EQ(codes, (std::vector<int>{0, -1, 0}));
}

TEST_P(CollectiveOf, RankThatHangsEndsTheCallAtTheDeadlineAndIsNamed) {
  Directory dir;
  auto codes = run_ranks(2, [&](int rank) {
    GroupOptions o = options(dir, rank, 2);
    o.timeout_ms = rank == 0 ? 1000 : 20000;
    auto c = make(o);
    c->barrier();
    if (rank == 0) return fails_naming(*c, {"rank 1 did not come to call"});
    try {
      std::this_thread::sleep_for(std::chrono::milliseconds(1800));
      c->barrier();
    } catch (const Error&) {
      return true;
    }
    return false;
  });
  EXPECT_EQ(codes, std::vector<int>(2, 0));
}

TEST(Collective, OneRankNeedsNobody) {
  auto c = make_self();
  std::vector<float> v{1, 2};
  c->allreduce_sum(v);
  std::string s = "x";
  c->broadcast(s, 0);
  c->barrier();
  EXPECT_EQ(v, (std::vector<float>{1, 2}));
  EXPECT_EQ(c->allgather("abc"), std::vector<std::string>{"abc"});
  EXPECT_EQ(c->size(), 1);
  EXPECT_THROW(c->broadcast(s, 1), Error);
  GroupOptions o;
  o.rank = 2;
  o.size = 2;
  o.epoch = "e";
  EXPECT_THROW(make_gloo(o), Error);
}

// ---- what only NCCL has

void with_environment(const char* name, const char* value) { setenv(name, value, 1); }

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Nccl, GivesTheSumsOfGlooBitForBit) {
  Directory dir;
  const auto codes = run_ranks(3, [&](int rank) {
    Device device;
    GroupOptions o = options(dir, rank, 3);
    auto gloo = make_gloo(o);
    o.epoch = "e1";
    auto nccl = make_nccl(o, {.ctx = &device.ctx, .library = FULMEN_NCCL_DOUBLE});
    std::vector<float> a = values(rank, 300007), b = a;
    gloo->allreduce_sum(a);
    nccl->allreduce_sum(b);
    return memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
  });
  EXPECT_EQ(codes, std::vector<int>(3, 0));
}

// The host's way is closed: what is asked to copy there throws.
struct DeviceWithoutAWayToTheHost : Device {
  DeviceWithoutAWayToTheHost() {
    table.host_memory = false;
    table.copy_in = [](void*, const void*, size_t, kernels::Context&) { throw Error("copied from the host"); };
    table.copy_out = [](void*, const void*, size_t, kernels::Context&) { throw Error("copied to the host"); };
  }
};

TEST(Nccl, SumsOnTheDeviceHaveTheBitsOfTheHostsAndDoNotPassThroughIt) {
  constexpr size_t kLength = 300007, kPieceBytes = 1 << 20;  // several rounds
  for (const std::vector<int>& counts : {std::vector<int>{1, 2, 1}, {0, 1, 3}, {4, 0}}) {
    const int size = static_cast<int>(counts.size());
    Directory dir;
    const auto codes = run_ranks(size, [&](int rank) {
      DeviceWithoutAWayToTheHost device;
      const auto c = make_nccl(options(dir, rank, size),
                               {.ctx = &device.ctx, .library = FULMEN_NCCL_DOUBLE, .piece_bytes = kPieceBytes});
      for (const size_t n : {size_t{1}, size_t{2}, size_t{1030}, kLength}) {
        std::vector<std::vector<float>> part;
        for (int p = 0; p < 4; p++) part.push_back(values(p, n));
        std::vector<float> want = part[0];
        for (size_t p = 1; p < 4; p++)
          for (size_t i = 0; i < n; i++) want[i] += part[p][i];
        std::vector<const float*> own;
        size_t first = 0;
        for (int r = 0; r < rank; r++) first += static_cast<size_t>(counts[static_cast<size_t>(r)]);
        for (int k = 0; k < counts[static_cast<size_t>(rank)]; k++)
          own.push_back(part[first + static_cast<size_t>(k)].data());
        std::vector<float> apart(n, 99.0f);
        float* out = own.empty() ? apart.data() : part[first].data();  // in place
        c->sum_in_order_on_device(own, counts, out, n);
        if (memcmp(out, want.data(), n * sizeof(float)) != 0) return false;
      }
      return c->reaches_device();
    });
    EXPECT_EQ(codes, std::vector<int>(counts.size(), 0));
  }
}

TEST(Nccl, BroadcastOnTheDeviceFillsEveryPieceInItsPlace) {
  Directory dir;
  const auto codes = run_ranks(3, [&](int rank) {
    DeviceWithoutAWayToTheHost device;
    const auto c =
        make_nccl(options(dir, rank, 3), {.ctx = &device.ctx, .library = FULMEN_NCCL_DOUBLE, .piece_bytes = 100000});
    std::vector<std::string> want, got;
    for (const size_t n : {size_t{3}, size_t{0}, size_t{200000}, size_t{1}, size_t{60000}, size_t{50000}, size_t{5}}) {
      want.emplace_back(n, '\0');
      for (size_t i = 0; i < n; i++) want.back()[i] = static_cast<char>(i * 7 + i / 251 + n);
      got.emplace_back(n, 'x');
    }
    if (rank == 1) got = want;
    std::vector<DeviceBytes> pieces;
    for (std::string& piece : got) pieces.push_back({piece.data(), piece.size()});
    c->broadcast_on_device(pieces, 1);
    return got == want;
  });
  EXPECT_EQ(codes, std::vector<int>(3, 0));
}

TEST(Nccl, RankThatDiesInASumOnTheDeviceIsNamed) {
  Directory dir;
  const auto codes = run_ranks(2, [&](int rank) {
    Device device;
    const auto c = make_nccl(options(dir, rank, 2), {.ctx = &device.ctx, .library = FULMEN_NCCL_DOUBLE});
    std::vector<float> v(1000, 1.0f);
    const float* const part = v.data();
    if (rank == 0) kill(getpid(), SIGKILL);
    const std::string e = error_of([&] {
      c->sum_in_order_on_device({&part, 1}, std::vector<int>{1, 1}, v.data(), 1000);
    });
    const std::string again = error_of([&] { c->broadcast_on_device({}, 0); });
    return e.find("sum: rank 0 is gone") != std::string::npos &&
           again.find("after the group broke") != std::string::npos;
  });
  EXPECT_EQ(codes, (std::vector<int>{-1, 0}));
}

TEST(Collective, GroupWithoutAGpuSaysSo) {
  const auto c = make_self();
  EXPECT_FALSE(c->reaches_device());
  EXPECT_THROW(c->broadcast_on_device({}, 0), Error);
}

TEST(Nccl, LostPeerThatNcclNoticesEndsTheCallBeforeTheDeadline) {
  Directory dir;
  const auto codes = run_ranks(3, [&](int rank) {
    with_environment("NCCL_DOUBLE_DETECT", "1");
    Device device;
    GroupOptions o = options(dir, rank, 3);
    auto c = make_nccl(o, {.ctx = &device.ctx, .library = FULMEN_NCCL_DOUBLE});
    c->barrier();
    if (rank == 0) kill(getpid(), SIGKILL);  // the one that run_ranks waits for first: a zombie would look alive
    const std::string e = error_of([&] {
      for (int i = 0; i < 3; ++i) c->barrier();
    });
    const bool named = e.find("rank 0 is gone") != std::string::npos || e.find("ranks 0, ") != std::string::npos;
    return named && e.find("remote process exited") != std::string::npos;
  });
  EXPECT_EQ(codes, (std::vector<int>{-1, 0, 0}));
}

TEST(Nccl, ErrorThatComesLaterEndsTheCallAndSaysWhatNcclSays) {
  Directory dir;
  const auto codes = run_ranks(2, [&](int rank) {
    if (rank == 1) with_environment("NCCL_DOUBLE_ERROR_AT", "2");
    Device device;
    GroupOptions o = options(dir, rank, 2);
    o.timeout_ms = rank == 0 ? 3000 : 20000;
    auto c = make_nccl(o, {.ctx = &device.ctx, .library = FULMEN_NCCL_DOUBLE});
    c->barrier();
    const std::string e = error_of([&] { c->barrier(); });
    if (rank == 1) return e.find("unhandled system error (the double says so)") != std::string::npos;
    return e.find("not done within 3000 ms") != std::string::npos || e.find("rank 1 is gone") != std::string::npos;
  });
  EXPECT_EQ(codes, std::vector<int>(2, 0));
}

TEST(Nccl, RankThatIsThereButNeverInitialisesEndsTheOthersAtTheDeadline) {
  Directory dir;
  const auto codes = run_ranks(2, [&](int rank) {
    GroupOptions o = options(dir, rank, 2);
    o.timeout_ms = 400;
    if (rank == 1) {  // comes to the roll call, then is stuck
      const RollCall there(dir, o.epoch, 1, 2);
      std::this_thread::sleep_for(std::chrono::milliseconds(1500));
      return true;
    }
    Device device;
    const std::string e = error_of([&] { make_nccl(o, {.ctx = &device.ctx, .library = FULMEN_NCCL_DOUBLE}); });
    return e.find("connecting: rank 1 did not come to call 1 [ncclCommInitRankConfig: not done within 400 ms]") !=
           std::string::npos;
  });
  EXPECT_EQ(codes, std::vector<int>(2, 0));
}

TEST(Nccl, LibraryThatIsMissingOldOrSomethingElseIsOneLine) {
  Directory dir;
  Device device;
  GroupOptions o = options(dir, 0, 2);
  const auto line = [&](const std::string& library) {
    const std::string e = error_of([&] { make_nccl(o, {.ctx = &device.ctx, .library = library}); });
    EXPECT_EQ(e.find('\n'), std::string::npos);
    return e;
  };
  EXPECT_NE(line("libno-such-nccl.so.2").find("nccl: libno-such-nccl.so.2 cannot be opened"), std::string::npos);
  EXPECT_NE(line("libz.so.1").find("has no ncclGetVersion: want NCCL 2.14.0 or later"), std::string::npos);
  with_environment("NCCL_DOUBLE_VERSION", "21304");
  EXPECT_NE(line(FULMEN_NCCL_DOUBLE).find("is version 2.13.4, want 2.14.0 or later"), std::string::npos);
  unsetenv("NCCL_DOUBLE_VERSION");
  kernels::ThreadPool pool(1);
  kernels::Context cpu = kernels::cpu_context(pool);
  EXPECT_NE(error_of([&] { make_nccl(o, {.ctx = &cpu, .library = FULMEN_NCCL_DOUBLE}); }).find("computes on the CPU"),
            std::string::npos);
}

}  // namespace
}  // namespace fulmen::collective
