#pragma once
// What the groups of several ranks have in common: the order of sums, lengths that travel first, the roll call, and
// errors that name a rank. A backend brings the four ways in which bytes move.

#include <string>
#include <vector>

#include "shared/collective/collective.h"
#include "shared/collective/roll_call.h"

namespace fulmen::collective {

class Group : public Collective {
 public:
  // Waits until all ranks are there.
  explicit Group(const GroupOptions& options);

  int rank() const override { return options_.rank; }
  int size() const override { return options_.size; }
  void allreduce_sum(std::span<float> data) override { sum_one_each(data); }
  void allreduce_sum(std::span<double> data) override { sum_one_each(data); }
  void sum_in_order(std::span<const std::span<const float>> parts, std::span<const int> counts,
                    std::span<float> out) override;
  std::vector<std::string> allgather(std::string_view bytes) override;
  void broadcast(std::string& bytes, int root) override;
  void barrier() override;
  void wait_for(int rank) override;

 protected:
  // Runs one call; whatever the backend throws becomes an Error that says which rank it was, after give_up().
  template <class F>
  void guarded(const char* what, F&& call) {
    begin(what);
    try {
      call();
    } catch (const std::exception& e) {
      end_in_error(what, e.what());
    }
  }

  void check_parts(size_t parts, std::span<const int> counts) const;  // Errors that name what is wrong
  void check_root(int root) const;
  size_t ranks() const { return static_cast<size_t>(options_.size); }
  const GroupOptions& options() const { return options_; }
  const RollCall& roll() const { return roll_; }

 private:
  using Counts = std::span<const size_t>;                                        // bytes, by rank
  virtual void exchange(const char* in, Counts to, char* out, Counts from) = 0;  // part r of `in` goes to rank r
  virtual void gather(const char* own, char* all, Counts bytes) = 0;             // by rank, the same on all
  virtual void from_root(char* data, size_t bytes, int root) = 0;
  virtual void meet() = 0;
  virtual void give_up() noexcept {}  // the group is broken: let go of what hangs in it

  void begin(const char* what);
  [[noreturn]] void end_in_error(const char* what, const char* why);
  template <class T>
  void sum_one_each(std::span<T> data);
  template <class T>
  void sum(std::span<const std::span<const T>> parts, std::span<const int> counts, std::span<T> out);

  GroupOptions options_;
  RollCall roll_;
  bool broken_ = false;
};

// Throws Error for a rank, size or epoch that cannot be; null where one rank needs no group.
void check_options(const GroupOptions& options);

}  // namespace fulmen::collective
