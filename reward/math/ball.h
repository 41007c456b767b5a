#pragma once
// Numbers as balls (Arb): a midpoint and a radius that is sure to hold the true value. Complex, principal branches;
// the root of a negative number of odd degree is real.

#include <acb.h>

#include <cstdint>

#include "reward/math/exact.h"
#include "reward/math/expr.h"
#include "reward/math/work.h"

namespace fulmen::reward::math {

class Ball {
 public:
  Ball() { acb_init(v_); }
  ~Ball() { acb_clear(v_); }
  Ball(const Ball& o) {
    acb_init(v_);
    acb_set(v_, o.v_);
  }
  Ball& operator=(const Ball& o) {
    acb_set(v_, o.v_);
    return *this;
  }
  acb_ptr get() { return v_; }
  acb_srcptr get() const { return v_; }

 private:
  acb_t v_;
};

class Balls {
 public:
  // Variables that `bindings` does not name get the value of point number `point` of the sequence `seed`: positive for
  // the first three points, negative at the fourth, of either sign at the others.
  Balls(const Tree& tree, Work& work, slong precision, uint64_t seed, int point, Bindings bindings = {})
      : t_(tree), work_(work), precision_(precision), seed_(seed), point_(point), bindings_(std::move(bindings)) {}

  // False when the value is undefined, too large, not supported, or the work is used up.
  bool value(NodeId n, Ball& out);

 private:
  friend class Integrand;
  bool eval(NodeId n, Ball& out);
  bool scalar_operation(NodeId n, Ball& out);
  bool symbol(NodeId n, Ball& out);
  bool power(NodeId n, Ball& out);
  bool root(NodeId n, Ball& out);
  bool function(NodeId n, Ball& out);
  bool elementary(Fn fn, Ball& out);
  bool of_reals(Fn fn, NodeId n, Ball& out);
  bool factorial_like(Fn fn, NodeId n, Ball& out);
  bool repeated(NodeId n, Ball& out);
  bool integral(NodeId n, Ball& out);
  bool limit(NodeId n, Ball& out);
  void set(Ball& out, const mpq_class& q) const;
  bool moderate(const Ball& b) const;

  const Tree& t_;
  Work& work_;
  slong precision_;
  uint64_t seed_;
  int point_;
  Bindings bindings_;
  std::vector<std::pair<uint32_t, Ball>> ball_bindings_;
};

}  // namespace fulmen::reward::math
