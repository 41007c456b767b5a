#include "reward/math/real_set.h"

#include <algorithm>

namespace fulmen::reward::math {
namespace {

bool is_order(Rel r) { return r == Rel::kLt || r == Rel::kLe || r == Rel::kGt || r == Rel::kGe; }

// A name that a condition can be about: x, x_1, f(x), or words.
bool is_name(const Tree& t, NodeId n) {
  Op op = t.op(n);
  return op == Op::kSymbol || op == Op::kText || op == Op::kApply;
}

bool is_infinite(const Tree& t, NodeId n) {
  while (t.op(n) == Op::kNeg) n = t.kid(n, 0);
  return t.op(n) == Op::kInfinity;
}

// Membership of a position on the line: position 2i is end point i, 2i+1 the gap behind it, -1 the gap before all.
class Membership {
 public:
  Membership(const Tree& t, Scalars& scalars) : t_(t), scalars_(scalars) {}

  bool collect(NodeId n) {
    constexpr size_t kMaxEnds = 40;
    switch (t_.op(n)) {
      case Op::kNamedSet:
        return true;
      case Op::kBuilder:
        return collect(t_.kid(n, 1));
      case Op::kRelation:
        for (uint32_t i = 0; i < t_.count(n); i++) {
          NodeId k = t_.kid(n, i);
          if (is_name(t_, k)) continue;
          if (is_real_set(t_, k) ? !collect(k) : !end(k)) return false;
        }
        return true;
      case Op::kList:
      case Op::kSet:
      case Op::kUnion:
      case Op::kIntersection:
      case Op::kDifference:
      case Op::kInterval:
      case Op::kTuple:
        for (uint32_t i = 0; i < t_.count(n); i++) {
          NodeId k = t_.kid(n, i);
          bool ok = is_scalar(t_.op(k)) ? end(k) : collect(k);
          if (!ok || ends_.size() > kMaxEnds) return false;
        }
        return true;
      default:
        return is_scalar(t_.op(n)) && end(n);
    }
  }

  int last_position() const { return 2 * static_cast<int>(ends_.size()) - 1; }

  bool has(NodeId n, int position) const {
    switch (t_.op(n)) {
      case Op::kNamedSet:
        return t_[n].detail == 'R';
      case Op::kBuilder:
        return has(t_.kid(n, 1), position);
      case Op::kUnion:
        return has(t_.kid(n, 0), position) || has(t_.kid(n, 1), position);
      case Op::kIntersection:
        return has(t_.kid(n, 0), position) && has(t_.kid(n, 1), position);
      case Op::kDifference:
        return has(t_.kid(n, 0), position) && !has(t_.kid(n, 1), position);
      case Op::kInterval:
      case Op::kTuple: {
        int left = place(t_.kid(n, 0)), right = place(t_.kid(n, 1));
        uint8_t closed = t_.op(n) == Op::kTuple ? 0 : t_[n].detail;
        return (position > left || (position == left && (closed & 1) != 0)) &&
               (position < right || (position == right && (closed & 2) != 0));
      }
      case Op::kRelation:
        return satisfies(n, position);
      case Op::kList:
      case Op::kSet: {
        // x >= 2, x != 3: both at once, where x = 2, x = 3 is either.
        bool all = t_.op(n) == Op::kList && t_[n].detail == static_cast<uint8_t>(Joint::kAnd);
        for (uint32_t i = 0; t_.op(n) == Op::kList && i < t_.count(n); i++) {
          const NodeId k = t_.kid(n, i);
          all |= t_[n].detail == static_cast<uint8_t>(Joint::kComma) && t_.op(k) == Op::kRelation &&
                 t_.signs_of(k)[0] == Rel::kNe;
        }
        for (uint32_t i = 0; i < t_.count(n); i++) {
          if (has(t_.kid(n, i), position) != all) return !all;
        }
        return all;
      }
      default:
        return place(n) == position;
    }
  }

 private:
  // Inserts an end point in order; infinities lie outside all positions.
  bool end(NodeId n) {
    if (is_infinite(t_, n)) return true;
    for (size_t i = 0; i < ends_.size(); i++) {
      int sign = 0;
      if (!scalars_.order(n, ends_[i], sign)) return false;
      if (sign == 0) {
        known_.emplace_back(n, ends_[i]);
        return true;
      }
      if (sign < 0) {
        ends_.insert(ends_.begin() + static_cast<std::ptrdiff_t>(i), n);
        known_.emplace_back(n, n);
        return true;
      }
    }
    if (ends_.empty()) {  // nothing to compare with yet: is it a real number at all?
      int sign = 0;
      if (!scalars_.order(n, n, sign)) return false;
    }
    ends_.push_back(n);
    known_.emplace_back(n, n);
    return true;
  }

