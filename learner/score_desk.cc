#include "learner/score_desk.h"

#include <algorithm>

namespace fulmen::learner {

void ScoreDesk::add(wire::ScoreRequest request) {
  const uint64_t id = request.id();
  queue_.push_back(id);
  records_[id] = std::move(request);
}

void ScoreDesk::issue(const std::vector<std::string>& workers, const Send& send) {
  while (!queue_.empty() && !workers.empty()) {
    const std::string& best =
        *std::min_element(workers.begin(), workers.end(),
                          [&](const std::string& a, const std::string& b) { return outstanding(a) < outstanding(b); });
    if (outstanding(best) >= kOutstanding) return;
    wire::ScoreRequests message;
    // A short queue is split evenly, so that no worker idles while another has all.
    const size_t share = (queue_.size() + workers.size() - 1) / workers.size();
    while (!queue_.empty() && message.items_size() < kAtOnce && static_cast<size_t>(message.items_size()) < share) {
      const uint64_t id = queue_.front();
      queue_.pop_front();
      *message.add_items() = records_.at(id);
      given_[best].insert(id);
    }
    send(best, message);
  }
}

bool ScoreDesk::take(const std::string& worker, const wire::Verdict& v) {
  const bool was_given = given_[worker].erase(v.id()) > 0;
  if (records_.erase(v.id()) == 0) return false;
  if (was_given) return true;
  // Of a worker that was taken off and answers after all: nobody else needs to.
  for (auto& [name, ids] : given_) ids.erase(v.id());
  queue_.erase(std::remove(queue_.begin(), queue_.end(), v.id()), queue_.end());
  return true;
}

void ScoreDesk::lose(const std::string& worker) {
  const std::set<uint64_t>& had = given_[worker];
  queue_.insert(queue_.begin(), had.begin(), had.end());
  given_.erase(worker);
}

size_t ScoreDesk::outstanding(const std::string& worker) const {
  const auto at = given_.find(worker);
  return at == given_.end() ? 0 : at->second.size();
}

void ScoreDesk::clear() {
  records_.clear();
  queue_.clear();
  given_.clear();
}

}  // namespace fulmen::learner
