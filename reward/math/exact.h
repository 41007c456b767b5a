#pragma once
// Exact rational values.

#include <gmpxx.h>

#include <optional>
#include <utility>
#include <vector>

#include "reward/math/expr.h"
#include "reward/math/work.h"

namespace fulmen::reward::math {

using Bindings = std::vector<std::pair<uint32_t, mpq_class>>;  // interned name -> value; the last one counts

class Exact {
 public:
  Exact(const Tree& tree, Work& work) : t_(tree), work_(work) {}

  // The value when it is rational and can be had with integers of at most kMaxExactBits; nullopt otherwise.
  std::optional<mpq_class> value(NodeId n, const Bindings& bindings = {});

  // Division by zero was met since construction.
  bool undefined() const { return undefined_; }

 private:
  using Maybe = std::optional<mpq_class>;
  Maybe eval(NodeId n, Bindings& b);
  Maybe operation(NodeId n, Bindings& b);
  Maybe power(const mpq_class& base, const mpq_class& exponent);
  Maybe root(const mpq_class& radicand, const mpq_class& degree);
  Maybe function(NodeId n, Bindings& b);
  Maybe several(Fn fn, const std::vector<mpq_class>& v);
  Maybe combinatorial(Fn fn, const std::vector<mpq_class>& v);
  Maybe repeated(NodeId n, Bindings& b);
  Maybe divided(const mpq_class& a, const mpq_class& b);

  const Tree& t_;
  Work& work_;
  bool undefined_ = false;
};

size_t bits(const mpq_class& q);

}  // namespace fulmen::reward::math
