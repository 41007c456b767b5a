#include "reward/math/polynomial.h"

#include <fmpq_mpoly.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "reward/math/exact.h"

namespace fulmen::reward::math {
namespace {

struct Context {
  explicit Context(slong variables) { fmpq_mpoly_ctx_init(ctx, variables, ORD_LEX); }
  ~Context() { fmpq_mpoly_ctx_clear(ctx); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  fmpq_mpoly_ctx_t ctx;
};

class Polynomial {
 public:
  explicit Polynomial(const Context& c) : c_(c) { fmpq_mpoly_init(p_, c_.ctx); }
  ~Polynomial() { fmpq_mpoly_clear(p_, c_.ctx); }
  Polynomial(const Polynomial&) = delete;
  Polynomial& operator=(const Polynomial&) = delete;
  void swap(Polynomial& o) { fmpq_mpoly_swap(p_, o.p_, c_.ctx); }
  void set(const Polynomial& o) { fmpq_mpoly_set(p_, o.p_, c_.ctx); }
  void set(const mpq_class& q) {
    fmpq_t f;
    fmpq_init(f);
    fmpq_set_mpq(f, q.get_mpq_t());
    fmpq_mpoly_set_fmpq(p_, f, c_.ctx);
    fmpq_clear(f);
  }
  void set_variable(slong i) { fmpq_mpoly_gen(p_, i, c_.ctx); }
  void add(const Polynomial& a) { fmpq_mpoly_add(p_, p_, a.p_, c_.ctx); }
  void multiply(const Polynomial& a) { fmpq_mpoly_mul(p_, p_, a.p_, c_.ctx); }
  void raise(ulong e) { fmpq_mpoly_pow_ui(p_, p_, e, c_.ctx); }
  void negate() { fmpq_mpoly_neg(p_, p_, c_.ctx); }
  long terms() const { return fmpq_mpoly_length(p_, c_.ctx); }
  // Bits of the largest coefficient, and a bound of the degree in all variables together.
  long bits() const {
    return FLINT_ABS(fmpz_mpoly_max_bits(p_->zpoly)) + static_cast<long>(fmpz_bits(fmpq_numref(p_->content))) +
           static_cast<long>(fmpz_bits(fmpq_denref(p_->content)));
  }
  long degree() const {
    constexpr long kHuge = 1 << 30;
    return fmpq_mpoly_total_degree_fits_si(p_, c_.ctx) != 0 ? fmpq_mpoly_total_degree_si(p_, c_.ctx) : kHuge;
  }
  bool is_zero() const { return fmpq_mpoly_is_zero(p_, c_.ctx) != 0; }
  void gcd(const Polynomial& a) { ok_ = fmpq_mpoly_gcd(p_, p_, a.p_, c_.ctx) != 0 && ok_; }
  void divide(const Polynomial& a) { ok_ = fmpq_mpoly_divides(p_, p_, a.p_, c_.ctx) != 0 && ok_; }
  bool ok() const { return ok_; }
  // Of the coefficients; the polynomial becomes primitive with a positive leading coefficient.
  mpq_class take_content() {
    mpq_class q;
    fmpq_get_mpq(q.get_mpq_t(), p_->content);
    if (!is_zero()) fmpq_one(p_->content);
    return q;
  }
  void make_monic() { fmpq_mpoly_make_monic(p_, p_, c_.ctx); }
  mpq_class coefficient(slong term) const {
    fmpq_t f;
    fmpq_init(f);
    fmpq_mpoly_get_term_coeff_fmpq(f, p_, term, c_.ctx);
    mpq_class q;
    fmpq_get_mpq(q.get_mpq_t(), f);
    fmpq_clear(f);
    return q;
  }
  ulong exponent(slong term, slong variable) const {
    return fmpq_mpoly_get_term_var_exp_ui(p_, term, variable, c_.ctx);
  }
  bool equals(const Polynomial& o) const { return fmpq_mpoly_equal(p_, o.p_, c_.ctx) != 0; }

 private:
  const Context& c_;
  fmpq_mpoly_t p_;
  bool ok_ = true;
};

struct Quotient {
  explicit Quotient(const Context& c) : above(c), below(c) { below.set(mpq_class(1)); }
  Polynomial above, below;
};

class Expansion {
 public:
  Expansion(const Tree& t, Work& work, const std::vector<std::string>& names, const Context& c)
      : t_(t), work_(work), names_(names), c_(c) {}

