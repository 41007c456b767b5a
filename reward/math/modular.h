#pragma once
// Rational functions modulo a 61-bit prime at a pseudo-random point. Different residues prove that two expressions
// differ; equal ones only suggest that they are equal (polynomial.h proves it). pi is treated as one more variable,
// which is no loss: it is transcendental.

#include <cstdint>
#include <vector>

#include "reward/math/expr.h"
#include "reward/math/work.h"

namespace fulmen::reward::math {

class Modular {
 public:
  Modular(const Tree& tree, Work& work, uint64_t seed) : t_(tree), work_(work), seed_(seed) {}

  enum class Outcome { kValue, kUndefined, kNotRational };
  Outcome value(NodeId n, uint64_t& residue);

 private:
  Outcome eval(NodeId n, uint64_t& r);
  Outcome power(NodeId n, uint64_t& r);
  bool whole_number(NodeId n, mpz_class& e);
  uint64_t point(uint64_t name) const;

  const Tree& t_;
  Work& work_;
  uint64_t seed_;
};

uint64_t mix(uint64_t x);
uint64_t hash_text(std::string_view s);

}  // namespace fulmen::reward::math
