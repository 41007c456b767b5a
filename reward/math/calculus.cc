#include "reward/math/calculus.h"

#include <optional>
#include <utility>
#include <vector>

#include "reward/math/ball.h"
#include "reward/math/exact.h"

namespace fulmen::reward::math {
namespace {

bool depends(const Tree& t, NodeId n, uint32_t variable) {
  if (t.op(n) == Op::kSymbol) return t[n].payload == variable;
  if (t.op(n) == Op::kApply) return true;
  for (uint32_t i = 0; i < t.count(n); i++) {
    if (depends(t, t.kid(n, i), variable)) return true;
  }
  return false;
}

class Differentiator {
 public:
  Differentiator(Tree& tree, uint32_t variable) : t_(tree), variable_(variable) {}

  NodeId of(NodeId n) {
    if (t_.full()) return kNone;
    if (!depends(t_, n, variable_)) return t_.integer(0);
    switch (t_.op(n)) {
      case Op::kSymbol:
        return t_.integer(1);
      case Op::kNeg:
        return wrapped(Op::kNeg, n);
      case Op::kAdd:
        return sum(n);
      case Op::kMul:
        return product(n);
      case Op::kDiv:
        return quotient(n);
      case Op::kPow:
        return power(t_.kid(n, 0), t_.kid(n, 1), n);
      case Op::kRoot: {
        const NodeId exponent = t_.add(Op::kDiv, {t_.integer(1), t_.kid(n, 1)});
        return depends(t_, t_.kid(n, 1), variable_) ? kNone : power(t_.kid(n, 0), exponent, kNone);
      }
      case Op::kFunction:
        return function(n);
      default:
        return kNone;
    }
  }

 private:
  NodeId times(NodeId a, NodeId b) { return t_.add(Op::kMul, {a, b}); }
  NodeId squared(NodeId n) { return t_.add(Op::kPow, {n, t_.integer(2)}); }
  NodeId over(NodeId a, NodeId b) { return t_.add(Op::kDiv, {a, b}); }

  NodeId wrapped(Op op, NodeId n) {
    const NodeId inner = of(t_.kid(n, 0));
    return inner == kNone ? kNone : t_.add(op, {inner});
  }

  NodeId sum(NodeId n) {
    std::vector<NodeId> terms = t_.kids(n);
    for (NodeId& k : terms) {
      if ((k = of(k)) == kNone) return kNone;
    }
    return t_.add(Op::kAdd, terms);
  }

  NodeId product(NodeId n) {
    const std::vector<NodeId> factors = t_.kids(n);
    std::vector<NodeId> terms;
    for (size_t i = 0; i < factors.size(); i++) {
      if (!depends(t_, factors[i], variable_)) continue;
      std::vector<NodeId> term = factors;
      if ((term[i] = of(factors[i])) == kNone) return kNone;
      terms.push_back(t_.add(Op::kMul, term));
    }
    return terms.size() == 1 ? terms[0] : t_.add(Op::kAdd, terms);
  }

  NodeId quotient(NodeId n) {
    const NodeId f = t_.kid(n, 0), g = t_.kid(n, 1);
    const NodeId above = of(f);
    if (above == kNone) return kNone;
    if (!depends(t_, g, variable_)) return over(above, g);
    const NodeId below = of(g);
    if (below == kNone) return kNone;
    return over(t_.add(Op::kAdd, {times(above, g), t_.add(Op::kNeg, {times(f, below)})}), squared(g));
  }

  // `whole`: base ^ exponent where there is a node for it.
  NodeId power(NodeId base, NodeId exponent, NodeId whole) {
    const NodeId slope = of(base);
    if (slope == kNone) return kNone;
    if (!depends(t_, exponent, variable_)) {
      const NodeId less = t_.add(Op::kAdd, {exponent, t_.integer(-1)});
      return t_.add(Op::kMul, {exponent, t_.add(Op::kPow, {base, less}), slope});
    }
    const NodeId exponent_slope = of(exponent);
    if (exponent_slope == kNone || whole == kNone) return kNone;
    if (t_.op(base) == Op::kE) return times(whole, exponent_slope);
    // f^g = exp(g ln f)
    const NodeId first = times(exponent_slope, t_.function(Fn::kLn, {base}));
    return times(whole, t_.add(Op::kAdd, {first, over(times(exponent, slope), base)}));
  }

