#pragma once
// Device memory in few large pieces. A phase reserves what its plan says, once; what it then takes and gives back costs
// the driver nothing, and when it is over, trim() gives the pieces back for the other phase, in this process or
// another. Host code; where the pieces come from is the caller's (tests bring their own).

#include <cstddef>
#include <functional>
#include <map>

namespace fulmen::kernels::cuda {

class Arena {
 public:
  static constexpr size_t kAlign = 256;
  struct Source {
    std::function<void*(size_t)> take;  // null when there is no more
    std::function<void(void*)> give;
  };

  explicit Arena(Source source) : source_(std::move(source)) {}
  ~Arena();  // gives everything back, in use or not
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  bool reserve(size_t bytes);  // that much free in one piece; false when the source has not got it
  void* take(size_t bytes);    // aligned to kAlign; null when the source has no more
  bool give(void* p);          // false when it is not from here
  void trim();                 // pieces of which nothing is in use go back to the source
  size_t in_use() const { return in_use_; }
  size_t held() const { return held_; }  // from the source

 private:
  using Ranges = std::map<char*, size_t>;
  bool grow(size_t bytes);

  Source source_;
  Ranges pieces_, free_, used_;  // free ranges never touch within a piece
  size_t in_use_ = 0, held_ = 0;
};

}  // namespace fulmen::kernels::cuda
