#include "reward/math/ball.h"

#include <arb_hypgeom.h>
#include <fmpq.h>

#include "reward/math/modular.h"

namespace fulmen::reward::math {

bool Balls::value(NodeId n, Ball& out) { return eval(n, out) && acb_is_finite(out.get()); }

void Balls::set(Ball& out, const mpq_class& q) const {
  fmpq_t f;
  fmpq_init(f);
  fmpq_set_mpq(f, q.get_mpq_t());
  acb_set_fmpq(out.get(), f, precision_);
  fmpq_clear(f);
}

// Below 2^40: what a function may be given, so that argument reduction stays cheap and exponents stay small.
bool Balls::moderate(const Ball& b) const {
  constexpr slong kMaxLog = 40;
  mag_t m;
  mag_init(m);
  acb_get_mag(m, b.get());
  bool small = mag_cmp_2exp_si(m, kMaxLog) < 0;
  mag_clear(m);
  return small;
}

bool Balls::eval(NodeId n, Ball& out) {
  if (!work_.spend(2 + precision_ / 128)) return false;
  switch (t_.op(n)) {
    case Op::kNumber:
      set(out, t_.value(n));
      return true;
    case Op::kSymbol:
    case Op::kApply:
      return symbol(n, out);
    case Op::kPi:
      acb_const_pi(out.get(), precision_);
      return true;
    case Op::kE:
      acb_set_si(out.get(), 1);
      acb_exp(out.get(), out.get(), precision_);
      return true;
    case Op::kI:
      acb_onei(out.get());
      return true;
    case Op::kPow:
      return power(n, out);
    case Op::kRoot:
      return root(n, out);
    case Op::kFunction:
      return function(n, out);
    case Op::kSum:
    case Op::kProduct:
      return repeated(n, out);
    case Op::kIntegral:
      return integral(n, out);
    case Op::kLimit:
      return limit(n, out);
    default:
      return scalar_operation(n, out);
  }
}

bool Balls::symbol(NodeId n, Ball& out) {
  uint32_t name = t_[n].payload;
  bool plain = t_.op(n) == Op::kSymbol;
  if (plain) {
    for (auto it = ball_bindings_.rbegin(); it != ball_bindings_.rend(); ++it) {
      if (it->first != name) continue;
      out = it->second;
      return true;
    }
    for (auto it = bindings_.rbegin(); it != bindings_.rend(); ++it) {
      if (it->first != name) continue;
      set(out, it->second);
      return true;
    }
  }
  if (point_ < 0) return false;
  const std::string spelled = plain ? t_.name(n) : spell(t_, n);
  constexpr size_t kWholeSpelling = 4000;  // a longer one may be cut off, and then says too little
  if (spelled.size() > kWholeSpelling) return false;
  const uint64_t named = hash_text(spelled);
  const uint64_t h = mix(mix(seed_ + static_cast<uint64_t>(point_) * 0x9e37u) ^ named);
  // Near zero, far from it, and of every sign: |x|, |x - 5| and max(x, 10) are no polynomials.
  constexpr int kPoints = 8;
  constexpr long kScale[kPoints] = {1, 1, 25, 1, 25, 1, 500, 500};
  const int point = point_ % kPoints;
  const bool parity = named % 2 == 1;
  const bool negative[kPoints] = {false, false, false, true, parity, !parity, true, (h >> 40) % 2 == 1};
  mpq_class q(static_cast<long>(h % 1999 + 1) * kScale[point], 1024);
  q.canonicalize();
  if (negative[point]) q = -q;
  set(out, q);
  return true;
}

bool Balls::scalar_operation(NodeId n, Ball& out) {
  Op op = t_.op(n);
  switch (op) {
    case Op::kAdd:
    case Op::kMul: {
      Ball next;
      if (!eval(t_.kid(n, 0), out)) return false;
      for (uint32_t i = 1; i < t_.count(n); i++) {
        if (!eval(t_.kid(n, i), next)) return false;
        if (op == Op::kAdd) {
          acb_add(out.get(), out.get(), next.get(), precision_);
        } else {
          acb_mul(out.get(), out.get(), next.get(), precision_);
        }
      }
      return true;
    }
    case Op::kDiv:
    case Op::kRatio: {
      Ball below;
      if (t_.count(n) != 2 || !eval(t_.kid(n, 0), out) || !eval(t_.kid(n, 1), below)) return false;
      if (acb_is_zero(below.get())) return false;
      acb_div(out.get(), out.get(), below.get(), precision_);
      return true;
    }
    case Op::kNeg:
      if (!eval(t_.kid(n, 0), out)) return false;
      acb_neg(out.get(), out.get());
      return true;
    case Op::kUnit:
      return eval(t_.kid(n, 0), out);
    case Op::kPercent:
    case Op::kDegree:
      if (!eval(t_.kid(n, 0), out)) return false;
      acb_div_ui(out.get(), out.get(), op == Op::kPercent ? 100 : 180, precision_);
      if (op == Op::kDegree) {
        Ball pi;
        acb_const_pi(pi.get(), precision_);
        acb_mul(out.get(), out.get(), pi.get(), precision_);
      }
      return true;
    default:
      return false;
  }
}

bool Balls::power(NodeId n, Ball& out) {
  constexpr slong kCost = 60, kExponentialCost = 15;
  Exact exact(t_, work_);
  std::optional<mpq_class> e = exact.value(t_.kid(n, 1), bindings_);
  Ball base;
  if (e && e->get_den() == 1) {
    if (!eval(t_.kid(n, 0), base)) return false;
    if (!e->get_num().fits_slong_p()) return acb_is_one(base.get()) ? (out = base, true) : false;
    slong k = e->get_num().get_si();
    if (k < 0 && acb_contains_zero(base.get())) return false;
    if (k == 0) return acb_one(out.get()), true;
    if (acb_is_zero(base.get())) return acb_zero(out.get()), true;
    work_.spend(4 + FLINT_ABS(k) % 64);
    acb_pow_si(out.get(), base.get(), k, precision_);
    return true;
  }
  const bool exponential = t_.op(t_.kid(n, 0)) == Op::kE;
  work_.spend((exponential ? kExponentialCost : kCost) * precision_ / 128);
  Ball power;
  if (!eval(t_.kid(n, 1), power) || !moderate(power)) return false;
  if (exponential) {
    acb_exp(out.get(), power.get(), precision_);
    return true;
  }
  if (!eval(t_.kid(n, 0), base) || !moderate(base)) return false;
  if (acb_is_zero(base.get())) {
    if (!arb_is_positive(acb_realref(power.get()))) return false;
    acb_zero(out.get());
    return true;
  }
  if (acb_contains_zero(base.get())) return false;
  acb_pow(out.get(), base.get(), power.get(), precision_);
  return true;
}

bool Balls::root(NodeId n, Ball& out) {
  if (!eval(t_.kid(n, 0), out)) return false;
  work_.spend(4);
  NodeId degree = t_.kid(n, 1);
  if (t_.op(degree) == Op::kNumber && t_.value(degree) == 2) {
    acb_sqrt(out.get(), out.get(), precision_);
    return true;
  }
  Exact exact(t_, work_);
  std::optional<mpq_class> k = exact.value(degree, bindings_);
  bool natural = k && k->get_den() == 1 && *k > 0 && *k < 1000;
  if (natural) {
    ulong d = k->get_num().get_ui();
    bool negative = acb_is_real(out.get()) && arb_is_negative(acb_realref(out.get())) && d % 2 == 1;
    if (negative) acb_neg(out.get(), out.get());
    acb_root_ui(out.get(), out.get(), d, precision_);
    if (negative) acb_neg(out.get(), out.get());
    return true;
  }
  Ball d;
  if (!eval(degree, d) || acb_contains_zero(d.get()) || acb_contains_zero(out.get()) || !moderate(out)) return false;
  acb_inv(d.get(), d.get(), precision_);
  if (!moderate(d)) return false;
  work_.spend(60);
  acb_pow(out.get(), out.get(), d.get(), precision_);
  return true;
}

bool Balls::repeated(NodeId n, Ball& out) {
  constexpr long kMaxTerms = 500;
  Exact exact(t_, work_);
  std::optional<mpq_class> from = exact.value(t_.kid(n, 2), bindings_);
  std::optional<mpq_class> to = exact.value(t_.kid(n, 3), bindings_);
  if (!from || !to || from->get_den() != 1 || to->get_den() != 1 || *to - *from > kMaxTerms) return false;
  bool sum = t_.op(n) == Op::kSum, ok = true;
  uint32_t name = t_[t_.kid(n, 1)].payload;
  if (sum) {
    acb_zero(out.get());
  } else {
    acb_one(out.get());
  }
  bindings_.emplace_back(name, *from);
  Ball term;
  for (mpq_class k = *from; ok && k <= *to; k += 1) {
    bindings_.back() = {name, k};
    ok = eval(t_.kid(n, 0), term);
    if (sum) {
      acb_add(out.get(), out.get(), term.get(), precision_);
    } else {
      acb_mul(out.get(), out.get(), term.get(), precision_);
    }
  }
  bindings_.pop_back();
  return ok;
}

}  // namespace fulmen::reward::math
