#pragma once
// SIGINT, SIGTERM and SIGUSR1 (Slurm's warning before the time limit) as a wish to stop: the run ends at the next point
// from which it can be resumed. A second signal ends it at once.

#include <string>

#include "kernels/error.h"

namespace fulmen::launch {

class Stopped : public Error {  // what() names the signal; mains return kStoppedExit for it
  using Error::Error;
};

constexpr int kStoppedExit = 75;  // EX_TEMPFAIL: schedulers start the job again

void catch_stop_signals();
void throw_if_stopped();  // Stopped when a signal came
bool stop_asked();

}  // namespace fulmen::launch