  NodeId function(NodeId n) {
    const NodeId x = t_.kid(n, 0);
    if (t_.count(n) > 1 && (t_.fn(n) != Fn::kLog || depends(t_, t_.kid(n, 1), variable_))) return kNone;
    const NodeId inner = of(x);
    const NodeId outer = inner == kNone ? kNone : slope_of(n, x);
    return outer == kNone ? kNone : times(outer, inner);
  }

  NodeId slope_of(NodeId n, NodeId x) {
    const NodeId one = t_.integer(1);
    auto minus = [&](NodeId k) { return t_.add(Op::kNeg, {k}); };
    auto f = [&](Fn fn) { return t_.function(fn, {x}); };
    switch (t_.fn(n)) {
      case Fn::kSin:
        return f(Fn::kCos);
      case Fn::kCos:
        return minus(f(Fn::kSin));
      case Fn::kTan:
        return over(one, squared(f(Fn::kCos)));
      case Fn::kCot:
        return minus(over(one, squared(f(Fn::kSin))));
      case Fn::kSec:
        return times(f(Fn::kSec), f(Fn::kTan));
      case Fn::kCsc:
        return minus(times(f(Fn::kCsc), f(Fn::kCot)));
      case Fn::kArcsin:
      case Fn::kArccos: {
        const NodeId root = t_.add(Op::kRoot, {t_.add(Op::kAdd, {one, minus(squared(x))}), t_.integer(2)});
        return t_.fn(n) == Fn::kArcsin ? over(one, root) : minus(over(one, root));
      }
      case Fn::kArctan:
        return over(one, t_.add(Op::kAdd, {one, squared(x)}));
      case Fn::kSinh:
        return f(Fn::kCosh);
      case Fn::kCosh:
        return f(Fn::kSinh);
      case Fn::kTanh:
        return over(one, squared(f(Fn::kCosh)));
      case Fn::kExp:
        return n;
      case Fn::kLn:
        return over(one, x);
      case Fn::kLog:
        return over(one, times(x, t_.function(Fn::kLn, {t_.kid(n, 1)})));
      default:
        return kNone;
    }
  }

  Tree& t_;
  const uint32_t variable_;
};

NodeId substituted(Tree& t, NodeId n, uint32_t variable, NodeId value) {
  if (t.op(n) == Op::kSymbol) return t[n].payload == variable ? value : n;
  if (t.count(n) == 0 || t.full()) return n;
  std::vector<NodeId> kids = t.kids(n);
  for (NodeId& k : kids) k = substituted(t, k, variable, value);
  const Node copy = t[n];
  return t.add(copy.op, kids, copy.detail, copy.payload);
}

// A quotient of polynomials in one name, lowest coefficient first.
using Polynomial = std::vector<mpq_class>;
struct Fraction {
  Polynomial above, below;
};

constexpr size_t kMaxDegree = 40;

void trim(Polynomial& p) {
  while (!p.empty() && p.back() == 0) p.pop_back();
}

Polynomial multiplied(const Polynomial& a, const Polynomial& b) {
  Polynomial c(a.empty() || b.empty() ? 0 : a.size() + b.size() - 1);
  for (size_t i = 0; i < a.size(); i++) {
    for (size_t j = 0; j < b.size(); j++) c[i + j] += a[i] * b[j];
  }
  return c;
}

class Fractions {
 public:
  Fractions(const Tree& tree, Work& work, uint32_t variable) : t_(tree), work_(work), variable_(variable) {}

