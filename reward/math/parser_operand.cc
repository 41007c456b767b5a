// What stands for itself: numbers, letters, brackets, bars.
#include <fmt/core.h>

#include <algorithm>

#include "reward/math/parser_state.h"
#include "reward/math/units.h"

namespace fulmen::reward::math {

bool read_number(std::string_view text, mpq_class& value, uint8_t& places) {
  constexpr size_t kMaxDigits = 4096;
  places = 0;
  size_t slash = text.find('/');
  if (slash != std::string_view::npos) {
    value = mpq_class(std::string(text), 10);
    value.canonicalize();
    return true;
  }
  size_t e = text.find('e');
  long exponent = e == std::string_view::npos ? 0 : std::stol(std::string(text.substr(e + 1)));
  text = text.substr(0, e);
  if (text.size() > kMaxDigits || exponent > 4000 || exponent < -4000) return false;
  std::string digits, repeat;
  long decimals = 0;
  bool point = false;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == '.') {
      point = true;
    } else if (text[i] == '(') {
      repeat = text.substr(i + 1, text.size() - i - 2);
      break;
    } else {
      digits += text[i];
      decimals += point;
    }
  }
  places = static_cast<uint8_t>(std::clamp(decimals - exponent, 0L, 255L));
  if (places == 0 && point) places = 1;
  value = mpq_class(mpz_class(digits.empty() ? "0" : digits, 10));
  auto ten_to = [](unsigned long n) {
    mpz_class power;
    mpz_ui_pow_ui(power.get_mpz_t(), 10, n);
    return power;
  };
  if (!repeat.empty()) {
    mpz_class nines = ten_to(repeat.size()) - 1;
    value += mpq_class(mpz_class(repeat, 10), nines);
    places = 0;
  }
  long shift = exponent - decimals;
  if (shift >= 0) {
    value *= ten_to(static_cast<unsigned long>(shift));
  } else {
    value /= ten_to(static_cast<unsigned long>(-shift));
  }
  value.canonicalize();
  return mpz_sizeinbase(value.get_num_mpz_t(), 2) <= kMaxExactBits &&
         mpz_sizeinbase(value.get_den_mpz_t(), 2) <= kMaxExactBits;
}

NodeId Parser::operand() {
  if (t_.full()) return fail("too many parts");
  const Token& t = peek();
  switch (t.kind) {
    case Tok::kNumber:
      return number();
    case Tok::kLetter:
      return letter();
    case Tok::kFunction:
      return function();
    case Tok::kAccent:
      return accent();
    case Tok::kBegin:
      return environment();
    case Tok::kWord: {  // a word inside an expression: \text{area} + 2
      if (!t.in_text && t.text.size() > 1) return fail("prose in an expression");
      std::string name = t.text;
      at_++;
      return t_.symbol(name);
    }
    case Tok::kSign:
      return sign_operand();
    default:
      return fail("nothing where a value should stand");
  }
}

NodeId Parser::number() {
  const Token& t = peek();
  if (t.kind != Tok::kNumber) return fail("not a number");
  mpq_class value;
  uint8_t places = 0;
  if (!read_number(t.text, value, places)) return fail("a number too long");
  at_++;
  return t_.number(std::move(value), places);
}

NodeId Parser::letter() {
  std::string name = peek().text;
  if (differential_ && name == "d" && peek(1).kind == Tok::kLetter && differential_->empty()) {
    *differential_ = peek(1).text;
    at_ += 2;
    return t_.add(Op::kDiv, {t_.integer(1), t_.integer(1)});  // a factor of one that is no number
  }
  at_++;
  if (name == "C" && (at('_') || at('^'))) {  // C_n^k, the binomial coefficient
    size_t begin = at_;
    bool below_first = at('_');
    at_++;
    const size_t taken = at_;
    const Token split = peek();  // argument() may take one digit off a number
    NodeId first = argument();
    if (first != kNone && at(below_first ? '^' : '_')) {
      at_++;
      NodeId second = argument();
      if (second == kNone || !in_expression(first) || !in_expression(second)) return kNone;
      return t_.function(Fn::kBinomial, {below_first ? first : second, below_first ? second : first});
    }
    if (first == kNone) return kNone;
    tokens_[taken] = split;
    at_ = begin;
  }
  bool bound = std::find(bound_.begin(), bound_.end(), name) != bound_.end();
  if (!bound && name == "e") return t_.add(Op::kE, {});
  if (!bound && (name == "i" || (name == "I" && profile_.capital_i)) && !at('_')) return t_.add(Op::kI, {});
  // f(x): an unknown function, also P(x) = ...
  bool function_name = name == "f" || name == "g" || name == "h";
  bool defined = name.size() == 1 && at('(') && peek(1).kind == Tok::kLetter && at(')', 2) && at('=', 3);
  size_t primes = 0;
  while (at('\'', primes)) primes++;
  if ((function_name || primes > 0) && at('(', primes)) at_ += primes;
  if ((function_name || defined || primes > 0) && at('(') && !bound) {
    name += std::string(primes, '\'');
    at_++;
    Items list;
    if (!items(list) || !close(')')) return kNone;
    std::vector<NodeId> arguments = list.flat();
    if (arguments.empty()) return fail("a function without argument");
    return t_.add(Op::kApply, arguments, 0, t_.intern(name));
  }
  return t_.symbol(name);
}

