#include "reward/math/exact.h"

#include <algorithm>

namespace fulmen::reward::math {

size_t bits(const mpq_class& q) {
  return std::max(mpz_sizeinbase(q.get_num_mpz_t(), 2), mpz_sizeinbase(q.get_den_mpz_t(), 2));
}

namespace {

bool whole(const mpq_class& q) { return mpz_cmp_ui(q.get_den_mpz_t(), 1) == 0; }

mpq_class quotient(const mpz_class& a, const mpz_class& b) {
  mpq_class q(a, b);
  q.canonicalize();
  return q;
}

mpz_class floor_of(const mpq_class& q) {
  mpz_class f;
  mpz_fdiv_q(f.get_mpz_t(), q.get_num_mpz_t(), q.get_den_mpz_t());
  return f;
}

}  // namespace

std::optional<mpq_class> Exact::value(NodeId n, const Bindings& bindings) {
  Bindings b = bindings;
  return eval(n, b);
}

Exact::Maybe Exact::eval(NodeId n, Bindings& b) {
  if (!work_.spend(1)) return std::nullopt;
  if (t_.op(n) == Op::kNumber) return t_.value(n);
  if (t_.op(n) == Op::kSymbol) {
    for (auto it = b.rbegin(); it != b.rend(); ++it) {
      if (it->first == t_[n].payload) return it->second;
    }
    return std::nullopt;
  }
  Maybe v = operation(n, b);
  if (v && bits(*v) > kMaxExactBits) return std::nullopt;
  if (v) work_.spend(static_cast<int64_t>(bits(*v) / 512));
  return v;
}

Exact::Maybe Exact::divided(const mpq_class& x, const mpq_class& y) {
  if (y == 0) {
    undefined_ = true;
    return std::nullopt;
  }
  return mpq_class(x / y);
}

Exact::Maybe Exact::operation(NodeId n, Bindings& b) {
  switch (t_.op(n)) {
    case Op::kAdd:
    case Op::kMul: {
      bool add = t_.op(n) == Op::kAdd;
      mpq_class total = add ? 0 : 1;
      for (uint32_t i = 0; i < t_.count(n); i++) {
        Maybe v = eval(t_.kid(n, i), b);
        if (!v) return std::nullopt;
        if (add) {
          total += *v;
        } else {
          total *= *v;
        }
        if (bits(total) > kMaxExactBits) return std::nullopt;
      }
      return total;
    }
    case Op::kDiv:
    case Op::kRatio: {
      if (t_.count(n) != 2 || t_[n].detail != 0) return std::nullopt;
      Maybe x = eval(t_.kid(n, 0), b), y = x ? eval(t_.kid(n, 1), b) : x;
      return y ? divided(*x, *y) : std::nullopt;
    }
    case Op::kNeg: {
      Maybe v = eval(t_.kid(n, 0), b);
      if (v) *v = -*v;
      return v;
    }
    case Op::kUnit:
      return eval(t_.kid(n, 0), b);
    case Op::kPercent: {
      Maybe v = eval(t_.kid(n, 0), b);
      if (v) *v /= 100;
      return v;
    }
    case Op::kPow:
    case Op::kRoot: {
      Maybe x = eval(t_.kid(n, 0), b), y = x ? eval(t_.kid(n, 1), b) : x;
      if (!y) return std::nullopt;
      return t_.op(n) == Op::kPow ? power(*x, *y) : root(*x, *y);
    }
    case Op::kFunction:
      return function(n, b);
    case Op::kSum:
    case Op::kProduct:
      return repeated(n, b);
    default:
      return std::nullopt;
  }
}

Exact::Maybe Exact::power(const mpq_class& base, const mpq_class& exponent) {
  if (!whole(exponent)) {
    if (!exponent.get_den().fits_ulong_p()) return std::nullopt;
    if (base < 0) return std::nullopt;  // the principal value is not real
    Maybe r = root(base, mpq_class(exponent.get_den()));
    return r ? power(*r, mpq_class(exponent.get_num())) : std::nullopt;
  }
  const mpz_class& e = exponent.get_num();
  if (base == 0 && e <= 0) {
    if (e < 0) undefined_ = true;
    return e < 0 ? std::nullopt : Maybe(1);
  }
  if (base == 0 || base == 1) return base;
  if (base == -1) return mpq_class(mpz_odd_p(e.get_mpz_t()) ? -1 : 1);
  if (!e.fits_slong_p()) return std::nullopt;
  unsigned long size = static_cast<unsigned long>(std::abs(e.get_si()));
  if (size > kMaxExactBits || size * (bits(base) - 1) > kMaxExactBits) return std::nullopt;
  if (!work_.spend(static_cast<int64_t>(size * bits(base) / 512))) return std::nullopt;
  mpz_class num, den;
  mpz_pow_ui(num.get_mpz_t(), base.get_num_mpz_t(), size);
  mpz_pow_ui(den.get_mpz_t(), base.get_den_mpz_t(), size);
  return e < 0 ? quotient(den, num) : quotient(num, den);
}

// Only of perfect powers.
Exact::Maybe Exact::root(const mpq_class& radicand, const mpq_class& degree) {
  if (!whole(degree) || !degree.get_num().fits_ulong_p() || degree <= 0) return std::nullopt;
  unsigned long k = degree.get_num().get_ui();
  if (k > 1000 || (radicand < 0 && k % 2 == 0)) return std::nullopt;
  mpz_class num, den;
  if (mpz_root(num.get_mpz_t(), radicand.get_num_mpz_t(), k) == 0) return std::nullopt;
  if (mpz_root(den.get_mpz_t(), radicand.get_den_mpz_t(), k) == 0) return std::nullopt;
  return quotient(num, den);
}

Exact::Maybe Exact::function(NodeId n, Bindings& b) {
  switch (t_.fn(n)) {
    case Fn::kAbs:
    case Fn::kFloor:
    case Fn::kCeil:
    case Fn::kGcd:
    case Fn::kLcm:
    case Fn::kMax:
    case Fn::kMin:
    case Fn::kMod:
    case Fn::kFactorial:
    case Fn::kDoubleFactorial:
    case Fn::kBinomial:
    case Fn::kSign:
      break;
    default:
      return std::nullopt;
  }
  std::vector<mpq_class> v;
  for (uint32_t i = 0; i < t_.count(n); i++) {
    Maybe x = eval(t_.kid(n, i), b);
    if (!x) return std::nullopt;
    v.push_back(std::move(*x));
  }
  switch (t_.fn(n)) {
    case Fn::kAbs:
      return mpq_class(abs(v[0]));
    case Fn::kSign:
      return mpq_class(sgn(v[0]));
    case Fn::kFloor:
      return mpq_class(floor_of(v[0]));
    case Fn::kCeil:
      return mpq_class(-floor_of(-v[0]));
    case Fn::kMod: {
      Maybe q = divided(v[0], v[1]);
      return q ? Maybe(v[0] - v[1] * floor_of(*q)) : std::nullopt;
    }
    case Fn::kGcd:
    case Fn::kLcm:
    case Fn::kMax:
    case Fn::kMin:
      return several(t_.fn(n), v);
    default:
      return combinatorial(t_.fn(n), v);
  }
}

// gcd and lcm of rationals: of the numerators over a common denominator.
Exact::Maybe Exact::several(Fn fn, const std::vector<mpq_class>& v) {
  if (fn == Fn::kMax) return *std::max_element(v.begin(), v.end());
  if (fn == Fn::kMin) return *std::min_element(v.begin(), v.end());
  mpz_class common = 1, result = 0;
  for (const mpq_class& q : v) common = lcm(common, q.get_den());
  if (mpz_sizeinbase(common.get_mpz_t(), 2) > kMaxExactBits) return std::nullopt;
  bool first = true, negative = false;
  for (const mpq_class& q : v) {
    negative ^= fn == Fn::kLcm && q < 0;  // as SymPy has it: the sign of the product
    mpz_class scaled = q.get_num() * (common / q.get_den());
    if (first) {
      result = abs(scaled);
    } else if (fn == Fn::kGcd) {
      result = gcd(result, scaled);
    } else {
      result = lcm(result, scaled);
    }
    if (mpz_sizeinbase(result.get_mpz_t(), 2) > kMaxExactBits) return std::nullopt;
    first = false;
  }
  return quotient(negative ? -result : result, common);
}

Exact::Maybe Exact::combinatorial(Fn fn, const std::vector<mpq_class>& v) {
  constexpr unsigned long kMaxFactorial = 1500;
  for (const mpq_class& q : v) {
    if (!whole(q) || q < 0 || !q.get_num().fits_ulong_p()) return std::nullopt;
  }
  unsigned long n = v[0].get_num().get_ui();
  mpz_class result;
  if (fn == Fn::kBinomial) {
    unsigned long k = v[1].get_num().get_ui();
    if (k > n) return mpq_class(0);
    k = std::min(k, n - k);
    size_t n_bits = mpz_sizeinbase(v[0].get_num_mpz_t(), 2);
    if (k > kMaxFactorial || k * n_bits > kMaxExactBits) return std::nullopt;
    work_.spend(static_cast<int64_t>(k));
    mpz_bin_ui(result.get_mpz_t(), v[0].get_num_mpz_t(), k);
    return mpq_class(result);
  }
  if (n > kMaxFactorial) return std::nullopt;
  work_.spend(static_cast<int64_t>(n / 4));
  if (fn == Fn::kFactorial) {
    mpz_fac_ui(result.get_mpz_t(), n);
  } else {
    mpz_2fac_ui(result.get_mpz_t(), n);
  }
  return mpq_class(result);
}

Exact::Maybe Exact::repeated(NodeId n, Bindings& b) {
  Maybe from = eval(t_.kid(n, 2), b), to = from ? eval(t_.kid(n, 3), b) : from;
  constexpr long kMaxTerms = 2000;
  if (!to || !whole(*from) || !whole(*to) || *to - *from > kMaxTerms || *to < *from) return std::nullopt;
  bool sum = t_.op(n) == Op::kSum;
  mpq_class total = sum ? 0 : 1;
  uint32_t name = t_[t_.kid(n, 1)].payload;
  b.emplace_back(name, *from);
  for (mpq_class k = *from; k <= *to; k += 1) {
    b.back() = {name, k};
    Maybe v = eval(t_.kid(n, 0), b);
    if (!v) {
      b.pop_back();
      return std::nullopt;
    }
    if (sum) {
      total += *v;
    } else {
      total *= *v;
    }
    if (bits(total) > kMaxExactBits) {
      b.pop_back();
      return std::nullopt;
    }
    work_.spend(static_cast<int64_t>(1 + bits(total) / 256));
  }
  b.pop_back();
  return total;
}

}  // namespace fulmen::reward::math
