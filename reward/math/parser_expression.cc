// Sums, products, powers.
#include <fmt/core.h>

#include <algorithm>

#include "reward/math/parser_state.h"

namespace fulmen::reward::math {

NodeId Parser::sum() {
  if (!enter()) return kNone;
  NodeId first = product();
  if (first == kNone) return kNone;
  std::vector<NodeId> terms{first};
  while (at('+') || at('-') || at(kPm) || at(kMp)) {
    if (at('-') && peek().in_text && peek(1).kind == Tok::kWord) return fail("a hyphen between words");
    int sign = peek().code;
    at_++;
    NodeId term = product();
    if (term == kNone || !in_expression(term) || !in_expression(terms.back())) return kNone;
    if (sign == '-') term = t_.add(Op::kNeg, {term});
    if (sign == kPm || sign == kMp) term = t_.add(Op::kPlusMinus, {term}, sign == kMp ? 1 : 0);
    terms.push_back(term);
  }
  NodeId value = terms.size() == 1 ? terms[0] : t_.add(Op::kAdd, terms);
  if (take(kChooseSign)) {  // {n \choose k}
    NodeId k = sum();
    if (k == kNone) return kNone;
    value = t_.function(Fn::kBinomial, {value, k});
  } else if (take(kOverSign)) {
    NodeId below = sum();
    if (below == kNone) return kNone;
    value = t_.add(Op::kDiv, {value, below});
  }
  leave();
  return value;
}

// Explicit * / mod, left to right, each operand a juxtaposed product.
NodeId Parser::product() {
  constexpr int kMaxQuotients = 64;  // they nest in the tree; products do not
  NodeId left = signed_factor();
  std::vector<NodeId> factors{left};
  auto multiplied = [&] { return factors.size() == 1 ? factors[0] : t_.add(Op::kMul, factors); };
  for (int quotients = 0; left != kNone && (at('*') || at('/') || at(kModSign));) {
    int sign = peek().code;
    at_++;
    size_t begin = at_;
    NodeId right = signed_factor();
    if (right == kNone || !in_expression(factors.back()) || !in_expression(right)) return kNone;
    if (sign == '*') {
      factors.push_back(right);
      continue;
    }
    if (++quotients > kMaxQuotients) return fail("too many quotients");
    left = multiplied();
    // "1/2 x": the denominator was the number before the space.
    bool number_first = sign == '/' && tokens_[begin].kind == Tok::kNumber && begin + 1 < at_ &&
                        tokens_[begin + 1].space && tokens_[begin - 2].kind == Tok::kNumber && t_.op(right) == Op::kMul;
    if (number_first) {
      factors = t_.kids(right);
      factors[0] = t_.add(Op::kDiv, {left, factors[0]});
    } else {
      factors = {sign == '/' ? t_.add(Op::kDiv, {left, right}) : t_.function(Fn::kMod, {left, right})};
    }
  }
  return left == kNone ? kNone : multiplied();
}

NodeId Parser::signed_factor() {
  std::vector<int> signs;
  while (at('-') || at('+') || at(kPm) || at(kMp) || at(kNegateSign)) {
    signs.push_back(peek().code);
    at_++;
    constexpr size_t kMaxSigns = 16;
    if (signs.size() > kMaxSigns) return fail("too many signs");
  }
  NodeId value = juxtaposed();
  if (value == kNone) return kNone;
  std::reverse(signs.begin(), signs.end());
  bool unit_or_value = t_.op(value) == Op::kUnit || signs.empty() || in_expression(value);
  if (!unit_or_value) return kNone;
  for (int sign : signs) {
    bool unit = t_.op(value) == Op::kUnit;
    uint32_t name = t_[value].payload;
    NodeId inner = unit ? t_.kid(value, 0) : value;
    if (sign == '-') inner = t_.add(Op::kNeg, {inner});
    if (sign == kPm || sign == kMp) inner = t_.add(Op::kPlusMinus, {inner}, sign == kMp ? 1 : 0);
    value = unit ? t_.add(Op::kUnit, {inner}, 0, name) : inner;
  }
  return value;
}

bool Parser::starts_operand() const {
  const Token& t = peek();
  switch (t.kind) {
    case Tok::kNumber:
    case Tok::kLetter:
    case Tok::kFunction:
    case Tok::kAccent:
      return true;
    case Tok::kBegin:
      return true;
    case Tok::kSign:
      break;
    default:
      return false;
  }
  switch (t.code) {
    case '(':
    case '[':
    case '{':
    case kOpenSet:
    case kFracSign:
    case kSqrtSign:
    case kBinomSign:
    case kOpenFloor:
    case kOpenCeil:
    case kOpenAbs:
    case kInf:
    case kPiSign:
    case kESign:
    case kISign:
    case kNamedSetSign:
    case kEmptySign:
    case kSumSign:
    case kProdSign:
    case kIntSign:
    case kLimSign:
    case kVariableSign:
    case kDotsSign:
      return true;
    case '|':
      return bars_ == 0 && !in_builder_;
    default:
      return false;
  }
}

// Operands side by side. A whole number in front of a fraction of whole numbers is a mixed number.
NodeId Parser::juxtaposed() {
  std::vector<NodeId> factors;
  std::vector<bool> is_frac;
  for (;;) {
    if (differential_ && peek().kind == Tok::kLetter && peek().text == "d" && peek(1).kind == Tok::kLetter &&
        !differential_->empty())
      break;
    bool plain_mixed = !factors.empty() && peek().kind == Tok::kNumber && peek().space && at('/', 1) &&
                       peek(2).kind == Tok::kNumber && t_.op(factors.back()) == Op::kNumber;
    is_frac.push_back(at(kFracSign) || (peek().kind == Tok::kNumber && peek().text.find('/') != std::string::npos));
    NodeId next = power();
    if (next == kNone) return kNone;
    if (plain_mixed) {  // 2 1/2
      at_++;
      NodeId below = number();
      if (below == kNone) return kNone;
      next = postfix(t_.add(Op::kDiv, {next, below}));
      if (next == kNone) return kNone;
      is_frac.back() = true;
    }
    factors.push_back(next);
    if (!starts_operand()) break;
  }
  if (names_a_point(factors)) {
    const std::string& name = t_.name(factors[0]);
    const Node tuple = t_[factors[1]];
    const bool counts = tuple.count == 2 && (name == "C" || name == "P");
    return counts ? t_.add(Op::kTuple, t_.kids(factors[1]), name == "C" ? kChosen : kArranged) : factors[1];
  }
  for (NodeId& f : factors) {
    if (factors.size() > 1) f = grouped(f);
    if (factors.size() > 1 && !in_expression(f)) return kNone;
  }
  return mixed_or_product(factors, is_frac);
}

// A(1, 2): the point, whose name says nothing.
bool Parser::names_a_point(const std::vector<NodeId>& factors) const {
  if (factors.size() != 2 || t_.op(factors[0]) != Op::kSymbol || t_.op(factors[1]) != Op::kTuple) return false;
  const std::string& name = t_.name(factors[0]);
  return name.size() == 1 && name[0] >= 'A' && name[0] <= 'Z';
}

bool Parser::in_expression(NodeId n) {
  if (is_scalar(t_.op(n)) || t_.op(n) == Op::kMatrix) return true;
  fail("a list, a set or words inside an expression");
  return false;
}

// Set braces around one scalar inside an expression only group it.
NodeId Parser::grouped(NodeId n) const {
  NodeId inner = n;
  while (t_.op(inner) == Op::kSet && t_.count(inner) == 1) inner = t_.kid(inner, 0);
  return is_scalar(t_.op(inner)) ? inner : n;
}

NodeId Parser::mixed_or_product(std::vector<NodeId>& factors, const std::vector<bool>& is_frac) {
  auto whole = [&](NodeId n) { return t_.op(n) == Op::kNumber && t_[n].detail == 0 && t_.value(n).get_den() == 1; };
  std::vector<NodeId> kept;
  for (size_t i = 0; i < factors.size(); i++) {
    NodeId f = factors[i];
    const Op dress = t_.op(f);  // 33\frac13\% is a percentage of all of it, and so with degrees
    const bool dressed = (dress == Op::kPercent || dress == Op::kDegree) && is_frac[i] && i + 1 == factors.size();
    if (dressed && !kept.empty() && whole(kept.back())) {
      const NodeId inner = t_.kid(f, 0);
      if (t_.op(inner) == Op::kDiv && whole(t_.kid(inner, 0)) && whole(t_.kid(inner, 1))) {
        kept.back() = t_.add(dress, {t_.add(Op::kAdd, {kept.back(), inner})});
        continue;
      }
    }
    bool vulgar = t_.op(f) == Op::kNumber && t_.value(f).get_den() != 1 && is_frac[i];
    bool fraction = is_frac[i] && t_.op(f) == Op::kDiv && whole(t_.kid(f, 0)) && whole(t_.kid(f, 1));
    if (!kept.empty() && whole(kept.back()) && (vulgar || fraction)) {
      kept.back() = t_.add(Op::kAdd, {kept.back(), f});
      continue;
    }
    if (!kept.empty() && t_.op(f) == Op::kNumber && t_.op(kept.back()) == Op::kNumber) {
      // 3 4 is nothing, but 3 1\frac12 is a product.
      if (i + 1 >= factors.size() || !is_frac[i + 1]) return fail("two numbers side by side");
    }
    kept.push_back(f);
  }
  return kept.size() == 1 ? kept[0] : t_.add(Op::kMul, kept);
}

NodeId Parser::power() {
  if (!enter()) return kNone;
  NodeId base = operand();
  if (base == kNone) return kNone;
  NodeId value = postfix(base);
  leave();
  return value;
}

NodeId Parser::postfix(NodeId base) {
  for (int count = 0; base != kNone; count++) {
    constexpr int kMaxPostfix = 16;
    if (count > kMaxPostfix) return fail("too many powers");
    if (at('^')) {
      base = raised(base);
    } else if (at('_')) {
      base = subscripted(base);
    } else if (at('!')) {
      at_++;
      bool twice = at('!') && !at('!', 1);
      if (twice) at_++;
      base = t_.function(twice ? Fn::kDoubleFactorial : Fn::kFactorial, {base});
    } else if (at('%')) {
      at_++;
      base = t_.add(Op::kPercent, {base});
    } else if (at(kDegreeSign)) {
      at_++;
      base = degrees(base);
    } else if (at('\'') && t_.op(base) == Op::kSymbol) {
      at_++;
      base = t_.symbol(t_.name(base) + "'");
    } else {
      return base;
    }
  }
  return base;
}

// Behind a degree sign. 20 °C, 68 °F: a unit, not an angle.
NodeId Parser::degrees(NodeId base) {
  const std::string scale = peek().kind == Tok::kLetter && !at('(', 1) ? temperature(peek()) : "";
  if (scale.empty()) return t_.add(Op::kDegree, {base});
  at_++;
  return t_.add(Op::kUnit, {base}, 0, t_.intern(scale));
}

// base ^ something, where degrees, primes and transposition are written as powers too.
NodeId Parser::raised(NodeId base) {
  at_++;
  size_t inside = at('{') ? 1 : 0;
  bool alone = inside == 0 || at('}', 2);
  if (alone && at(kDegreeSign, inside)) {
    at_ += inside == 0 ? 1 : 3;
    return degrees(base);
  }
  if (alone && at('\'', inside)) {
    at_ += inside == 0 ? 1 : 3;
    return t_.op(base) == Op::kSymbol ? t_.symbol(t_.name(base) + "'") : fail("a prime on what is no name");
  }
  bool transposed = at(kTransposeSign, inside) ||
                    (peek(inside).kind == Tok::kLetter && peek(inside).text == "T" && t_.op(base) == Op::kMatrix);
  if (alone && transposed && t_.op(base) == Op::kMatrix) {
    at_ += inside == 0 ? 1 : 3;
    uint32_t columns = t_[base].payload, rows = t_.count(base) / std::max(columns, 1u);
    std::vector<NodeId> cells;
    for (uint32_t c = 0; c < columns; c++) {
      for (uint32_t r = 0; r < rows; r++) cells.push_back(t_.kid(base, r * columns + c));
    }
    return t_.add(Op::kMatrix, cells, 0, rows);
  }
  NodeId e = exponent();
  if (e == kNone || !in_expression(e) || !in_expression(base)) return kNone;
  if (at('_') && t_.op(base) == Op::kSymbol) {  // x^2_1
    base = subscripted(base);
    if (base == kNone) return kNone;
  }
  return t_.add(Op::kPow, {base, e});
}

NodeId Parser::exponent() {
  if (!enter()) return kNone;
  NodeId value = kNone;
  if (at('-') || at('+')) {
    bool minus = at('-');
    at_++;
    value = exponent();
    if (value != kNone && minus) value = t_.add(Op::kNeg, {value});
  } else {
    value = operand();
    if (value != kNone) value = grouped(value);
    if (value != kNone && at('^')) value = raised(value);  // towers are read from the right
    if (value != kNone && at('!') && !at('!', 1)) {
      at_++;
      value = t_.function(Fn::kFactorial, {value});
    }
  }
  leave();
  return value;
}

// x_1 is one name; 101_2 is a number in base two.
NodeId Parser::subscripted(NodeId base) {
  const bool in_brackets = at_ > 2 && tokens_[at_ - 1].is(')') && tokens_[at_ - 3].is('(');  // (101)_2
  const size_t digits_at = in_brackets ? at_ - 2 : at_ - 1;
  if (t_.op(base) == Op::kNumber && at_ > 0 && tokens_[digits_at].kind == Tok::kNumber) {
    std::string digits = tokens_[digits_at].text;
    at_++;
    NodeId b = argument();
    if (b == kNone) return kNone;
    return t_.add(Op::kBased, {b}, 0, t_.intern(digits));
  }
  at_++;
  std::string sub = raw_group();
  if (sub.empty()) return fail("an empty subscript");
  if (t_.op(base) == Op::kSymbol) return t_.symbol(fmt::format("{}_{}", t_.name(base), sub));
  if (t_.op(base) == Op::kPow && t_.op(t_.kid(base, 0)) == Op::kSymbol) {
    NodeId named = t_.symbol(fmt::format("{}_{}", t_.name(t_.kid(base, 0)), sub));
    return t_.add(Op::kPow, {named, t_.kid(base, 1)});
  }
  if (t_.op(base) == Op::kE) return t_.symbol(fmt::format("e_{}", sub));
  if (t_.op(base) == Op::kI) return t_.symbol(fmt::format("i_{}", sub));
  return fail("a subscript on what is no name");
}

// The tokens of a group, or one token, run together: a part of a name.
std::string Parser::raw_group() {
  std::string name;
  auto add = [&](const Token& t) {
    if (t.kind == Tok::kSign && t.code < kFirstSign) {
      if (t.code != '{' && t.code != '}') name += static_cast<char>(t.code);
    } else if (t.kind == Tok::kSign) {
      name += t.code == kPiSign ? "pi" : fmt::format("#{}", t.code);
    } else {
      name += t.text;
    }
  };
  if (!at('{')) {
    if (!stopped()) add(tokens_[at_++]);
    return name;
  }
  int open = 0;
  do {
    if (at('{')) open++;
    if (at('}')) open--;
    add(peek());
    at_++;
  } while (open > 0 && !stopped());
  return name;
}

}  // namespace fulmen::reward::math
