#pragma once
// Which rows run next, and who holds which slot and page. Knows nothing of logits or tokens' meaning: the engine
// appends sampled tokens to sequences and tells which are finished. It may lay out a step before the tokens of the one
// before are known: a row then says where its token will stand, and what was laid out for a sequence that turns out to
// be finished writes to its own slot and pages only, before anybody they are given to.
//
// A group enters as its leader, the other samples riding along as followers; when the leader's prompt is prefilled and
// every sample has its first token, the followers fork: state and partial page copied, full pages shared. Followers
// that found no slot keep the leader waiting (held) until one is free. A sequence that loses its cache (preempted)
// keeps its tokens and prefills prompt and tokens again; since prefill and decode give the same bits nobody can tell.
//
// Order is by age (arrival): the oldest waiting sequence is admitted first, the youngest running one is preempted
// first, so the oldest always finishes and no order of arrival can starve anyone.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "rollout/cache_plan.h"
#include "rollout/forward_pass.h"
#include "rollout/stop_rules.h"

namespace fulmen::rollout {

struct Group {  // what the samples of a request share
  GroupRequest request;
  StopRules stop;
};

struct Sequence {
  std::shared_ptr<const Group> group;
  uint32_t sample_index = 0;
  uint64_t age = 0;
  std::vector<int32_t> tokens;  // sampled so far and known; the last one sampled is not in the cache yet
  std::vector<float> logprob;
  StopState stop;
  std::optional<Finish> finish;  // set by the engine; settle() then hands the sequence back

  int32_t ahead = 0;       // tokens after these that are sampled, but not known yet
  int32_t sampled_at = 0;  // of the newest token: which of those that its step sampled

  int32_t slot = -1;
  std::vector<int32_t> pages;
  int64_t cached = 0;  // positions of prompt + tokens that are in the cache
  std::vector<std::unique_ptr<Sequence>> followers;

  int64_t prompt_length() const { return static_cast<int64_t>(group->request.prompt.size()); }
  int64_t sampled() const { return static_cast<int64_t>(tokens.size()) + ahead; }
  int64_t length() const { return prompt_length() + sampled(); }
  bool held() const { return !followers.empty() && sampled() > 0; }
};

struct StepBatch {
  std::vector<int32_t> tokens;  // below 0: -1 - sampled_at of a token not known yet, of the step before
  std::vector<kernels::Segment> segments;
  std::vector<int32_t> last_row;   // of each segment that ends its sequence: the row that is sampled from
  std::vector<Sequence*> sampled;  // owner of each last_row
  int64_t prompt_rows = 0;
};

class Scheduler {
 public:
  Scheduler(const CachePlan& plan, int prefill_rows, ForwardPass& pass);

  // samples: of one group, at least one, in order; no tokens yet.
  void add(std::vector<std::unique_ptr<Sequence>> samples);

  // Admits, assigns pages (preempting where none is free) and lays out the rows of the next forward, which the caller
  // queues: they count as in the cache. Every sequence of batch.sampled, and its followers (each the first token), is
  // then `ahead` by one more. Empty when there is nothing to do before unknown tokens are known.
  const StepBatch& next();

  // Of sequences whose tokens have become known, null ones left out: frees the caches of those with finish set and
  // returns them, oldest first.
  std::vector<std::unique_ptr<Sequence>> settle(std::span<Sequence* const> sampled);

  std::vector<std::unique_ptr<Sequence>> remove_group(uint64_t group_id);
  void clear();

  bool idle() const { return running_.empty() && waiting_.empty(); }
  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t queued() const;
  int64_t preemptions() const { return preemptions_; }

 private:
  void admit();
  void fork_into_free_slots(Sequence& leader);
  bool fork(const Sequence& leader, Sequence& follower);
  void lay_out();
  bool give_pages(Sequence& s, int64_t tokens);
  void append_rows(Sequence& s, int64_t rows);
  void preempt_youngest();
  void orphan_followers(Sequence& leader);
  void release_cache(Sequence& s);
  std::unique_ptr<Sequence> finish(Sequence* s);
  std::unique_ptr<Sequence> finish_running(size_t running_idx);
  static void insert_by_age(std::vector<std::unique_ptr<Sequence>>& list, std::unique_ptr<Sequence> s);

  ForwardPass& pass_;
  PagePool slots_, pages_;
  int prefill_rows_;
  uint64_t next_age_ = 0;
  int64_t preemptions_ = 0;
  std::vector<std::unique_ptr<Sequence>> running_, waiting_;  // by age
  StepBatch batch_;
};

}  // namespace fulmen::rollout
