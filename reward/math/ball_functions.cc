// Functions of balls.
#include <acb_calc.h>
#include <acb_hypgeom.h>

#include "reward/math/ball.h"

namespace fulmen::reward::math {

bool Balls::function(NodeId n, Ball& out) {
  Fn fn = t_.fn(n);
  constexpr slong kCost = 40;
  if (!work_.spend(kCost * precision_ / 128)) return false;
  switch (fn) {
    case Fn::kFactorial:
    case Fn::kBinomial:
      return factorial_like(fn, n, out);
    case Fn::kGcd:
    case Fn::kLcm:
    case Fn::kDoubleFactorial: {
      Exact exact(t_, work_);
      std::optional<mpq_class> v = exact.value(n, bindings_);
      if (v) set(out, *v);
      return v.has_value();
    }
    case Fn::kFloor:
    case Fn::kCeil:
    case Fn::kMax:
    case Fn::kMin:
    case Fn::kMod:
    case Fn::kSign:
      return of_reals(fn, n, out);
    case Fn::kLog: {
      Ball base;
      if (!eval(t_.kid(n, 0), out) || !eval(t_.kid(n, 1), base)) return false;
      if (acb_contains_zero(out.get()) || acb_contains_zero(base.get())) return false;
      acb_log(out.get(), out.get(), precision_);
      acb_log(base.get(), base.get(), precision_);
      if (acb_contains_zero(base.get())) return false;
      acb_div(out.get(), out.get(), base.get(), precision_);
      return true;
    }
    default:
      return eval(t_.kid(n, 0), out) && elementary(fn, out);
  }
}

bool Balls::elementary(Fn fn, Ball& out) {
  acb_ptr x = out.get();
  slong p = precision_;
  if (fn == Fn::kAbs) {
    acb_abs(acb_realref(x), x, p);
    arb_zero(acb_imagref(x));
    return true;
  }
  if (fn == Fn::kConjugate) return acb_conj(x, x), true;
  if (fn == Fn::kRe) return arb_zero(acb_imagref(x)), true;
  if (fn == Fn::kIm) {
    arb_set(acb_realref(x), acb_imagref(x));
    arb_zero(acb_imagref(x));
    return true;
  }
  if (fn == Fn::kLn) {
    if (acb_contains_zero(x)) return false;
    return acb_log(x, x, p), true;
  }
  if (!moderate(out)) return false;
  switch (fn) {
    case Fn::kSin:
      return acb_sin(x, x, p), true;
    case Fn::kCos:
      return acb_cos(x, x, p), true;
    case Fn::kTan:
      return acb_tan(x, x, p), true;
    case Fn::kCot:
      return acb_cot(x, x, p), true;
    case Fn::kSec:
      return acb_sec(x, x, p), true;
    case Fn::kCsc:
      return acb_csc(x, x, p), true;
    case Fn::kArcsin:
      return acb_asin(x, x, p), true;
    case Fn::kArccos:
      return acb_acos(x, x, p), true;
    case Fn::kArctan:
      return acb_atan(x, x, p), true;
    case Fn::kArccot:
    case Fn::kArcsec:
    case Fn::kArccsc:
      if (acb_contains_zero(x)) return false;
      acb_inv(x, x, p);
      if (fn == Fn::kArccot) return acb_atan(x, x, p), true;
      if (fn == Fn::kArcsec) return acb_acos(x, x, p), true;
      return acb_asin(x, x, p), true;
    case Fn::kSinh:
      return acb_sinh(x, x, p), true;
    case Fn::kCosh:
      return acb_cosh(x, x, p), true;
    case Fn::kTanh:
      return acb_tanh(x, x, p), true;
    case Fn::kCoth:
      return acb_coth(x, x, p), true;
    case Fn::kSech:
      return acb_sech(x, x, p), true;
    case Fn::kCsch:
      return acb_csch(x, x, p), true;
    case Fn::kArsinh:
      return acb_asinh(x, x, p), true;
    case Fn::kArcosh:
      return acb_acosh(x, x, p), true;
    case Fn::kArtanh:
      return acb_atanh(x, x, p), true;
    case Fn::kExp:
      return acb_exp(x, x, p), true;
    case Fn::kArg:
      if (acb_contains_zero(x)) return false;
      acb_arg(acb_realref(x), x, p);
      arb_zero(acb_imagref(x));
      return true;
    default:
      return false;
  }
}

bool Balls::of_reals(Fn fn, NodeId n, Ball& out) {
  Ball next;
  slong p = precision_;
  for (uint32_t i = 0; i < t_.count(n); i++) {
    Ball& to = i == 0 ? out : next;
    if (!eval(t_.kid(n, i), to) || !acb_is_real(to.get())) return false;
    arb_ptr a = acb_realref(out.get()), b = acb_realref(next.get());
    if (i > 0 && fn == Fn::kMax) arb_max(a, a, b, p);
    if (i > 0 && fn == Fn::kMin) arb_min(a, a, b, p);
  }
  arb_ptr a = acb_realref(out.get()), b = acb_realref(next.get());
  if (fn == Fn::kFloor) arb_floor(a, a, p);
  if (fn == Fn::kCeil) arb_ceil(a, a, p);
  if (fn == Fn::kSign) arb_sgn(a, a);
  if (fn == Fn::kMod) {
    if (arb_contains_zero(b)) return false;
    Ball quotient;
    arb_ptr q = acb_realref(quotient.get());
    arb_div(q, a, b, p);
    arb_floor(q, q, p);
    arb_submul(a, q, b, p);
  }
  return true;
}

// By the gamma function.
bool Balls::factorial_like(Fn fn, NodeId n, Ball& out) {
  constexpr slong kCost = 120;
  if (!work_.spend(kCost * precision_ / 128)) return false;
  slong p = precision_;
  if (!eval(t_.kid(n, 0), out) || !moderate(out)) return false;
  if (fn == Fn::kFactorial) {
    acb_add_ui(out.get(), out.get(), 1, p);
    acb_gamma(out.get(), out.get(), p);
    return true;
  }
  Ball k, rest;
  if (!eval(t_.kid(n, 1), k) || !moderate(k)) return false;
  acb_sub(rest.get(), out.get(), k.get(), p);
  for (Ball* b : {&out, &k, &rest}) acb_add_ui(b->get(), b->get(), 1, p);
  acb_gamma(out.get(), out.get(), p);
  acb_rgamma(k.get(), k.get(), p);
  acb_rgamma(rest.get(), rest.get(), p);
  acb_mul(out.get(), out.get(), k.get(), p);
  acb_mul(out.get(), out.get(), rest.get(), p);
  return true;
}

// What acb_calc_integrate calls back.
class Integrand {
 public:
  Integrand(Balls& balls, NodeId body, uint32_t variable) : balls_(balls), body_(body), variable_(variable) {}

