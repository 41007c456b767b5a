#pragma once
// Whether two answers are the same, kind by kind.

#include <string>
#include <vector>

#include "reward/math/expr.h"
#include "reward/math/profile.h"
#include "reward/math/scalar_equal.h"
#include "reward/math/work.h"

namespace fulmen::reward::math {

class Comparison {
 public:
  Comparison(Tree& tree, const Profile& profile) : t_(tree), profile_(profile), scalars_(tree, profile, work_) {}

  // `gold` is the ground truth: what it leaves out (a unit, a name) may be left out or added by the other side.
  Same equal(NodeId gold, NodeId answer);

  // What was compared in the end, in words; valid after equal().
  std::string how() const { return how_.empty() ? scalars_.how() : how_; }

 private:
  Same antiderivative(NodeId integral, NodeId answer);
  Same counted(NodeId choice, NodeId number);
  Same any(NodeId a, NodeId b, int depth);
  Same peeled(NodeId a, NodeId b, int depth);
  Same structures(NodeId a, NodeId b, int depth);
  Same units(NodeId a, NodeId b, int depth);
  Same texts(NodeId a, NodeId b);
  Same tuples(NodeId a, NodeId b, int depth);
  Same collections(NodeId a, NodeId b, int depth);
  Same unordered(const std::vector<NodeId>& a, const std::vector<NodeId>& b, bool repeats, int depth);
  Same ordered(const std::vector<NodeId>& a, const std::vector<NodeId>& b, int depth);
  Same sets(NodeId a, NodeId b, int depth);
  Same unions(NodeId a, NodeId b, int depth);
  NodeId gathered(NodeId n);
  Same matrices(NodeId a, NodeId b, int depth);
  Same ratios(NodeId a, NodeId b, int depth);
  Same based(NodeId a, NodeId b);

  // relation_equal.cc
  Same relations(NodeId a, NodeId b, int depth);
  Same constraint(NodeId a, Rel first, NodeId b, Rel second);
  Same proportional(NodeId f, NodeId g, bool& same_sign);
  bool bare(NodeId n) const;
  bool is_value_name(NodeId n) const;
  NodeId without_name(NodeId n, bool is_gold, NodeId& name);
  NodeId chain_value(const std::vector<NodeId>& chain);
  bool approximates(NodeId exact, NodeId decimal);
  NodeId difference(NodeId relation);

  NodeId as_interval(NodeId relation, NodeId other);

  // linear_condition.cc: |2x - 1| < 3 as -1 < x < 2; what is no such condition comes back as it is
  NodeId solved(NodeId relation);

  // expand.cc: 1 +- 2 to both values, percent and names off elements
  std::vector<NodeId> elements(NodeId n);
  NodeId with_sign(NodeId n, bool upper);
  NodeId matrix_of(NodeId n);

  Same said(Same s, const char* how) {
    how_ = how;
    return s;
  }

  Tree& t_;
  const Profile& profile_;
  Work work_;
  Scalars scalars_;
  std::string how_;
};

}  // namespace fulmen::reward::math
