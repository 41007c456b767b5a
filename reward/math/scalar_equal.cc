#include "reward/math/scalar_equal.h"

#include <algorithm>

#include "reward/math/exact.h"
#include "reward/math/modular.h"
#include "reward/math/polynomial.h"

namespace fulmen::reward::math {

bool contains(const Tree& t, NodeId n, Op op) {
  if (t.op(n) == op) return true;
  for (uint32_t i = 0; i < t.count(n); i++) {
    if (contains(t, t.kid(n, i), op)) return true;
  }
  return false;
}

bool has_names(const Tree& t, NodeId n) { return contains(t, n, Op::kSymbol) || contains(t, n, Op::kApply); }

namespace {

// Functions of sums and integrals bind names of their own; for balls these are no variables, but points for them do no
// harm.
int sign_of_infinity(const Tree& t, NodeId n) {
  int sign = 1;
  while (t.op(n) == Op::kNeg) {
    n = t.kid(n, 0);
    sign = -sign;
  }
  return t.op(n) == Op::kInfinity ? sign : 0;
}

// Decimal places written in a plain decimal; 0 for anything else.
int places_of(const Tree& t, NodeId n) {
  while (t.op(n) == Op::kNeg || t.op(n) == Op::kUnit) n = t.kid(n, 0);
  return t.op(n) == Op::kNumber ? t[n].detail : 0;
}

}  // namespace

Same Scalars::equal(NodeId a, NodeId b) {
  if (same_tree(t_, a, b)) return decided(Same::kYes, "written the same");
  if (sign_of_infinity(t_, a) != 0 || sign_of_infinity(t_, b) != 0) return by_infinity(a, b);
  Exact exact(t_, work_);
  std::optional<mpq_class> x = exact.value(a), y = exact.value(b);
  if (exact.undefined()) return decided(Same::kNo, "division by zero");
  if (x && y && *x == *y) return decided(Same::kYes, "exact rational");
  if (profile_.rounding_digits > 0 && rounds_to(a, b)) return decided(Same::kYes, "rounded");
  if (x && y) return decided(Same::kNo, "exact rational");

  if (divides_by_zero(a) || divides_by_zero(b)) return decided(Same::kNo, "division by zero");
  uint64_t seed = hash_text(spell(t_, a) + '|' + spell(t_, b));
  bool rational = true, compared = false;
  constexpr int kModularPoints = 3;
  for (int point = 0; rational && point < kModularPoints; point++) {
    Modular modular(t_, work_, mix(seed + static_cast<uint64_t>(point)));
    uint64_t p = 0, q = 0;
    Modular::Outcome first = modular.value(a, p);
    Modular::Outcome second = first == Modular::Outcome::kNotRational ? first : modular.value(b, q);
    rational = second != Modular::Outcome::kNotRational && first != Modular::Outcome::kNotRational;
    if (!rational || first == Modular::Outcome::kUndefined || second == Modular::Outcome::kUndefined) continue;
    if (p != q) return decided(Same::kNo, "rational function");
    compared = true;
    if (point > 0) continue;
    // Of unknown functions the expansion only knows the spelling, which is too little to tell them apart.
    bool unknown = contains(t_, a, Op::kApply) || contains(t_, b, Op::kApply);
    Proof proof = unknown ? Proof::kTooLarge : prove_equal(t_, work_, a, b);
    if (proof == Proof::kEqual) return decided(Same::kYes, "rational function");
    if (proof == Proof::kDifferent) return decided(Same::kNo, "rational function");
    if (proof == Proof::kNotRational) rational = false;
  }
  // Too large to expand, but equal at three points of a field of 2^61 elements chosen after both were written.
  if (rational && compared && !work_.exhausted())
    return decided(Same::kYes, "rational function at points of a finite field");
  return by_balls(a, b, seed);
}

// A denominator without names that is zero.
bool Scalars::divides_by_zero(NodeId n) {
  if (t_.op(n) == Op::kDiv && !has_names(t_, t_.kid(n, 1))) {
    Exact exact(t_, work_);
    std::optional<mpq_class> below = exact.value(t_.kid(n, 1));
    if (below && *below == 0) return true;
  }
  for (uint32_t i = 0; i < t_.count(n); i++) {
    if (divides_by_zero(t_.kid(n, i))) return true;
  }
  return false;
}

Same Scalars::by_infinity(NodeId a, NodeId b) {
  int x = sign_of_infinity(t_, a), y = sign_of_infinity(t_, b);
  for (Op op : {Op::kLimit, Op::kIntegral, Op::kSum, Op::kProduct}) {  // any of these may be infinite
    if (contains(t_, x != 0 ? b : a, op)) return decided(Same::kUndecided, "infinity");
  }
  return decided(x != 0 && x == y ? Same::kYes : Same::kNo, "infinity");
}

namespace {

// The real part of what an expression without i is meant to be: no imaginary part.
bool surely_not_real(const Ball& b) { return !arb_contains_zero(acb_imagref(b.get())); }

// ln or log of something with names, and no |x| anywhere, which would be there to keep the sign.
bool has_logarithm(const Tree& t, NodeId n) {
  bool found = false, absolute = false;
  auto look = [&](auto&& self, NodeId k) -> void {
    if (t.op(k) == Op::kFunction) {
      found |= (t.fn(k) == Fn::kLn || t.fn(k) == Fn::kLog) && has_names(t, k);
      absolute |= t.fn(k) == Fn::kAbs;
    }
    for (uint32_t i = 0; i < t.count(k); i++) self(self, t.kid(k, i));
  };
  look(look, n);
  return found && !absolute;
}

bool tight(const Ball& a, const Ball& b, slong bits) {
  Ball difference;
  acb_sub(difference.get(), a.get(), b.get(), 64);
  mag_t size, scale;
  mag_init(size);
  mag_init(scale);
  acb_get_mag(size, difference.get());
  acb_get_mag(scale, a.get());
  mag_t one;
  mag_init(one);
  mag_set_ui(one, 1);
  mag_max(scale, scale, one);
  mag_clear(one);
  mag_mul_2exp_si(scale, scale, -bits);
  bool small = mag_cmp(size, scale) < 0;
  mag_clear(size);
  mag_clear(scale);
  return small;
}

}  // namespace

// kNo: surely different there. kYes: balls of 512 (256) bits overlap and are small. `used` is false where one side is
// undefined or the ground truth (with `both_real`: either) is not real.
Same Scalars::at_point(NodeId a, NodeId b, uint64_t seed, int point, bool real_only, bool both_real, bool& used) {
  const bool integral = contains(t_, a, Op::kIntegral) || contains(t_, b, Op::kIntegral);  // dear at many bits
  constexpr slong kFirst = 128;
  const slong second = integral ? 256 : 512, agree = integral ? 180 : 300;
  used = false;
  Ball x, y;
  Balls rough(t_, work_, kFirst, seed, point);
  if (!rough.value(a, x) || !rough.value(b, y)) return Same::kUndecided;
  if (real_only && (surely_not_real(x) || (both_real && surely_not_real(y)))) return Same::kUndecided;
  used = true;
  if (!acb_overlaps(x.get(), y.get())) return Same::kNo;
  Balls fine(t_, work_, second, seed, point);
  if (!fine.value(a, x) || !fine.value(b, y)) return Same::kUndecided;
  if (!acb_overlaps(x.get(), y.get())) return Same::kNo;
  return tight(x, y, agree) ? Same::kYes : Same::kUndecided;
}

Same Scalars::by_balls(NodeId a, NodeId b, uint64_t seed) {
  constexpr const char* kHow = "ball arithmetic";
  bool used = false;
  if (!has_names(t_, a) && !has_names(t_, b)) return decided(at_point(a, b, seed, 0, false, false, used), kHow);
  constexpr int kPoints = 8, kEnough = 3;
  bool real_only = !contains(t_, a, Op::kI);
  // ln(ab) = ln a + ln b where both sides are real: whoever writes logarithms means positive numbers.
  const bool logarithms = has_logarithm(t_, a) && has_logarithm(t_, b);
  for (int pass = real_only ? 0 : 1; pass < 2; pass++) {
    int agreed = 0;
    bool doubt = false;
    for (int point = 0; point < kPoints && !work_.exhausted(); point++) {
      Same s = at_point(a, b, seed, point, pass == 0, logarithms, used);
      if (!used) continue;
      if (s == Same::kNo) return decided(Same::kNo, kHow);
      if (s == Same::kUndecided) doubt = true;
      agreed += s == Same::kYes;
    }
    if (doubt || work_.exhausted()) break;
    if (agreed >= kEnough) return decided(Same::kYes, kHow);
  }
  return decided(Same::kUndecided, kHow);
}

bool Scalars::order(NodeId a, NodeId b, int& sign) {
  int x = sign_of_infinity(t_, a), y = sign_of_infinity(t_, b);
  if (x != 0 || y != 0) {
    sign = x == y ? 0 : x > y ? 1 : -1;
    return true;
  }
  if (has_names(t_, a) || has_names(t_, b)) return false;
  if (equal(a, b) == Same::kYes) {
    sign = 0;
    return true;
  }
  constexpr slong kPrecision = 256;
  Balls balls(t_, work_, kPrecision, 0, 0);
  Ball p, q;
  if (!balls.value(a, p) || !balls.value(b, q)) return false;
  if (!arb_contains_zero(acb_imagref(p.get())) || !arb_contains_zero(acb_imagref(q.get()))) return false;
  bool less = arb_lt(acb_realref(p.get()), acb_realref(q.get())) != 0;
  bool greater = arb_gt(acb_realref(p.get()), acb_realref(q.get())) != 0;
  sign = less ? -1 : 1;
  return less || greater;
}

// One side is a decimal of enough places and the other rounds to it.
bool Scalars::rounds_to(NodeId a, NodeId b) {
  int x = places_of(t_, a), y = places_of(t_, b);
  bool long_a = x >= profile_.rounding_digits, long_b = y >= profile_.rounding_digits;
  if ((!long_a && !long_b) || has_names(t_, a) || has_names(t_, b)) return false;
  // Against a shorter decimal or a whole number there is nothing to round: 34.0000001 is not 34.
  if ((long_a && x < 200 && y > 0 && y < profile_.rounding_digits) || (long_b && x > 0 && x < profile_.rounding_digits))
    return false;
  NodeId exact = long_a && (!long_b || x <= y) ? b : a, decimal = exact == a ? b : a;
  int places = places_of(t_, decimal);
  constexpr slong kPrecision = 256;
  Balls balls(t_, work_, kPrecision, 0, 0);
  Ball value, written, half;
  if (!balls.value(exact, value) || !balls.value(decimal, written) || acb_is_zero(written.get())) return false;
  acb_sub(value.get(), value.get(), written.get(), kPrecision);
  // |exact - decimal| <= half a unit of its last place
  mpz_class unit;
  mpz_ui_pow_ui(unit.get_mpz_t(), 10, static_cast<unsigned long>(places));
  mpq_class bound(1, 2 * unit);
  fmpq_t f;
  fmpq_init(f);
  fmpq_set_mpq(f, bound.get_mpq_t());
  acb_set_fmpq(half.get(), f, kPrecision);
  fmpq_clear(f);
  arb_t distance;
  arb_init(distance);
  acb_abs(distance, value.get(), kPrecision);
  bool close = arb_le(distance, acb_realref(half.get())) != 0;
  arb_clear(distance);
  return close;
}

}  // namespace fulmen::reward::math
