#pragma once
// The learner's ranks as processes. Rank 0 conducts the run and starts the others on this host (`fulmen learner`); they
// hold the same weights and wait for work. All ranks then make the same calls of one Trainer each, whose sums run over
// the ranks (trainer.h), so rank 0 has the whole result and alone writes files and talks to workers.
//
// A rank that ends or hangs ends the call on the others; rank 0 says which one it was, keeps the last step, and stops.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "learner/dataset.h"
#include "learner/episode.h"
#include "learner/trainer.h"
#include "shared/launch/local_process.h"

namespace fulmen::learner {

class Ranks {  // rank 0's side; with learner.ranks = 1 every call does nothing
 public:
  // Starts the others with the resolved config at config_path and waits until they have loaded the model.
  Ranks(const base::Config& config, const std::string& config_path, const std::string& numerics, Trainer& trainer,
        kernels::Context& ctx);
  ~Ranks();  // tells them to stop when they wait for work, else ends them; at the latest after 3 s they are killed

  // Each before rank 0 makes the calls itself.
  void begin_cold_start();
  void begin_update(std::span<const Episode> episodes);
  void begin_load(const std::string& checkpoint);
  void end();  // after them: the others are waiting for work again

  void check();  // Error naming a rank whose process ended
  void blame();  // after a call failed: the same, giving a rank that is just dying a second

 private:
  void send(const std::string& work);

  std::vector<std::unique_ptr<launch::LocalProcess>> processes_;  // ranks 1, 2, ...
  std::vector<std::string> logs_;
  std::unique_ptr<collective::Collective> collective_;
  bool working_ = false;  // between a begin and its end: a stop would meet them in the middle of a sum
};

struct RankOptions {
  int rank = 1;
  std::string epoch;               // rank 0's name for this start of the run
  std::string host = "127.0.0.1";  // address of this rank for the others
};

// The other side: rank 1 and up, until rank 0 says stop. Throws Error when rank 0 or another rank is gone.
void run_rank(const base::Config& config, const RankOptions& options);

// Fields of an episode that an update needs, to the others and back.
std::string encode_update(std::span<const Episode> episodes);

}  // namespace fulmen::learner