NodeId Parser::sign_operand() {
  int code = peek().code;
  at_++;
  switch (code) {
    case '(':
    case '[':
      return bracketed(code);
    case '{':
      return plain_braces();
    case kOpenSet:
      return set_braces();
    case '|':
      return absolute('|');
    case kOpenAbs:
      return absolute(kCloseAbs);
    case kOpenFloor:
      return rounded(Fn::kFloor, kCloseFloor);
    case kOpenCeil:
      return rounded(Fn::kCeil, kCloseCeil);
    case kFracSign:
      return fraction();
    case kSqrtSign:
      return root();
    case kBinomSign: {
      NodeId n = argument();
      NodeId k = n == kNone ? kNone : argument();
      return k == kNone || !in_expression(n) || !in_expression(k) ? kNone : t_.function(Fn::kBinomial, {n, k});
    }
    case kInf:
      return t_.add(Op::kInfinity, {});
    case kPiSign:
      return t_.add(Op::kPi, {});
    case kESign:
      return t_.add(Op::kE, {});
    case kISign:
      return t_.add(Op::kI, {});
    case kEmptySign:
      return t_.add(Op::kNamedSet, {}, '0');
    case kNamedSetSign:
      at_--;
      return named_set();
    case kSumSign:
      return repeated(Op::kSum);
    case kProdSign:
      return repeated(Op::kProduct);
    case kIntSign:
      return integral();
    case kLimSign:
      return limit();
    case kDotsSign:
      return t_.symbol("...");
    case kVariableSign: {
      std::string name = raw_group();
      return name.empty() ? fail("a variable without name") : t_.symbol(name);
    }
    case kDollarSign: {
      const std::string unit = currency(tokens_[at_ - 1]);
      NodeId value = signed_factor();
      return value == kNone ? kNone : t_.add(Op::kUnit, {value}, 0, t_.intern(fold_unit(unit)));
    }
    default:
      at_--;
      return fail("a sign where a value should stand");
  }
}

NodeId Parser::named_set() {
  uint8_t letter = static_cast<uint8_t>(peek().text[0]);
  at_++;
  if (at('^') && (peek(1).is('+') || peek(1).is('*') || peek(1).kind == Tok::kNumber || peek(1).is('{'))) {
    at_++;
    return t_.symbol(fmt::format("{}-set^{}", static_cast<char>(letter), raw_group()));
  }
  return t_.add(Op::kNamedSet, {}, letter);
}

NodeId Parser::absolute(int closing) {
  bool plain = closing == '|';
  int outer = bars_;
  bool outer_builder = in_builder_;
  bars_ = plain ? bars_ + 1 : 0;
  in_builder_ = false;
  NodeId value = sum();
  bars_ = outer;
  in_builder_ = outer_builder;
  if (value == kNone) return kNone;
  if (!take(closing) && !take('|') && !take(kCloseAbs)) return fail("a bar is not closed");
  if (!in_expression(value)) return kNone;
  if (t_.op(value) == Op::kMatrix) return determinant(value);
  return t_.function(Fn::kAbs, {value});
}

NodeId Parser::rounded(Fn fn, int closing) {
  int outer = bars_;
  bars_ = 0;
  NodeId value = sum();
  bars_ = outer;
  if (value == kNone || !in_expression(value) || !close(closing)) return kNone;
  return t_.function(fn, {value});
}

// \overline{x}, \vec{v}: part of the name.
NodeId Parser::accent() {
  std::string name = peek().text;
  at_++;
  std::string what = raw_group();
  if (what.empty()) return fail("an accent on nothing");
  return t_.symbol(fmt::format("{}{{{}}}", name, what));
}

}  // namespace fulmen::reward::math
