#include "reward/math/modular.h"

#include "reward/math/exact.h"

namespace fulmen::reward::math {
namespace {

constexpr uint64_t kPrime = (uint64_t{1} << 61) - 1;
__extension__ using Wide = unsigned __int128;

uint64_t multiply(uint64_t a, uint64_t b) {
  Wide w = static_cast<Wide>(a) * b;
  uint64_t r = (static_cast<uint64_t>(w) & kPrime) + static_cast<uint64_t>(w >> 61);
  return r >= kPrime ? r - kPrime : r;
}

uint64_t add(uint64_t a, uint64_t b) {
  uint64_t r = a + b;
  return r >= kPrime ? r - kPrime : r;
}

uint64_t negate(uint64_t a) { return a == 0 ? 0 : kPrime - a; }

uint64_t raise(uint64_t base, uint64_t e) {
  uint64_t r = 1;
  for (; e != 0; e >>= 1) {
    if (e & 1) r = multiply(r, base);
    base = multiply(base, base);
  }
  return r;
}

uint64_t residue_of(const mpz_class& z) { return mpz_fdiv_ui(z.get_mpz_t(), kPrime); }

}  // namespace

uint64_t mix(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

uint64_t hash_text(std::string_view s) {
  uint64_t h = 0xcbf29ce484222325u;
  for (char c : s) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return mix(h);
}

uint64_t Modular::point(uint64_t name) const { return mix(seed_ ^ mix(name)) % kPrime; }

Modular::Outcome Modular::value(NodeId n, uint64_t& residue) { return eval(n, residue); }

Modular::Outcome Modular::eval(NodeId n, uint64_t& r) {
  if (!work_.spend(1)) return Outcome::kNotRational;
  constexpr uint64_t kPiName = 0x7069;
  switch (t_.op(n)) {
    case Op::kNumber: {
      uint64_t below = residue_of(t_.value(n).get_den());
      if (below == 0) return Outcome::kUndefined;
      r = residue_of(t_.value(n).get_num());
      if (below != 1) r = multiply(r, raise(below, kPrime - 2));
      return Outcome::kValue;
    }
    case Op::kSymbol:
      r = point(hash_text(t_.name(n)));
      return Outcome::kValue;
    case Op::kPi:
      r = point(kPiName);
      return Outcome::kValue;
    case Op::kApply: {  // an unknown function: any fixed function of its arguments
      uint64_t h = hash_text(t_.name(n));
      for (uint32_t i = 0; i < t_.count(n); i++) {
        Outcome o = eval(t_.kid(n, i), r);
        if (o != Outcome::kValue) return o;
        h = mix(h ^ r);
      }
      r = point(h);
      return Outcome::kValue;
    }
    case Op::kAdd:
    case Op::kMul: {
      bool sum = t_.op(n) == Op::kAdd;
      uint64_t total = sum ? 0 : 1;
      for (uint32_t i = 0; i < t_.count(n); i++) {
        Outcome o = eval(t_.kid(n, i), r);
        if (o != Outcome::kValue) return o;
        total = sum ? add(total, r) : multiply(total, r);
      }
      r = total;
      return Outcome::kValue;
    }
    case Op::kNeg: {
      Outcome o = eval(t_.kid(n, 0), r);
      r = negate(r);
      return o;
    }
    case Op::kUnit:
      return eval(t_.kid(n, 0), r);
    case Op::kPercent:
    case Op::kDegree: {
      Outcome o = eval(t_.kid(n, 0), r);
      bool degree = t_.op(n) == Op::kDegree;
      r = multiply(r, raise(degree ? 180 : 100, kPrime - 2));
      if (degree) r = multiply(r, point(kPiName));
      return o;
    }
    case Op::kDiv: {
      uint64_t below = 0;
      Outcome o = eval(t_.kid(n, 1), below);
      if (o != Outcome::kValue) return o;
      if (below == 0) return Outcome::kUndefined;
      o = eval(t_.kid(n, 0), r);
      work_.spend(4);
      r = multiply(r, raise(below, kPrime - 2));
      return o;
    }
    case Op::kPow:
      return power(n, r);
    default: {  // a rational number in another guise, such as sqrt 4 or 5!
      Exact exact(t_, work_);
      std::optional<mpq_class> v = exact.value(n);
      if (!v) return Outcome::kNotRational;
      uint64_t below = residue_of(v->get_den());
      if (below == 0) return Outcome::kUndefined;
      r = multiply(residue_of(v->get_num()), raise(below, kPrime - 2));
      return Outcome::kValue;
    }
  }
}

bool Modular::whole_number(NodeId n, mpz_class& e) {
  Exact exact(t_, work_);
  std::optional<mpq_class> v = exact.value(n);
  if (!v || v->get_den() != 1) return false;
  e = v->get_num();
  return true;
}

Modular::Outcome Modular::power(NodeId n, uint64_t& r) {
  mpz_class e;
  if (!whole_number(t_.kid(n, 1), e)) return Outcome::kNotRational;
  Outcome o = eval(t_.kid(n, 0), r);
  if (o != Outcome::kValue) return o;
  if (r == 0) {
    r = e == 0 ? 1 : 0;
    return e < 0 ? Outcome::kUndefined : Outcome::kValue;
  }
  work_.spend(4);
  r = raise(r, mpz_fdiv_ui(e.get_mpz_t(), kPrime - 1));  // Fermat: also right for negative and huge exponents
  return Outcome::kValue;
}

}  // namespace fulmen::reward::math