  std::optional<Fraction> of(NodeId n) {
    if (!depends(t_, n, variable_)) {
      const auto value = Exact(t_, work_).value(n);
      return value ? std::optional<Fraction>({{*value}, {1}}) : std::nullopt;
    }
    switch (t_.op(n)) {
      case Op::kSymbol:
        return Fraction{{0, 1}, {1}};
      case Op::kNeg: {
        auto f = of(t_.kid(n, 0));
        return f ? of_limited({multiplied(f->above, {-1}), f->below}) : f;
      }
      case Op::kAdd:
      case Op::kMul:
        return folded(n);
      case Op::kDiv: {
        auto f = of(t_.kid(n, 0)), g = f ? of(t_.kid(n, 1)) : f;
        return g ? of_limited({multiplied(f->above, g->below), multiplied(f->below, g->above)}) : g;
      }
      case Op::kPow: {
        const auto e = depends(t_, t_.kid(n, 1), variable_) ? std::nullopt : Exact(t_, work_).value(t_.kid(n, 1));
        auto f = e ? of(t_.kid(n, 0)) : std::nullopt;
        if (!f || e->get_den() != 1 || *e < 0 || *e > static_cast<long>(kMaxDegree)) return std::nullopt;
        Fraction product{{1}, {1}};
        for (long k = e->get_num().get_si(); k > 0; k--) {
          const auto next = of_limited({multiplied(product.above, f->above), multiplied(product.below, f->below)});
          if (!next) return next;
          product = *next;
        }
        return product;
      }
      default:
        return std::nullopt;
    }
  }

 private:
  std::optional<Fraction> of_limited(Fraction f) {
    trim(f.above);
    trim(f.below);
    const size_t size = f.above.size() + f.below.size();
    if (f.below.empty() || size > 2 * kMaxDegree || !work_.spend(static_cast<int64_t>(size))) return std::nullopt;
    return f;
  }

  std::optional<Fraction> folded(NodeId n) {
    std::optional<Fraction> total = of(t_.kid(n, 0));
    for (uint32_t i = 1; total && i < t_.count(n); i++) {
      const auto next = of(t_.kid(n, i));
      if (!next) return next;
      if (t_.op(n) == Op::kMul) {
        total = of_limited({multiplied(total->above, next->above), multiplied(total->below, next->below)});
        continue;
      }
      Polynomial sum = multiplied(total->above, next->below), other = multiplied(next->above, total->below);
      sum.resize(std::max(sum.size(), other.size()));
      for (size_t k = 0; k < other.size(); k++) sum[k] += other[k];
      total = of_limited({sum, multiplied(total->below, next->below)});
    }
    return total;
  }

  const Tree& t_;
  Work& work_;
  const uint32_t variable_;
};

class Limits {
 public:
  Limits(Tree& tree, Scalars& scalars, Work& work) : t_(tree), scalars_(scalars), work_(work) {}

  // kNone where it is not certain.
  NodeId value(NodeId limit) {
    const NodeId body = t_.kid(limit, 0), to = t_.kid(limit, 2);
    const uint32_t variable = t_[t_.kid(limit, 1)].payload;
    const bool minus = t_.op(to) == Op::kNeg;
    if (t_.op(minus ? t_.kid(to, 0) : to) == Op::kInfinity) return at_infinity(body, variable, minus);
    if (has_names(t_, to) || other_names(body, variable)) return kNone;
    return at_point(body, variable, to);
  }

 private:
  bool other_names(NodeId n, uint32_t variable) const {
    if (t_.op(n) == Op::kSymbol) return t_[n].payload != variable;
    if (t_.op(n) == Op::kApply) return true;
    for (uint32_t i = 0; i < t_.count(n); i++) {
      if (other_names(t_.kid(n, i), variable)) return true;
    }
    return false;
  }

  NodeId at_infinity(NodeId body, uint32_t variable, bool minus) {
    const auto f = Fractions(t_, work_, variable).of(body);
    if (!f) return kNone;
    if (f->above.size() < f->below.size()) return t_.integer(0);
    const mpq_class leading = f->above.back() / f->below.back();
    if (f->above.size() == f->below.size()) return t_.number(leading);
    const bool odd = (f->above.size() - f->below.size()) % 2 == 1;
    const NodeId infinity = t_.add(Op::kInfinity, {});
    return (leading > 0) == !(minus && odd) ? infinity : t_.add(Op::kNeg, {infinity});
  }

