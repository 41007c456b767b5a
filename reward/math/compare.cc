#include "reward/math/compare.h"

#include <algorithm>

#include "reward/math/calculus.h"
#include "reward/math/real_set.h"
#include "reward/math/units.h"

namespace fulmen::reward::math {
namespace {

constexpr int kMaxCompareDepth = 12;

Same both(Same a, Same b) { return std::min(a, b); }

bool is_collection(Op op) { return op == Op::kList || op == Op::kSet; }

bool is_set_like(Op op) {
  return op == Op::kUnion || op == Op::kIntersection || op == Op::kDifference || op == Op::kNamedSet ||
         op == Op::kBuilder || op == Op::kInterval;
}

}  // namespace

Same Comparison::equal(NodeId gold, NodeId answer) {
  how_.clear();
  gold = worked_out(t_, scalars_, work_, gold);
  if (t_.op(gold) == Op::kIntegral && t_.count(gold) == 2 && !contains(t_, answer, Op::kIntegral) &&
      is_scalar(t_.op(answer)))
    return antiderivative(gold, answer);
  return any(gold, answer, 0);
}

// \int f dx as a ground truth: anything whose derivative is f.
Same Comparison::antiderivative(NodeId integral, NodeId answer) {
  const NodeId slope = derivative(t_, answer, t_[t_.kid(integral, 1)].payload);
  if (slope == kNone) return said(Same::kUndecided, "antiderivative");
  return said(scalars_.equal(t_.kid(integral, 0), slope), "antiderivative");
}

// C(5, 2) and P(5, 2) beside a number.
Same Comparison::counted(NodeId choice, NodeId number) {
  const NodeId n = t_.kid(choice, 0), k = t_.kid(choice, 1);
  if (!is_scalar(t_.op(n)) || !is_scalar(t_.op(k))) return said(Same::kNo, "a point and a number");
  NodeId count = t_.function(Fn::kBinomial, {n, k});
  if (t_[choice].detail == kArranged) count = t_.add(Op::kMul, {count, t_.function(Fn::kFactorial, {k})});
  return scalars_.equal(count, number);
}

Same Comparison::any(NodeId a, NodeId b, int depth) {
  if (depth > kMaxCompareDepth || t_.full() || !work_.spend(1)) return Same::kUndecided;
  if (same_tree(t_, a, b)) return said(Same::kYes, "written the same");
  how_.clear();
  if (t_.op(a) == Op::kRelation || t_.op(b) == Op::kRelation) {
    const NodeId p = solved(a), q = solved(b);
    if (p != a || q != b) return any(p, q, depth + 1);
    return relations(a, b, depth);
  }
  return peeled(a, b, depth);
}

// Units, percent signs and degrees are looked at first; then the kinds.
Same Comparison::peeled(NodeId a, NodeId b, int depth) {
  if (profile_.drops_percent) {
    auto unpercent = [&](NodeId k) {
      while (t_.op(k) == Op::kPercent) k = t_.kid(k, 0);
      const bool negative = t_.op(k) == Op::kNeg && t_.op(t_.kid(k, 0)) == Op::kPercent;
      return negative ? t_.add(Op::kNeg, {t_.kid(t_.kid(k, 0), 0)}) : k;
    };
    if ((t_.op(a) == Op::kUnit && t_.op(b) == Op::kPercent) || (t_.op(a) == Op::kPercent && t_.op(b) == Op::kUnit))
      return said(Same::kNo, "a percentage and a measure");
    a = unpercent(a);
    b = unpercent(b);
  }
  if (t_.op(a) == Op::kUnit || t_.op(b) == Op::kUnit) return units(a, b, depth);
  bool degrees_a = t_.op(a) == Op::kDegree, degrees_b = t_.op(b) == Op::kDegree;
  if (degrees_a != degrees_b && is_scalar(t_.op(a)) && is_scalar(t_.op(b))) {
    Same left_out = any(degrees_a ? t_.kid(a, 0) : a, degrees_b ? t_.kid(b, 0) : b, depth + 1);
    return left_out == Same::kYes ? left_out : scalars_.equal(a, b);
  }
  if (contains(t_, a, Op::kPlusMinus) || contains(t_, b, Op::kPlusMinus)) return collections(a, b, depth);
  if (t_.op(a) == Op::kText || t_.op(b) == Op::kText) return texts(a, b);
  bool minus = t_.op(a) == Op::kNeg && t_.op(b) == Op::kNeg;
  if (minus && (t_.op(t_.kid(a, 0)) == Op::kBased || t_.op(t_.kid(b, 0)) == Op::kBased))
    return based(t_.kid(a, 0), t_.kid(b, 0));
  if (t_.op(a) == Op::kBased || t_.op(b) == Op::kBased) return based(a, b);
  if (t_.op(a) == Op::kRatio || t_.op(b) == Op::kRatio) return ratios(a, b, depth);
  NodeId m = matrix_of(a), n = matrix_of(b);
  if (m != kNone || n != kNone) return matrices(m == kNone ? a : m, n == kNone ? b : n, depth);
  if (is_scalar(t_.op(a)) && is_scalar(t_.op(b))) return scalars_.equal(a, b);
  auto counts = [&](NodeId k) { return t_.op(k) == Op::kTuple && t_[k].detail != 0; };
  if (counts(a) && is_scalar(t_.op(b))) return counted(a, b);
  if (counts(b) && is_scalar(t_.op(a))) return counted(b, a);
  return structures(a, b, depth);
}

Same Comparison::structures(NodeId a, NodeId b, int depth) {
  Op x = t_.op(a), y = t_.op(b);
  if (is_set_like(x) || is_set_like(y)) return sets(a, b, depth);
  auto conditions = [&](NodeId n) {
    std::string name;
    return t_.op(n) == Op::kList && is_condition(t_, n, name) && t_.op(t_.kid(n, 0)) == Op::kRelation &&
           t_.signs_of(t_.kid(n, 0))[0] != Rel::kEq;
  };
  if (conditions(a) || conditions(b)) return sets(a, b, depth);
  if ((x == Op::kTuple || x == Op::kVector) && (y == Op::kTuple || y == Op::kVector)) return tuples(a, b, depth);
  return collections(a, b, depth);
}

Same Comparison::units(NodeId a, NodeId b, int depth) {
  auto unit_of = [&](NodeId n) { return t_.op(n) == Op::kUnit ? t_.name(n) : std::string(); };
  auto core_of = [&](NodeId n) { return t_.op(n) == Op::kUnit ? t_.kid(n, 0) : n; };
  // 5 m beside 5 \text{ m}: a letter that is a measure.
  auto with_letter = [&](NodeId n, std::string& unit, NodeId& core) {
    if (t_.op(n) == Op::kDiv && t_.op(t_.kid(n, 1)) == Op::kSymbol) {  // 5 m/s
      NodeId top = t_.kid(n, 0);
      if (t_.op(top) != Op::kMul || t_.count(top) != 2 || t_.op(t_.kid(top, 0)) != Op::kNumber ||
          t_.op(t_.kid(top, 1)) != Op::kSymbol)
        return;
      mpq_class factor;
      const std::string speed = fold_unit(t_.name(t_.kid(top, 1)) + " per " + t_.name(t_.kid(n, 1)));
      if (match_units(speed, "m per sec", factor) == UnitMatch::kUnrelated) return;
      unit = speed;
      core = t_.kid(top, 0);
      return;
    }
    if (t_.op(n) != Op::kMul || t_.count(n) != 2 || t_.op(t_.kid(n, 0)) != Op::kNumber ||
        t_.op(t_.kid(n, 1)) != Op::kSymbol)
      return;
    unit = fold_unit(t_.name(t_.kid(n, 1)));
    core = t_.kid(n, 0);
  };
  std::string x = unit_of(a), y = unit_of(b);
  NodeId p = core_of(a), q = core_of(b);
  if (x.empty()) with_letter(a, x, p);
  if (y.empty()) with_letter(b, y, q);
  if (x.empty() || y.empty()) return any(p, q, depth + 1);
  mpq_class factor;
  auto words_within = [](const std::string& few, const std::string& many) {
    return (" " + many + " ").find(" " + few + " ") != std::string::npos;
  };
  switch (match_units(x, y, factor)) {
    case UnitMatch::kSame:
      return any(p, q, depth + 1);
    case UnitMatch::kConvertible:
      return any(t_.add(Op::kMul, {p, t_.number(factor)}), q, depth + 1);
    case UnitMatch::kClash:
      return said(Same::kNo, "units differ");
    case UnitMatch::kUnrelated:
      break;
  }
  if (profile_.drops_units || words_within(x, y) || words_within(y, x)) return any(p, q, depth + 1);
  return said(Same::kNo, "units differ");
}

Same Comparison::texts(NodeId a, NodeId b) {
  // CD beside \text{CD}: letters side by side.
  auto word = [&](NodeId n) {
    if (t_.op(n) == Op::kText || t_.op(n) == Op::kSymbol) return t_.name(n);
    std::string letters;
    auto all_i = [&](NodeId k) { return t_.op(k) == Op::kI; };
    const std::vector<NodeId> kids = t_.kids(n);
    if (t_.op(n) == Op::kMul && std::all_of(kids.begin(), kids.end(), all_i)) return std::string(kids.size(), 'i');
    if (t_.op(n) != Op::kMul) return letters;
    for (uint32_t i = 0; i < t_.count(n); i++) {
      if (t_.op(t_.kid(n, i)) != Op::kSymbol) return std::string();
      for (char c : t_.name(t_.kid(n, i))) letters += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    return letters;
  };
  std::string x = word(a), y = word(b);
  return said(!x.empty() && x == y ? Same::kYes : Same::kNo, "text");
}

Same Comparison::ordered(const std::vector<NodeId>& a, const std::vector<NodeId>& b, int depth) {
  if (a.size() != b.size()) return said(Same::kNo, "different lengths");
  Same all = Same::kYes;
  for (size_t i = 0; i < a.size() && all != Same::kNo; i++) all = both(all, any(a[i], b[i], depth + 1));
  return all;
}

Same Comparison::tuples(NodeId a, NodeId b, int depth) { return ordered(t_.kids(a), t_.kids(b), depth); }

// Each of `a` finds its own in `b` and the other way round; without repeats one partner may serve several.
Same Comparison::unordered(const std::vector<NodeId>& a, const std::vector<NodeId>& b, bool repeats, int depth) {
  constexpr size_t kMaxElements = 64;
  if (a.size() > kMaxElements || b.size() > kMaxElements) {
    return a.size() == b.size() ? ordered(a, b, depth) : said(Same::kNo, "different lengths");
  }
  if (repeats && a.size() != b.size()) return said(Same::kNo, "different lengths");
  std::vector<bool> used(b.size());
  Same all = Same::kYes;
  for (NodeId x : a) {
    Same found = Same::kNo;
    for (size_t j = 0; j < b.size() && found != Same::kYes; j++) {
      if (repeats && used[j]) continue;
      Same s = any(x, b[j], depth + 1);
      if (s == Same::kYes) used[j] = true;
      found = std::max(found, s);
    }
    all = both(all, found);
    if (all == Same::kNo) return all;
  }
  for (size_t j = 0; j < b.size(); j++) {
    if (used[j]) continue;
    Same found = Same::kNo;
    for (NodeId x : a) found = std::max(found, found == Same::kYes ? found : any(x, b[j], depth + 1));
    all = both(all, found);
    if (all == Same::kNo) return all;
  }
  return all;
}

// Lists, sets, tuples beside them, and single values beside sets of one.
Same Comparison::collections(NodeId a, NodeId b, int depth) {
  Op x = t_.op(a), y = t_.op(b);
  bool pair_a = x == Op::kTuple || x == Op::kVector, pair_b = y == Op::kTuple || y == Op::kVector;
  if ((pair_a && y == Op::kSet) || (pair_b && x == Op::kSet)) {
    if (!profile_.tuples_as_sets) return said(Same::kNo, "a tuple and a set");
  }
  std::vector<NodeId> p = pair_a ? t_.kids(a) : elements(a), q = pair_b ? t_.kids(b) : elements(b);
  bool many_a = p.size() > 1, many_b = q.size() > 1;
  if (!many_a && !many_b) {
    if (p.size() != 1 || q.size() != 1) return said(p.size() == q.size() ? Same::kYes : Same::kNo, "empty");
    bool progress = p[0] != a || q[0] != b;
    return progress ? any(p[0], q[0], depth + 1) : said(Same::kNo, "of different kinds");
  }
  if (pair_a || pair_b) {
    bool ordered_pair = !profile_.tuples_as_sets || (pair_a && pair_b);
    if (ordered_pair) return ordered(p, q, depth);
    return unordered(p, q, false, depth);
  }
  auto all_named = [&](NodeId n) {
    for (NodeId k : t_.kids(n)) {
      if (t_.op(k) != Op::kRelation) return false;
    }
    return true;
  };
  bool in_order = profile_.ordered_lists && x == Op::kList && y == Op::kList && !(all_named(a) && all_named(b));
  if (in_order) return ordered(p, q, depth);
  bool repeats = profile_.repeats_matter && x != Op::kSet && y != Op::kSet;
  return unordered(p, q, repeats, depth);
}

Same Comparison::sets(NodeId a, NodeId b, int depth) {
  Op x = t_.op(a), y = t_.op(b);
  if (x == Op::kInterval && y == Op::kInterval) {
    if (t_[a].detail != t_[b].detail) return said(Same::kNo, "end points belong or not");
    return ordered(t_.kids(a), t_.kids(b), depth);
  }
  std::string first, second;
  bool named_a = is_condition(t_, a, first), named_b = is_condition(t_, b, second);
  if (named_a && named_b && first != second) return said(Same::kNo, "conditions on different names");
  if (is_real_set(t_, a) && is_real_set(t_, b)) {
    Same s = equal_real_sets(t_, scalars_, a, b);
    if (s != Same::kUndecided) return said(s, "real sets");
  }
  // x in {1, 2} beside 1, 2: a bare list of values for a set.
  auto loose_set = [&](NodeId n) {
    if (t_.op(n) != Op::kList && !is_scalar(t_.op(n))) return n;
    std::string name;
    if (is_condition(t_, n, name)) return n;
    return t_.add(Op::kSet, elements(n));
  };
  NodeId p = loose_set(a), q = loose_set(b);
  if ((p != a || q != b) && is_real_set(t_, p) && is_real_set(t_, q)) {
    Same s = equal_real_sets(t_, scalars_, p, q);
    if (s != Same::kUndecided) return said(s, "real sets");
  }
  bool interval_tuple = (x == Op::kInterval && y == Op::kTuple) || (x == Op::kTuple && y == Op::kInterval);
  if (interval_tuple) return said(Same::kNo, "end points belong or not");
  bool loose = x == Op::kInterval ? is_collection(y) || y == Op::kVector : is_collection(x) || x == Op::kVector;
  if ((x == Op::kInterval || y == Op::kInterval) && loose && profile_.tuples_as_sets)
    return unordered(t_.kids(a), t_.kids(b), false, depth);
  if (x == Op::kList || y == Op::kList) {
    const NodeId left = as_interval(a, b), right = as_interval(b, a);
    if (left != kNone && right != kNone) return unions(left, right, depth);
  }
  const NodeId one = gathered(a), two = gathered(b);
  if (t_.op(one) == Op::kSet && t_.op(two) == Op::kSet) return collections(one, two, depth);
  return unions(a, b, depth);
}

// Unions of sets that list their elements: one set.
NodeId Comparison::gathered(NodeId n) {
  if (t_.op(n) != Op::kUnion || t_.full()) return n;
  const NodeId left = gathered(t_.kid(n, 0)), right = gathered(t_.kid(n, 1));
  if (t_.op(left) != Op::kSet || t_.op(right) != Op::kSet) return n;
  std::vector<NodeId> all = t_.kids(left);
  for (NodeId k : t_.kids(right)) all.push_back(k);
  return t_.add(Op::kSet, all);
}

// The same pieces in another order, where end points cannot be ordered.
Same Comparison::unions(NodeId a, NodeId b, int depth) {
  auto pieces = [&](NodeId n, Op op) {
    std::vector<NodeId> all{n};
    for (size_t i = 0; i < all.size();) {
      constexpr size_t kMaxPieces = 64;
      if (t_.op(all[i]) != op || all.size() > kMaxPieces) {
        i++;
        continue;
      }
      NodeId u = all[i];
      all[i] = t_.kid(u, 0);
      all.push_back(t_.kid(u, 1));
    }
    return all;
  };
  Op op = t_.op(a);
  if (op != t_.op(b)) return said(Same::kNo, "sets of different kinds");
  switch (op) {
    case Op::kUnion:
    case Op::kIntersection:
      return unordered(pieces(a, op), pieces(b, op), false, depth);
    case Op::kDifference:
    case Op::kBuilder:
      return ordered(t_.kids(a), t_.kids(b), depth);
    case Op::kInterval:
      return t_[a].detail == t_[b].detail ? ordered(t_.kids(a), t_.kids(b), depth)
                                          : said(Same::kNo, "end points belong or not");
    case Op::kTuple:
      return ordered(t_.kids(a), t_.kids(b), depth);
    default:
      return said(Same::kNo, "different sets");
  }
}

Same Comparison::matrices(NodeId a, NodeId b, int depth) {
  bool m = t_.op(a) == Op::kMatrix, n = t_.op(b) == Op::kMatrix;
  if (m && n) {
    if (t_[a].payload != t_[b].payload) return said(Same::kNo, "matrices of different shapes");
    return ordered(t_.kids(a), t_.kids(b), depth);
  }
  NodeId matrix = m ? a : b, other = m ? b : a;
  bool column = t_[matrix].payload == 1;
  auto vector = [&](NodeId v) {
    return t_.op(v) == Op::kTuple || t_.op(v) == Op::kVector || (t_.op(v) == Op::kInterval && t_[v].detail == 3);
  };
  if (column && t_.op(other) != Op::kInterval && vector(other)) return ordered(t_.kids(a), t_.kids(b), depth);
  if (vector(other)) {  // [[1, 2], [3, 4]]
    std::vector<NodeId> cells;
    for (NodeId row : t_.kids(other)) {
      if (!vector(row) || t_.count(row) != t_[matrix].payload) return said(Same::kNo, "matrices of different shapes");
      for (NodeId cell : t_.kids(row)) cells.push_back(cell);
    }
    return m ? ordered(t_.kids(matrix), cells, depth) : ordered(cells, t_.kids(matrix), depth);
  }
  if (t_.count(matrix) == 1 && is_scalar(t_.op(other))) return scalars_.equal(t_.kid(matrix, 0), other);
  return said(Same::kNo, "a matrix and something else");
}

Same Comparison::ratios(NodeId a, NodeId b, int depth) {
  bool r = t_.op(a) == Op::kRatio, s = t_.op(b) == Op::kRatio;
  if (r && s) {
    Same same = ordered(t_.kids(a), t_.kids(b), depth);
    bool clock = t_[a].detail != 0 || t_[b].detail != 0;
    if ((t_[a].detail == 2) != (t_[b].detail == 2)) return said(Same::kNo, "3:05 and 3:5");
    if (same == Same::kYes || clock || t_.count(a) != t_.count(b)) return same;
    // 1 : 2 = 2 : 4, by cross products with the first parts
    Same all = Same::kYes;
    for (uint32_t i = 1; i < t_.count(a) && all != Same::kNo; i++) {
      NodeId left = t_.add(Op::kMul, {t_.kid(a, i), t_.kid(b, 0)});
      NodeId right = t_.add(Op::kMul, {t_.kid(b, i), t_.kid(a, 0)});
      all = both(all, scalars_.equal(left, right));
    }
    NodeId zero = t_.integer(0);
    bool none = scalars_.equal(t_.kid(a, 0), zero) == Same::kYes || scalars_.equal(t_.kid(b, 0), zero) == Same::kYes;
    return none ? said(Same::kNo, "a ratio with zero") : all;
  }
  NodeId ratio = r ? a : b, other = r ? b : a;
  if (t_.count(ratio) != 2 || !is_scalar(t_.op(other))) return said(Same::kNo, "a ratio and something else");
  return scalars_.equal(t_.add(Op::kDiv, {t_.kid(ratio, 0), t_.kid(ratio, 1)}), other);
}

// The digits and the base; one side may leave the base out.
Same Comparison::based(NodeId a, NodeId b) {
  if (t_.op(a) == Op::kBased && t_.op(b) == Op::kBased) {
    if (t_.name(a) != t_.name(b)) return said(Same::kNo, "digits");
    return scalars_.equal(t_.kid(a, 0), t_.kid(b, 0));
  }
  NodeId number = t_.op(a) == Op::kBased ? a : b, other = number == a ? b : a;
  bool negative = t_.op(other) == Op::kNeg;
  if (t_.op(other) == Op::kText) return said(t_.name(other) == t_.name(number) ? Same::kYes : Same::kNo, "digits");
  bool same = !negative && t_.op(other) == Op::kNumber && t_.value(other).get_str() == t_.name(number);
  return said(same ? Same::kYes : Same::kNo, "digits");
}

}  // namespace fulmen::reward::math
