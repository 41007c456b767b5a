#include "rollout/scheduler.h"

#include <algorithm>
#include <utility>

namespace fulmen::rollout {

Scheduler::Scheduler(const CachePlan& plan, int prefill_rows, ForwardPass& pass)
    : pass_(pass), slots_(plan.slots), pages_(plan.pages), prefill_rows_(prefill_rows) {}

void Scheduler::add(std::vector<std::unique_ptr<Sequence>> samples) {
  for (auto& s : samples) s->age = next_age_++;
  auto leader = std::move(samples.front());
  leader->followers.assign(std::make_move_iterator(samples.begin() + 1), std::make_move_iterator(samples.end()));
  waiting_.push_back(std::move(leader));
}

const StepBatch& Scheduler::next() {
  admit();
  lay_out();
  const auto stuck = [](const auto& s) { return s->held() && s->ahead == 0; };
  if (batch_.segments.empty() && !running_.empty() && std::all_of(running_.begin(), running_.end(), stuck)) {
    // Everyone is held for followers that wait for slots nobody will free: let one leader go on, its followers prefill.
    orphan_followers(*running_.front());
    lay_out();
  }
  return batch_;
}

void Scheduler::admit() {
  for (size_t i = 0; i < running_.size(); ++i) {  // those that fork off are younger: behind i
    if (running_[i]->held()) fork_into_free_slots(*running_[i]);
  }
  int64_t promised = 0;  // pages that running sequences will take for tokens they already have
  for (const auto& s : running_) promised += pages_for(s->length()) - static_cast<int64_t>(s->pages.size());
  size_t admitted = 0;
  for (auto& s : waiting_) {
    const auto wanted = static_cast<int64_t>(1 + s->followers.size());
    const int64_t slots = std::min(wanted, slots_.free());
    if (slots == 0) break;
    // A leader that gets no slot for any follower would only hold its own; wait for a second one.
    if (wanted > 1 && slots == 1 && !running_.empty()) break;
    // One page of headroom for each sequence, or those just admitted would be preempted at the next page border.
    const int64_t need = pages_for(s->length()) + slots - 1;
    if (!running_.empty() && pages_.free() < promised + need + running() + slots) break;
    promised += need;
    s->slot = slots_.take();
    for (int64_t f = 1; f < slots; ++f) s->followers[static_cast<size_t>(f - 1)]->slot = slots_.take();
    insert_by_age(running_, std::move(s));
    ++admitted;
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(admitted));
}

void Scheduler::lay_out() {
  batch_.tokens.clear();
  batch_.segments.clear();
  batch_.last_row.clear();
  batch_.sampled.clear();
  batch_.prompt_rows = 0;
  int64_t budget = prefill_rows_;
  for (size_t i = 0; i < running_.size(); ++i) {  // preemption only ever removes at the end
    Sequence& s = *running_[i];
    if (s.held() || s.sampled() >= s.group->request.settings.max_new_tokens) continue;  // the latter: of unknown tokens
    const int64_t pending = s.length() - s.cached;
    const bool decode = pending == 1 && s.cached > 0;
    const int64_t rows = decode ? 1 : std::min(pending, budget);
    if (rows == 0) continue;
    if (!give_pages(s, s.cached + rows)) break;
    if (!decode) {
      budget -= rows;
      batch_.prompt_rows += rows;
    }
    append_rows(s, rows);
  }
}

// False when s, being the youngest, had to go itself.
bool Scheduler::give_pages(Sequence& s, int64_t tokens) {
  while (static_cast<int64_t>(s.pages.size()) < pages_for(tokens)) {
    const int32_t page = pages_.take();
    if (page >= 0) {
      pass_.set_page(s.slot, static_cast<int64_t>(s.pages.size()), page);
      s.pages.push_back(page);
      continue;
    }
    const bool last = running_.back().get() == &s;
    FULMEN_CHECK(!last || running_.size() > 1, "scheduler: no page for the only sequence; the cache plan is wrong");
    preempt_youngest();
    if (last) return false;
  }
  return true;
}

void Scheduler::append_rows(Sequence& s, int64_t rows) {
  const std::vector<int32_t>& prompt = s.group->request.prompt;
  const auto row0 = static_cast<int64_t>(batch_.tokens.size());
  for (int64_t pos = s.cached; pos < s.cached + rows; ++pos) {
    const bool in_prompt = pos < s.prompt_length();
    const auto nth = static_cast<size_t>(in_prompt ? pos : pos - s.prompt_length());
    batch_.tokens.push_back(in_prompt ? prompt[nth] : nth < s.tokens.size() ? s.tokens[nth] : -1 - s.sampled_at);
  }
  batch_.segments.push_back({row0, static_cast<int32_t>(rows), static_cast<int32_t>(s.cached), s.slot});
  s.cached += rows;
  if (s.cached == s.length()) {
    batch_.last_row.push_back(static_cast<int32_t>(row0 + rows - 1));
    batch_.sampled.push_back(&s);
  }
}

std::vector<std::unique_ptr<Sequence>> Scheduler::settle(std::span<Sequence* const> sampled) {
  std::vector<std::unique_ptr<Sequence>> done;
  for (Sequence* s : sampled)
    if (s != nullptr && s->finish) done.push_back(finish(s));
  std::sort(done.begin(), done.end(), [](const auto& a, const auto& b) { return a->age < b->age; });
  return done;
}

// Wherever it is by now: still riding with its leader, running, or waiting without its cache.
std::unique_ptr<Sequence> Scheduler::finish(Sequence* s) {
  const auto is_s = [s](const auto& other) { return other.get() == s; };
  for (auto& leader : running_) {
    const auto it = std::find_if(leader->followers.begin(), leader->followers.end(), is_s);
    if (it == leader->followers.end()) continue;
    std::unique_ptr<Sequence> follower = std::move(*it);
    leader->followers.erase(it);
    release_cache(*follower);
    return follower;
  }
  const auto running = std::find_if(running_.begin(), running_.end(), is_s);
  if (running != running_.end()) return finish_running(static_cast<size_t>(running - running_.begin()));
  const auto waiting = std::find_if(waiting_.begin(), waiting_.end(), is_s);
  FULMEN_CHECK(waiting != waiting_.end(), "scheduler: a finished sequence is nowhere");
  std::unique_ptr<Sequence> owned = std::move(*waiting);
  waiting_.erase(waiting);
  return owned;
}

// Takes the finished running_[idx] out. Followers left are alive and need its state: the first becomes the leader.
std::unique_ptr<Sequence> Scheduler::finish_running(size_t running_idx) {
  std::unique_ptr<Sequence> s = std::move(running_[running_idx]);
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(running_idx));
  if (s->followers.empty()) {
    release_cache(*s);
    return s;
  }
  std::unique_ptr<Sequence> heir = std::move(s->followers.front());
  s->followers.erase(s->followers.begin());
  release_cache(*heir);
  heir->slot = std::exchange(s->slot, -1);
  heir->pages = std::exchange(s->pages, {});
  heir->cached = std::exchange(s->cached, 0);
  heir->followers = std::exchange(s->followers, {});
  insert_by_age(running_, std::move(heir));
  return s;
}

