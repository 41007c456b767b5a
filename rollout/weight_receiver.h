#pragma once
// Weight versions on the worker's side: two buffers, one in service and one that the next version is received into. A
// version becomes staged only when names, shapes and every digest recomputed here agree with the manifest, and current
// only when the caller says so, at a step boundary.

#include <memory>
#include <string>
#include <vector>

#include "shared/collective/collective.h"
#include "shared/model/weights.h"
#include "shared/wire/weight_sync.h"

namespace fulmen::rollout {

class WeightReceiver {
 public:
  WeightReceiver(const model::ModelConfig& config, const model::ComputeDtypes& dtypes, kernels::Context& ctx);

  // Brings the version of the manifest into the spare buffer, checks and packs it. The answer says ok with the root
  // computed here, or why not; after a refusal nothing is staged and the current version is as it was. stash: see
  // receive_weights.
  wire::WeightsReady receive(const wire::WeightsManifest& manifest, wire::Client& client,
                             std::vector<wire::Message>& stash, int timeout_ms);

  uint64_t staged_version() const { return staged_version_; }  // 0: nothing staged
  uint64_t version() const { return version_; }                // 0: nothing in service yet
  const std::string& root() const { return root_; }            // 16 bytes, of the version in service
  const model::Weights& current() const { return *current_; }  // of version() > 0
  const model::Weights& adopt();                               // staged becomes current; the old one becomes the spare

 private:
  std::string why_not(const wire::WeightsManifest& manifest) const;
  void take_shared(const wire::WeightsManifest& manifest);
  void take_broadcast(const wire::WeightsManifest& manifest, int timeout_ms);
  std::string check_arrived(const wire::WeightsManifest& manifest);
  std::string receive_on_host(const wire::WeightsManifest& manifest, wire::Client& client,
                              std::vector<wire::Message>& stash, int timeout_ms);

  model::ModelConfig config_;
  model::ComputeDtypes dtypes_;
  kernels::Context& ctx_;
  std::unique_ptr<model::Weights> current_, spare_;
  std::unique_ptr<collective::Collective> group_;  // transport nccl: of the epoch below
  std::string group_epoch_;
  uint64_t version_ = 0, staged_version_ = 0;
  std::string root_, staged_root_;
};

}  // namespace fulmen::rollout
