#pragma once
// Who is there: one small file a rank, in a directory all ranks see. The lock on it says that the rank lives, the
// number in it how many calls it has begun. Read only when something went wrong, to say which rank it was.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace fulmen::collective {

class RollCall {
 public:
  RollCall(const std::string& directory, const std::string& epoch, int rank,
           int size);  // Error when the epoch was used
  ~RollCall();
  RollCall(const RollCall&) = delete;
  RollCall& operator=(const RollCall&) = delete;

  void wait_for_all(int timeout_ms, const std::function<void()>& while_waiting) const;  // Error naming the missing
  void wait_for_call(int rank) const;  // until `rank` has begun more calls than this one; Error when it is gone
  void begin_call();
  std::string gone() const;      // "rank 2 is gone", or "" while all live
  std::string suspects() const;  // "rank 2 is dead" | "ranks 1, 2 have not come to call 7" | "all ranks are there"

 private:
  std::string absent(bool or_late) const;  // "" when every rank is there
  std::string path(int rank) const;

  std::string prefix_;
  int rank_, size_, fd_ = -1;
  uint64_t calls_ = 0;
};

}  // namespace fulmen::collective
