// Fractions, roots, functions, sums, integrals, limits, matrices.
#include <algorithm>

#include "reward/math/parser_state.h"
#include "reward/math/polynomial.h"

namespace fulmen::reward::math {

// A group in braces, or one character: \frac12 and \sqrt3 take a digit each.
NodeId Parser::argument() {
  if (peek().kind == Tok::kNumber && peek().text.size() > 1 && peek().text.find('/') == std::string::npos) {
    Token& t = tokens_[at_];
    long digit = t.text[0] - '0';
    t.text = t.text.substr(1);
    t.space = false;
    if (t.text[0] == '.') return fail("a decimal where one digit should stand");
    return t_.integer(digit);
  }
  if (at('-')) {
    at_++;
    NodeId value = argument();
    return value == kNone ? kNone : t_.add(Op::kNeg, {value});
  }
  bool outer_builder = in_builder_;
  in_builder_ = false;
  NodeId value = operand();
  in_builder_ = outer_builder;
  return value;
}

NodeId Parser::fraction() {
  auto letter_d = [&](size_t ahead) { return peek(ahead).kind == Tok::kLetter && peek(ahead).text == "d"; };
  const bool total = letter_d(1) && letter_d(4);
  const bool partial = peek(1).text == "partial" && peek(4).text == "partial";
  if (at('{') && (total || partial) && at('}', 2) && at('{', 3) && peek(5).kind == Tok::kLetter && at('}', 6)) {
    const std::string variable(peek(5).text);
    at_ += 7;
    return derivative(variable, partial);
  }
  NodeId above = argument();
  if (above == kNone) return kNone;
  if (take('/')) {  // \frac{1}/{2} and the like
  }
  NodeId below = argument();
  if (below == kNone) return kNone;
  if (t_.op(above) == Op::kUnit) above = t_.kid(above, 0);
  if (t_.op(below) == Op::kUnit) below = t_.kid(below, 0);
  if (!in_expression(above) || !in_expression(below)) return kNone;
  return t_.add(Op::kDiv, {above, below});
}

NodeId Parser::derivative(const std::string& variable, bool partial) {
  NodeId body = juxtaposed();
  if (body == kNone || !in_expression(body)) return kNone;
  return t_.add(Op::kDerivative, {body, t_.symbol(variable)}, partial ? 1 : 0);
}

NodeId Parser::root() {
  NodeId degree = kNone;
  if (at('[')) {
    at_++;
    degree = sum();
    if (degree == kNone || !close(']')) return kNone;
  }
  // \sqrt12 is TeX for root one times two, but nobody who writes it means that.
  NodeId radicand = peek().kind == Tok::kNumber ? number() : argument();
  if (radicand == kNone) return kNone;
  if (degree == kNone) degree = t_.integer(2);
  if (!in_expression(radicand) || !in_expression(degree)) return kNone;
  return t_.add(Op::kRoot, {radicand, degree});
}

namespace {

bool takes_several(Fn fn) { return fn == Fn::kGcd || fn == Fn::kLcm || fn == Fn::kMax || fn == Fn::kMin; }

bool inverse_of(Fn fn, Fn& inverse) {
  static constexpr std::pair<Fn, Fn> kInverses[] = {
      {Fn::kSin, Fn::kArcsin},  {Fn::kCos, Fn::kArccos},  {Fn::kTan, Fn::kArctan},
      {Fn::kCot, Fn::kArccot},  {Fn::kSec, Fn::kArcsec},  {Fn::kCsc, Fn::kArccsc},
      {Fn::kSinh, Fn::kArsinh}, {Fn::kCosh, Fn::kArcosh}, {Fn::kTanh, Fn::kArtanh}};
  for (const auto& [f, i] : kInverses) {
    if (f != fn) continue;
    inverse = i;
    return true;
  }
  return false;
}

}  // namespace

NodeId Parser::function() {
  if (!enter()) return kNone;
  Fn fn = static_cast<Fn>(peek().code);
  const bool cis = peek().text == "cis";
  bool common_log = fn == Fn::kLog;
  at_++;
  NodeId power = kNone, base = kNone;
  for (int i = 0; i < 2; i++) {  // sin^2, log_2, in either order
    if (at('^') && power == kNone) {
      at_++;
      if (at(kDegreeSign)) return fail("a degree without a number");
      power = exponent();
      if (power == kNone) return kNone;
    }
    if (at('_') && base == kNone) {
      at_++;
      base = common_log ? argument() : kNone;
      if (!common_log) raw_group();
      if (common_log && base == kNone) return kNone;
    }
  }
  Fn inverse;
  bool minus_one = power != kNone && t_.op(power) == Op::kNeg && t_.op(t_.kid(power, 0)) == Op::kNumber &&
                   t_.value(t_.kid(power, 0)) == 1;
  if (minus_one && inverse_of(fn, inverse)) {
    fn = inverse;
    power = kNone;
  }
  std::vector<NodeId> arguments;
  if (function_argument(fn, arguments) == kNone) return kNone;
  for (NodeId& a : arguments) {
    a = grouped(a);
    if (!in_expression(a)) return kNone;
  }
  if (fn == Fn::kGcd || fn == Fn::kLcm) {
    NodeId of_polynomials = polynomial_gcd(t_, fn == Fn::kLcm, arguments);
    if (of_polynomials != kNone) {
      leave();
      return power == kNone ? of_polynomials : t_.add(Op::kPow, {of_polynomials, power});
    }
  }
  if (cis) {  // cos x + i sin x
    const NodeId imaginary = t_.add(Op::kMul, {t_.add(Op::kI, {}), t_.function(Fn::kSin, {arguments[0]})});
    const NodeId value = t_.add(Op::kAdd, {t_.function(Fn::kCos, {arguments[0]}), imaginary});
    leave();
    return power == kNone ? value : t_.add(Op::kPow, {value, power});
  }
  if (common_log) arguments.push_back(base == kNone ? t_.integer(10) : base);
  NodeId value = t_.add(Op::kFunction, arguments, static_cast<uint8_t>(fn));
  leave();
  return power == kNone ? value : t_.add(Op::kPow, {value, power});
}

// kNone on failure, anything else is fine; the arguments go into `arguments`.
NodeId Parser::function_argument(Fn fn, std::vector<NodeId>& arguments) {
  bool bracket = at('(') || at('[') || (at(kOpenSet) && takes_several(fn)) || (at('{') && takes_several(fn));
  if (bracket) {
    int open = peek().code;
    at_++;
    Items list;
    int outer_bars = bars_;
    bars_ = 0;
    bool ok = items(list);
    bars_ = outer_bars;
    if (!ok) return kNone;
    int closing = kCloseSet;
    if (open == '(') closing = ')';
    if (open == '[') closing = ']';
    if (open == '{') closing = '}';
    if (!close(closing)) return kNone;
    arguments = list.flat();
    if (arguments.empty() || (arguments.size() > 1 && !takes_several(fn)))
      return fail("a function with other arguments");
    return arguments[0];
  }
  bool minus = false;
  while (at('-') || at('+')) {
    minus ^= at('-');
    at_++;
  }
  std::vector<NodeId> factors;
  do {
    if (!factors.empty() && peek().kind == Tok::kFunction) break;
    NodeId factor = power();
    if (factor == kNone) return kNone;
    factors.push_back(factor);
    if (differential_ && peek().kind == Tok::kLetter && peek().text == "d") break;
  } while (starts_operand());
  for (NodeId& f : factors) f = grouped(f);
  NodeId value = factors.size() == 1 ? factors[0] : t_.add(Op::kMul, factors);
  arguments = {minus ? t_.add(Op::kNeg, {value}) : value};
  return arguments[0];
}

// \sum_{k=1}^{n} body
NodeId Parser::repeated(Op op) {
  if (!enter()) return kNone;
  NodeId from = kNone, to = kNone;
  std::string variable;
  for (int i = 0; i < 2; i++) {
    if (take('_')) {
      bool group = take('{');
      if (peek().kind != Tok::kLetter || !at('=', 1)) return fail("a sum without a variable");
      variable = peek().text;
      at_ += 2;
      from = group ? sum() : argument();
      if (from == kNone || (group && !close('}'))) return kNone;
    } else if (take('^')) {
      to = peek().kind == Tok::kNumber ? number() : argument();
      if (to == kNone) return kNone;
    }
  }
  if (from == kNone || to == kNone) return fail("a sum without limits");
  bound_.push_back(variable);
  NodeId body = product();
  bound_.pop_back();
  if (body == kNone || !in_expression(body) || !in_expression(from) || !in_expression(to)) return kNone;
  leave();
  return t_.add(op, {body, t_.symbol(variable), from, to});
}

NodeId Parser::integral() {
  if (!enter()) return kNone;
  NodeId from = kNone, to = kNone;
  for (int i = 0; i < 2; i++) {
    if (!at('_') && !at('^')) continue;
    bool below = at('_');
    at_++;
    if (at('{') && at('}', 1)) {
      at_ += 2;
      continue;
    }
    NodeId limit = argument();
    if (limit == kNone) return kNone;
    (below ? from : to) = limit;
  }
  std::string variable;
  std::string* outer = differential_;
  differential_ = &variable;
  NodeId body = sum();
  differential_ = outer;
  if (body == kNone) return kNone;
  if (variable.empty()) variable.push_back('x');
  leave();
  body = grouped(body);
  if (!in_expression(body) || (from != kNone && !in_expression(from)) || (to != kNone && !in_expression(to)))
    return kNone;
  NodeId symbol = t_.symbol(variable);
  if (from == kNone || to == kNone) return t_.add(Op::kIntegral, {body, symbol});
  return t_.add(Op::kIntegral, {body, symbol, from, to});
}

NodeId Parser::limit() {
  if (!enter()) return kNone;
  if (!take('_') || !take('{') || peek().kind != Tok::kLetter || !at(kArrowSign, 1))
    return fail("a limit without point");
  NodeId variable = t_.symbol(peek().text);
  at_ += 2;
  NodeId to = at('-') ? signed_factor() : operand();
  if (to == kNone) return kNone;
  if (take('^')) raw_group();  // the side from which it is approached
  if (!close('}')) return kNone;
  NodeId body = product();
  if (body == kNone || !in_expression(body) || !in_expression(to)) return kNone;
  leave();
  return t_.add(Op::kLimit, {body, variable, to});
}

NodeId Parser::environment() {
  std::string env = peek().text;
  at_++;
  if (env == "array" || env == "tabular") {
    if (at('[')) raw_group();
    if (at('{')) raw_group();
  }
  if (!enter()) return kNone;
  NodeId value = matrix_rows(env);
  leave();
  return value;
}

NodeId Parser::matrix_rows(const std::string& env) {
  bool is_matrix = env.find("matrix") != std::string::npos || env == "array";
  if (env.rfind("align", 0) == 0 || env == "split" || env == "gathered") {  // there & only marks a column to align at
    size_t end = at_;
    while (end < tokens_.size() && tokens_[end].kind != Tok::kEnd) end++;
    auto begin = tokens_.begin() + static_cast<std::ptrdiff_t>(at_);
    auto stop = tokens_.begin() + static_cast<std::ptrdiff_t>(end);
    tokens_.erase(std::remove_if(begin, stop, [](const Token& t) { return t.is('&'); }), stop);
  }
  std::vector<NodeId> cells;
  size_t columns = 0, in_row = 0;
  bool outer = in_matrix_, outer_builder = in_builder_;
  in_matrix_ = true;
  in_builder_ = false;
  auto done = [&](NodeId n) {
    in_matrix_ = outer;
    in_builder_ = outer_builder;
    return n;
  };
  for (;;) {
    bool row_ends = at(kRowBreak), all_ends = peek().kind == Tok::kEnd || stopped();
    if (row_ends || all_ends) {
      if (in_row > 0) {
        if (columns == 0) columns = in_row;
        if (is_matrix && in_row != columns) return done(fail("rows of different lengths"));
        in_row = 0;
      }
      at_++;
      if (all_ends) break;
      continue;
    }
    if (take('&')) {
      if (is_matrix && in_row == 0) return done(fail("an empty cell"));
      continue;
    }
    Items cell;
    size_t before = at_;
    if (!items(cell)) return done(kNone);
    if (cell.size() == 0 || at_ == before) return done(fail("an empty cell"));
    if (is_matrix && cell.size() > 1) return done(fail("a list in a cell"));
    for (NodeId n : cell.flat()) cells.push_back(n);
    in_row++;
  }
  if (at_ > tokens_.size() - 1) at_ = tokens_.size() - 1;
  if (cells.empty()) return done(fail("an empty matrix"));
  if (!is_matrix)
    return done(cells.size() == 1 ? cells[0] : t_.add(Op::kList, cells, static_cast<uint8_t>(Joint::kAnd)));
  NodeId matrix = t_.add(Op::kMatrix, cells, 0, static_cast<uint32_t>(columns));
  return done(env == "vmatrix" ? determinant(matrix) : matrix);
}

// Written out along the first row for up to four rows.
NodeId Parser::determinant(NodeId matrix) {
  const uint32_t n = t_[matrix].payload;
  constexpr uint32_t kMaxRows = 4;
  if (n == 0 || n > kMaxRows || t_.count(matrix) != n * n || t_.full()) return t_.function(Fn::kDeterminant, {matrix});
  if (n == 1) return t_.kid(matrix, 0);
  std::vector<NodeId> terms;
  for (uint32_t c = 0; c < n; c++) {
    std::vector<NodeId> rest;
    for (uint32_t i = n; i < n * n; i++) {
      if (i % n != c) rest.push_back(t_.kid(matrix, i));
    }
    const NodeId minor = determinant(t_.add(Op::kMatrix, rest, 0, n - 1));
    const NodeId term = t_.add(Op::kMul, {t_.kid(matrix, c), minor});
    terms.push_back(c % 2 == 0 ? term : t_.add(Op::kNeg, {term}));
  }
  return t_.add(Op::kAdd, terms);
}

}  // namespace fulmen::reward::math