void Scheduler::fork_into_free_slots(Sequence& leader) {
  while (!leader.followers.empty()) {
    Sequence& f = *leader.followers.front();
    if (f.slot < 0) f.slot = slots_.take();
    if (f.slot < 0) return;
    const bool forked = fork(leader, f);
    std::unique_ptr<Sequence> owned = std::move(leader.followers.front());
    leader.followers.erase(leader.followers.begin());
    insert_by_age(forked ? running_ : waiting_, std::move(owned));
  }
}

// False when there was no page for the partial copy; the follower then prefills for itself.
bool Scheduler::fork(const Sequence& leader, Sequence& follower) {
  const int64_t full = leader.cached / kPageTokens;
  const bool partial = leader.cached % kPageTokens != 0;
  const int32_t copy = partial ? pages_.take() : -1;
  if (partial && copy < 0) {
    release_cache(follower);
    return false;
  }
  pass_.copy_slot(leader.slot, follower.slot, static_cast<int32_t>(leader.cached));
  for (int64_t p = 0; p < full; ++p) {
    const int32_t page = leader.pages[static_cast<size_t>(p)];
    pages_.share(page);
    follower.pages.push_back(page);
  }
  if (partial) {
    pass_.copy_page(leader.pages[static_cast<size_t>(full)], copy);
    follower.pages.push_back(copy);
  }
  for (size_t p = 0; p < follower.pages.size(); ++p) {
    pass_.set_page(follower.slot, static_cast<int64_t>(p), follower.pages[p]);
  }
  follower.cached = leader.cached;
  return true;
}

void Scheduler::preempt_youngest() {
  std::unique_ptr<Sequence> victim = std::move(running_.back());
  running_.pop_back();
  if (victim->held()) orphan_followers(*victim);
  release_cache(*victim);
  for (auto& f : victim->followers) release_cache(*f);
  insert_by_age(waiting_, std::move(victim));
  ++preemptions_;
}

// The followers have their first token but lose the state they waited for: each prefills for itself, later.
void Scheduler::orphan_followers(Sequence& leader) {
  for (auto& f : leader.followers) {
    release_cache(*f);
    insert_by_age(waiting_, std::move(f));
  }
  leader.followers.clear();
}

void Scheduler::release_cache(Sequence& s) {
  for (const int32_t page : s.pages) pages_.release(page);
  s.pages.clear();
  if (s.slot >= 0) slots_.release(s.slot);
  s.slot = -1;
  s.cached = 0;
}

std::vector<std::unique_ptr<Sequence>> Scheduler::remove_group(uint64_t group_id) {
  std::vector<std::unique_ptr<Sequence>> removed;
  for (auto* list : {&running_, &waiting_}) {
    for (auto& s : *list) {
      if (s->group->request.group_id != group_id) continue;
      release_cache(*s);
      for (auto& f : s->followers) {
        release_cache(*f);
        removed.push_back(std::move(f));
      }
      s->followers.clear();
      removed.push_back(std::move(s));
    }
    std::erase(*list, nullptr);
  }
  std::sort(removed.begin(), removed.end(), [](const auto& a, const auto& b) { return a->age < b->age; });
  return removed;
}

void Scheduler::clear() {
  for (auto* list : {&running_, &waiting_}) {
    for (auto& s : *list) {
      release_cache(*s);
      for (auto& f : s->followers) release_cache(*f);
    }
    list->clear();
  }
}

int64_t Scheduler::queued() const {
  int64_t n = 0;
  for (const auto& s : waiting_) n += static_cast<int64_t>(1 + s->followers.size());
  for (const auto& s : running_) n += static_cast<int64_t>(s->followers.size());
  return n;
}

void Scheduler::insert_by_age(std::vector<std::unique_ptr<Sequence>>& list, std::unique_ptr<Sequence> s) {
  const auto at = std::upper_bound(list.begin(), list.end(), s->age,
                                   [](uint64_t age, const auto& other) { return age < other->age; });
  list.insert(at, std::move(s));
}

}  // namespace fulmen::rollout