  static int call(acb_ptr out, const acb_t x, void* self, slong /*order*/, slong precision) {
    return static_cast<Integrand*>(self)->at(out, x, precision);
  }

 private:
  int at(acb_ptr out, const acb_t x, slong precision) {
    Ball point, value;
    acb_set(point.get(), x);
    slong outer = balls_.precision_;
    balls_.precision_ = precision;
    balls_.ball_bindings_.emplace_back(variable_, point);
    bool ok = balls_.eval(body_, value);
    balls_.ball_bindings_.pop_back();
    balls_.precision_ = outer;
    // Only what is holomorphic wherever it is finite gets here (is_analytic), so the order that is asked for does not
    // matter.
    if (!ok) {
      acb_indeterminate(out);
    } else {
      acb_set(out, value.get());
    }
    return 0;
  }

  Balls& balls_;
  NodeId body_;
  uint32_t variable_;
};

namespace {

// Nothing with a cut or a jump: polynomials, quotients, exponentials, sines.
bool is_analytic(const Tree& t, NodeId n) {
  switch (t.op(n)) {
    case Op::kRoot:
    case Op::kSum:
    case Op::kProduct:
    case Op::kIntegral:
    case Op::kLimit:
    case Op::kDerivative:
      return false;
    case Op::kPow:
      if (t.op(t.kid(n, 1)) != Op::kNumber && t.op(t.kid(n, 0)) != Op::kE) return false;
      if (t.op(t.kid(n, 1)) == Op::kNumber && t.value(t.kid(n, 1)).get_den() != 1) return false;
      break;
    case Op::kFunction:
      switch (t.fn(n)) {
        case Fn::kSin:
        case Fn::kCos:
        case Fn::kTan:
        case Fn::kCot:
        case Fn::kSec:
        case Fn::kCsc:
        case Fn::kSinh:
        case Fn::kCosh:
        case Fn::kTanh:
        case Fn::kExp:
          break;
        default:
          return false;
      }
      break;
    default:
      break;
  }
  for (uint32_t i = 0; i < t.count(n); i++) {
    if (!is_analytic(t, t.kid(n, i))) return false;
  }
  return true;
}

}  // namespace

// Definite, or from 0 (from 1 where 0 is no good) to the variable itself.
bool Balls::integral(NodeId n, Ball& out) {
  NodeId body = t_.kid(n, 0), variable = t_.kid(n, 1);
  if (!is_analytic(t_, body)) return false;
  Ball from, to;
  if (t_.count(n) == 4) {
    if (!eval(t_.kid(n, 2), from) || !eval(t_.kid(n, 3), to)) return false;
  } else {
    if (!eval(variable, to)) return false;
    Ball at_zero;
    ball_bindings_.emplace_back(t_[variable].payload, from);
    bool finite = eval(body, at_zero) && acb_is_finite(at_zero.get());
    ball_bindings_.pop_back();
    if (!finite) acb_one(from.get());
  }
  if (!moderate(from) || !moderate(to)) return false;
  Integrand integrand(*this, body, t_[variable].payload);
  acb_calc_integrate_opt_t options;
  acb_calc_integrate_opt_init(options);
  options->eval_limit = 1000;
  options->depth_limit = 20;
  mag_t tolerance;
  mag_init(tolerance);
  mag_set_ui_2exp_si(tolerance, 1, -precision_);
  acb_calc_integrate(out.get(), &Integrand::call, &integrand, from.get(), to.get(), precision_, tolerance, options,
                     precision_);
  mag_clear(tolerance);
  return acb_is_finite(out.get());
}

// Of what is continuous there: the value.
bool Balls::limit(NodeId n, Ball& out) {
  NodeId body = t_.kid(n, 0), variable = t_.kid(n, 1);
  if (!is_analytic(t_, body)) return false;
  Ball to;
  if (!eval(t_.kid(n, 2), to)) return false;
  ball_bindings_.emplace_back(t_[variable].payload, to);
  bool ok = eval(body, out) && acb_is_finite(out.get());
  ball_bindings_.pop_back();
  return ok;
}

}  // namespace fulmen::reward::math
