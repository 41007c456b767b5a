#include "shared/launch/stop_signal.h"

#include <signal.h>

#include <atomic>

namespace fulmen::launch {
namespace {

std::atomic<int> signal_seen{0};
static_assert(std::atomic<int>::is_always_lock_free);

void remember(int number) { signal_seen = number; }

}  // namespace

void catch_stop_signals() {
  for (const int number : {SIGINT, SIGTERM, SIGUSR1}) {
    struct sigaction action {};
    action.sa_handler = remember;
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);  // the second one has its usual effect
    sigaction(number, &action, nullptr);
  }
  signal(SIGXFSZ, SIG_IGN);  // a file over the limit is then a failed write, which says which file
}

bool stop_asked() { return signal_seen != 0; }

void throw_if_stopped() {
  const int number = signal_seen;
  if (number == 0) return;
  throw Stopped(std::string("stopped by ") + (number == SIGINT ? "Ctrl-C" : number == SIGTERM ? "SIGTERM" : "SIGUSR1"));
}

}  // namespace fulmen::launch