  int place(NodeId n) const {
    if (is_infinite(t_, n)) return t_.op(n) == Op::kNeg ? -1000000 : 1000000;
    for (const auto& [node, representative] : known_) {
      if (node != n) continue;
      auto at = std::find(ends_.begin(), ends_.end(), representative);
      return 2 * static_cast<int>(at - ends_.begin());
    }
    return -1000000;
  }

  bool satisfies(NodeId n, int position) const {
    const std::vector<Rel>& signs = t_.signs_of(n);
    for (size_t i = 0; i < signs.size(); i++) {
      NodeId left = t_.kid(n, static_cast<uint32_t>(i)), right = t_.kid(n, static_cast<uint32_t>(i) + 1);
      Rel r = signs[i];
      if (r == Rel::kIn) {
        if (!has(right, position)) return false;
        continue;
      }
      if (r == Rel::kNotIn) {
        if (has(right, position)) return false;
        continue;
      }
      int a = is_name(t_, left) ? position : place(left), b = is_name(t_, right) ? position : place(right);
      bool ok = r == Rel::kEq   ? a == b
                : r == Rel::kNe ? a != b
                : r == Rel::kLt ? a < b
                : r == Rel::kLe ? a <= b
                : r == Rel::kGt ? a > b
                                : a >= b;
      if (!ok) return false;
    }
    return true;
  }

  const Tree& t_;
  Scalars& scalars_;
  std::vector<NodeId> ends_;
  std::vector<std::pair<NodeId, NodeId>> known_;  // node -> the node of the same value in ends_
};

}  // namespace

bool is_condition(const Tree& t, NodeId n, std::string& name) {
  if (t.op(n) == Op::kList) {
    std::string first;
    for (uint32_t i = 0; i < t.count(n); i++) {
      std::string next;
      if (t.op(t.kid(n, i)) != Op::kRelation || !is_condition(t, t.kid(n, i), next)) return false;
      if (i > 0 && next != first) return false;
      first = next;
    }
    name = first;
    return t.count(n) > 0;
  }
  if (t.op(n) != Op::kRelation) return false;
  const std::vector<Rel>& signs = t.signs_of(n);
  size_t names = 0;
  for (uint32_t i = 0; i < t.count(n); i++) {
    NodeId k = t.kid(n, i);
    if (is_name(t, k)) {
      names++;
      name = spell(t, k);
    } else if (has_names(t, k)) {
      return false;
    }
  }
  if (names != 1) return false;
  for (size_t i = 0; i < signs.size(); i++) {
    Rel r = signs[i];
    NodeId right = t.kid(n, static_cast<uint32_t>(i) + 1);
    if (r == Rel::kIn || r == Rel::kNotIn) {
      if (signs.size() != 1 || !is_real_set(t, right)) return false;
    } else if (!is_order(r) && r != Rel::kNe && r != Rel::kEq) {
      return false;
    } else if (!is_scalar(t.op(right)) && !is_name(t, right)) {
      return false;
    }
  }
  return is_scalar(t.op(t.kid(n, 0))) || is_name(t, t.kid(n, 0));
}

bool is_real_set(const Tree& t, NodeId n) {
  std::string name;
  switch (t.op(n)) {
    case Op::kNamedSet:
      return t[n].detail == 'R' || t[n].detail == '0';
    case Op::kInterval:
      return true;
    case Op::kTuple:
      return t.count(n) == 2 && is_scalar(t.op(t.kid(n, 0))) && is_scalar(t.op(t.kid(n, 1)));
    case Op::kSet:
      for (uint32_t i = 0; i < t.count(n); i++) {
        if (!is_scalar(t.op(t.kid(n, i)))) return false;
      }
      return true;
    case Op::kUnion:
    case Op::kIntersection:
    case Op::kDifference:
      return is_real_set(t, t.kid(n, 0)) && is_real_set(t, t.kid(n, 1));
    case Op::kBuilder:
      return is_name(t, t.kid(n, 0)) && is_condition(t, t.kid(n, 1), name) && name == spell(t, t.kid(n, 0));
    case Op::kRelation:
    case Op::kList:
      return is_condition(t, n, name);
    default:
      return false;
  }
}

Same equal_real_sets(const Tree& t, Scalars& scalars, NodeId a, NodeId b) {
  Membership m(t, scalars);
  if (!m.collect(a) || !m.collect(b)) return Same::kUndecided;
  for (int position = -1; position <= m.last_position(); position++) {
    if (m.has(a, position) != m.has(b, position)) return Same::kNo;
  }
  return Same::kYes;
}

}  // namespace fulmen::reward::math