  Proof expand(NodeId n, Quotient& out) {
    if (!work_.spend(4)) return Proof::kTooLarge;
    switch (t_.op(n)) {
      case Op::kSymbol:
      case Op::kPi:
      case Op::kApply: {
        std::string name = spell(t_, n);
        auto at = std::find(names_.begin(), names_.end(), name);
        out.above.set_variable(at - names_.begin());
        return Proof::kEqual;
      }
      case Op::kAdd:
      case Op::kMul:
        return several(n, out);
      case Op::kNeg: {
        Proof p = expand(t_.kid(n, 0), out);
        out.above.negate();
        return p;
      }
      case Op::kUnit:
        return expand(t_.kid(n, 0), out);
      case Op::kPercent:
      case Op::kDegree: {
        Proof p = expand(t_.kid(n, 0), out);
        if (p != Proof::kEqual) return p;
        Quotient factor(c_);
        bool degree = t_.op(n) == Op::kDegree;
        if (degree) {
          factor.above.set_variable(std::find(names_.begin(), names_.end(), "pi") - names_.begin());
        } else {
          factor.above.set(mpq_class(1));
        }
        factor.below.set(mpq_class(degree ? 180 : 100));
        return multiply(out, factor) ? p : Proof::kTooLarge;
      }
      case Op::kDiv: {
        Quotient below(c_);
        Proof p = expand(t_.kid(n, 0), out);
        if (p == Proof::kEqual) p = expand(t_.kid(n, 1), below);
        if (p != Proof::kEqual) return p;
        if (below.above.is_zero()) return Proof::kNotRational;
        below.above.swap(below.below);
        return multiply(out, below) ? p : Proof::kTooLarge;
      }
      case Op::kPow:
        return power(n, out);
      default: {
        Exact exact(t_, work_);
        std::optional<mpq_class> v = exact.value(n);
        if (!v) return Proof::kNotRational;
        out.above.set(*v);
        return Proof::kEqual;
      }
    }
  }

  bool fits(const Polynomial& a, const Polynomial& b) {
    long product = std::max(a.terms(), 1L) * std::max(b.terms(), 1L);
    return product <= kMaxTerms && a.bits() + b.bits() <= kMaxBits && a.degree() + b.degree() <= kMaxDegree &&
           work_.spend(4 + product * (1 + (a.bits() + b.bits()) / 1024));
  }

 private:
  static constexpr long kMaxBits = 20000, kMaxDegree = 4000;

  bool multiply(Quotient& a, const Quotient& b) {
    if (!fits(a.above, b.above) || !fits(a.below, b.below)) return false;
    a.above.multiply(b.above);
    a.below.multiply(b.below);
    return true;
  }

  bool add(Quotient& a, const Quotient& b) {
    if (a.below.equals(b.below)) {
      a.above.add(b.above);
      return true;
    }
    if (!fits(a.above, b.below) || !fits(a.below, b.above) || !fits(a.below, b.below)) return false;
    Polynomial cross(c_);
    cross.set(b.above);
    cross.multiply(a.below);
    a.above.multiply(b.below);
    a.above.add(cross);
    a.below.multiply(b.below);
    return true;
  }

  Proof several(NodeId n, Quotient& out) {
    Proof p = expand(t_.kid(n, 0), out);
    for (uint32_t i = 1; i < t_.count(n) && p == Proof::kEqual; i++) {
      Quotient next(c_);
      p = expand(t_.kid(n, i), next);
      if (p != Proof::kEqual) return p;
      if (!(t_.op(n) == Op::kAdd ? add(out, next) : multiply(out, next))) return Proof::kTooLarge;
    }
    return p;
  }

  Proof power(NodeId n, Quotient& out) {
    Exact exact(t_, work_);
    std::optional<mpq_class> e = exact.value(t_.kid(n, 1));
    if (!e || e->get_den() != 1) return Proof::kNotRational;
    Proof p = expand(t_.kid(n, 0), out);
    if (p != Proof::kEqual) return p;
    mpz_class size = abs(e->get_num());
    if (size > kMaxDegree) return Proof::kTooLarge;
    ulong k = size.get_ui();
    long bits = std::max(out.above.bits(), out.below.bits()), degree = std::max(out.above.degree(), out.below.degree());
    if (degree * static_cast<long>(k) > kMaxDegree || bits * static_cast<long>(k) > kMaxBits) return Proof::kTooLarge;
    long terms = std::max(out.above.terms(), out.below.terms());
    double expanded = 1;  // binomial(terms + k - 1, k) bounds the terms of the power
    for (long i = 1; i < terms && expanded <= kMaxTerms; i++)
      expanded = expanded * static_cast<double>(k + i) / static_cast<double>(i);
    if (expanded > kMaxTerms || !work_.spend(static_cast<int64_t>(k) / 8 + static_cast<int64_t>(expanded) * 4))
      return Proof::kTooLarge;
    if (out.above.is_zero() && *e <= 0) return Proof::kNotRational;
    out.above.raise(k);
    out.below.raise(k);
    if (*e < 0) out.above.swap(out.below);
    return p;
  }

