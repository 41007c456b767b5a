// What only NCCL has, against a double of its library (nccl_double.cc). What it shares with Gloo: collective_test.cc.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <thread>

#include "kernels/error.h"
#include "kernels/table.h"
#include "shared/collective/collective.h"
#include "shared/collective/roll_call.h"
#include "tests/shared/collective_ranks.h"

namespace fulmen::collective {
namespace {

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