  // Numerator and denominator of a product of quotients.
  std::pair<NodeId, NodeId> parts(NodeId n) {
    if (t_.op(n) == Op::kDiv) return {t_.kid(n, 0), t_.kid(n, 1)};
    if (t_.op(n) == Op::kNeg) {
      const auto [above, below] = parts(t_.kid(n, 0));
      return {t_.add(Op::kNeg, {above}), below};
    }
    if (t_.op(n) != Op::kMul) return {n, t_.integer(1)};
    std::vector<NodeId> above, below;
    for (NodeId k : t_.kids(n)) {
      const auto [a, b] = parts(k);
      above.push_back(a);
      below.push_back(b);
    }
    return {t_.add(Op::kMul, above), t_.add(Op::kMul, below)};
  }

  NodeId at_point(NodeId body, uint32_t variable, NodeId to) {
    constexpr int kMaxRounds = 5;
    auto [above, below] = parts(body);
    const NodeId zero = t_.integer(0);
    for (int round = 0; round < kMaxRounds && !t_.full() && !work_.exhausted(); round++) {
      // Differentiable functions alone are sure to be continuous.
      const NodeId slope_above = derivative(t_, above, variable), slope_below = derivative(t_, below, variable);
      if (slope_above == kNone || slope_below == kNone) return kNone;
      const NodeId p = substituted(t_, above, variable, to), q = substituted(t_, below, variable, to);
      Ball value;
      if (t_.full() || !Balls(t_, work_, 128, 0, 0).value(p, value) || !Balls(t_, work_, 128, 0, 0).value(q, value))
        return kNone;
      const Same none = scalars_.equal(q, zero);
      if (none == Same::kNo) return t_.add(Op::kDiv, {p, q});
      if (none == Same::kUndecided || scalars_.equal(p, zero) != Same::kYes) return kNone;
      above = slope_above;
      below = slope_below;
    }
    return kNone;
  }

  Tree& t_;
  Scalars& scalars_;
  Work& work_;
};

// d/dx of what names y, or f(x), is the name of something.
bool total_is_known(const Tree& t, NodeId n, uint32_t variable) {
  if (t.op(n) == Op::kSymbol && t[n].payload != variable) {
    const std::string& name = t.name(n);
    return name.size() == 1 && std::string_view("abcdkmnpqABCDK").find(name[0]) != std::string_view::npos;
  }
  for (uint32_t i = 0; i < t.count(n); i++) {
    if (!total_is_known(t, t.kid(n, i), variable)) return false;
  }
  return true;
}

}  // namespace

NodeId derivative(Tree& tree, NodeId n, uint32_t variable) { return Differentiator(tree, variable).of(n); }

NodeId worked_out(Tree& tree, Scalars& scalars, Work& work, NodeId n) {
  if (tree.full() || (!contains(tree, n, Op::kDerivative) && !contains(tree, n, Op::kLimit))) return n;
  std::vector<NodeId> kids = tree.kids(n);
  for (NodeId& k : kids) k = worked_out(tree, scalars, work, k);
  const Node copy = tree[n];
  const NodeId same = tree.add(copy.op, kids, copy.detail, copy.payload);
  NodeId result = kNone;
  if (copy.op == Op::kDerivative) {
    const uint32_t variable = tree[kids[1]].payload;
    const bool known =
        depends(tree, kids[0], variable) && (copy.detail == 1 || total_is_known(tree, kids[0], variable));
    result = known ? derivative(tree, kids[0], variable) : kNone;
  }
  if (copy.op == Op::kLimit) result = Limits(tree, scalars, work).value(same);
  return result == kNone || tree.full() ? same : result;
}

}  // namespace fulmen::reward::math