  const Tree& t_;
  Work& work_;
  const std::vector<std::string>& names_;
  const Context& c_;
};

void collect_names(const Tree& t, NodeId n, std::vector<std::string>& names) {
  Op op = t.op(n);
  if (op == Op::kSymbol || op == Op::kPi || op == Op::kApply || op == Op::kDegree) {
    std::string name = op == Op::kDegree ? "pi" : spell(t, n);
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
    if (op == Op::kApply) return;
  }
  for (uint32_t i = 0; i < t.count(n); i++) collect_names(t, t.kid(n, i), names);
}

}  // namespace

Proof prove_equal(const Tree& tree, Work& work, NodeId a, NodeId b) {
  std::vector<std::string> names;
  collect_names(tree, a, names);
  collect_names(tree, b, names);
  constexpr size_t kMaxNames = 16;
  if (names.size() > kMaxNames) return Proof::kTooLarge;
  Context context(static_cast<slong>(std::max<size_t>(names.size(), 1)));
  Expansion expansion(tree, work, names, context);
  Quotient x(context), y(context);
  Proof p = expansion.expand(a, x);
  if (p == Proof::kEqual) p = expansion.expand(b, y);
  if (p != Proof::kEqual) return p;
  if (!expansion.fits(x.above, y.below) || !expansion.fits(y.above, x.below)) return Proof::kTooLarge;
  x.above.multiply(y.below);
  y.above.multiply(x.below);
  return x.above.equals(y.above) ? Proof::kEqual : Proof::kDifferent;
}

namespace {

NodeId name_node(Tree& tree, const std::string& name) {
  return name == "pi" ? tree.add(Op::kPi, {}) : tree.symbol(name);
}

NodeId as_tree(Tree& tree, const Polynomial& p, const std::vector<std::string>& names) {
  std::vector<NodeId> terms;
  for (slong i = 0; i < p.terms(); i++) {
    std::vector<NodeId> factors{tree.number(p.coefficient(i))};
    for (size_t v = 0; v < names.size(); v++) {
      const ulong e = p.exponent(i, static_cast<slong>(v));
      if (e == 0) continue;
      factors.push_back(tree.add(Op::kPow, {name_node(tree, names[v]), tree.integer(static_cast<long>(e))}));
    }
    terms.push_back(factors.size() == 1 ? factors[0] : tree.add(Op::kMul, factors));
  }
  return terms.empty() ? tree.integer(0) : terms.size() == 1 ? terms[0] : tree.add(Op::kAdd, terms);
}

}  // namespace

NodeId polynomial_gcd(Tree& tree, bool lcm, const std::vector<NodeId>& arguments) {
  constexpr size_t kMaxArguments = 8, kMaxNames = 4;
  constexpr long kMaxSize = 20;
  std::vector<std::string> names;
  for (NodeId n : arguments) {
    if (!is_scalar(tree.op(n))) return kNone;
    collect_names(tree, n, names);
  }
  if (arguments.size() > kMaxArguments || names.size() > kMaxNames || names.empty()) return kNone;
  Context context(static_cast<slong>(names.size()));
  Work work(4000);
  Expansion expansion(tree, work, names, context);
  Polynomial result(context), one(context);
  one.set(mpq_class(1));
  mpz_class content = 0;
  bool integers = true, first = true;
  for (NodeId n : arguments) {
    Quotient q(context);
    if (expansion.expand(n, q) != Proof::kEqual || !q.below.equals(one) || q.above.is_zero()) return kNone;
    if (q.above.terms() > kMaxSize || q.above.degree() > kMaxSize || q.above.bits() > 256) return kNone;
    mpq_class c = q.above.take_content();
    integers = integers && c.get_den() == 1;
    const mpz_class size = c.get_num();
    if (first) {
      result.swap(q.above);
      content = size;
    } else if (lcm) {
      Polynomial common(context);
      common.set(result);
      common.gcd(q.above);
      if (!common.ok() || result.terms() * q.above.terms() > kMaxTerms) return kNone;
      result.multiply(q.above);
      result.divide(common);
      content = ::lcm(content, size) * (sgn(content) * sgn(size) < 0 ? -1 : 1);
    } else {
      result.gcd(q.above);
      content = ::gcd(content, size);
    }
    if (!result.ok()) return kNone;
    first = false;
  }
  if (integers) {
    result.take_content();
    Polynomial factor(context);
    factor.set(mpq_class(content));
    result.multiply(factor);
  } else {
    result.make_monic();
  }
  return as_tree(tree, result, names);
}

}  // namespace fulmen::reward::math
