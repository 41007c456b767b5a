#include "reward/math/parser.h"

#include <algorithm>
#include <unordered_map>

#include "reward/math/parser_state.h"
#include "reward/math/units.h"

namespace fulmen::reward::math {

NodeId Parser::fail(const char* why) {
  if (why_.empty()) why_ = why;
  return kNone;
}

bool Parser::take(int sign) {
  if (!at(sign)) return false;
  at_++;
  return true;
}

bool Parser::close(int sign) {
  if (take(sign)) return true;
  if (stopped() && profile_.closes_braces) return true;
  fail("a bracket is not closed");
  return false;
}

bool Parser::enter() {
  if (depth_ >= kMaxDepth || t_.full()) {
    fail(t_.full() ? "too many parts" : "nested too deep");
    return false;
  }
  depth_++;
  return true;
}

size_t Parser::Items::size() const {
  size_t n = 0;
  for (const auto& g : groups) n += g.size();
  return n;
}

std::vector<NodeId> Parser::Items::flat() const {
  std::vector<NodeId> all;
  for (const auto& g : groups) all.insert(all.end(), g.begin(), g.end());
  return all;
}

NodeId Parser::answer() {
  Items list;
  if (!items(list)) return kNone;
  if (!stopped()) return fail("more than an answer");
  if (list.size() == 0) return fail("empty");
  return bare_list(list);
}

// Elements up to a token that separates nothing.
bool Parser::items(Items& list) {
  if (!enter()) return false;
  auto skip_words = [&] {
    while (take(kOrSign) || take(kAndSign)) {
    }
  };
  skip_words();
  for (;;) {
    const Token& t = peek();
    bool ends = t.kind == Tok::kStop || t.kind == Tok::kEnd || t.is(')') || t.is(']') || t.is('}') || t.is(kCloseSet) ||
                t.is('&') || (t.is(kRowBreak) && in_matrix_);
    if (ends) break;
    if (t.is(',') || t.is(';')) {
      fail("an empty element");
      return false;
    }
    NodeId element = relation();
    if (element == kNone) return false;
    list.groups.back().push_back(element);
    if (take(',')) {
      list.commas++;
      skip_words();
    } else if (take(';') || (!in_matrix_ && take(kRowBreak))) {
      list.semicolons++;
      list.groups.emplace_back();
      skip_words();
    } else if (take(kOrSign)) {
      list.ors++;
      list.groups.emplace_back();
      skip_words();
    } else if (take(kAndSign)) {
      list.ands++;
      skip_words();
    } else {
      break;
    }
  }
  while (list.groups.size() > 1 && list.groups.back().empty()) list.groups.pop_back();
  leave();
  return true;
}

NodeId Parser::bare_list(const Items& list) {
  if (list.size() == 1) return list.flat()[0];
  size_t width = list.groups[0].size();
  bool even = std::all_of(list.groups.begin(), list.groups.end(), [&](const auto& g) { return g.size() == width; });
  bool only_or = list.ors > 0 && list.commas + list.semicolons + list.ands == 0;
  bool only_and = list.ands > 0 && list.commas + list.semicolons + list.ors == 0;
  Joint joint = only_or ? Joint::kOr : only_and ? Joint::kAnd : Joint::kComma;
  if (list.groups.size() == 1 || !even || width < 2) return t_.add(Op::kList, list.flat(), static_cast<uint8_t>(joint));
  std::vector<NodeId> tuples;
  for (const auto& g : list.groups) tuples.push_back(t_.add(Op::kTuple, g));
  return t_.add(Op::kList, tuples, static_cast<uint8_t>(joint));
}

bool Parser::is_relation_sign(const Token& t, Rel& rel) const {
  if (t.kind != Tok::kSign) return false;
  static const std::unordered_map<int, Rel> kSigns{{'=', Rel::kEq},
                                                   {kNe, Rel::kNe},
                                                   {'<', Rel::kLt},
                                                   {kLe, Rel::kLe},
                                                   {'>', Rel::kGt},
                                                   {kGe, Rel::kGe},
                                                   {kApproxSign, Rel::kApprox},
                                                   {kInSign, Rel::kIn},
                                                   {kNotInSign, Rel::kNotIn},
                                                   {kSubsetSign, Rel::kSubset},
                                                   {kSupersetSign, Rel::kSuperset},
                                                   {kArrowSign, Rel::kArrow},
                                                   {kEquivSign, Rel::kEquiv}};
  auto found = kSigns.find(t.code);
  if (found == kSigns.end()) return false;
  rel = found->second;
  return true;
}

NodeId Parser::relation() {
  Rel rel;
  while (at(kApproxSign) || at('=')) at_++;  // "= 5", "about 5"
  NodeId first = ratio();
  if (first == kNone) return kNone;
  if (!is_relation_sign(peek(), rel)) return first;
  std::vector<NodeId> chain{first};
  std::vector<Rel> signs;
  while (is_relation_sign(peek(), rel)) {
    at_++;
    NodeId next = ratio();
    if (next == kNone) return kNone;
    signs.push_back(rel);
    chain.push_back(next);
  }
  uint32_t index = t_.signs(std::move(signs));
  return t_.add(Op::kRelation, chain, 0, index);
}

NodeId Parser::ratio() {
  size_t begin = at_;
  NodeId first = set_expression();
  if (first == kNone || !at(':') || in_builder_) return first;
  auto two_digits = [&](size_t token) {
    return tokens_[token].kind == Tok::kNumber && tokens_[token].text.size() == 2;
  };
  bool clock = tokens_[begin].kind == Tok::kNumber && tokens_[begin].text.size() <= 2 && at_ == begin + 1;
  std::vector<NodeId> parts{first};
  bool led_by_zero = false;
  while (take(':')) {
    led_by_zero |= peek().kind == Tok::kNumber && peek().text.size() == 2 && peek().text[0] == '0';
    clock = clock && at_ < tokens_.size() && two_digits(at_);
    NodeId next = set_expression();
    if (next == kNone) return kNone;
    parts.push_back(next);
  }
  uint32_t unit = 0;
  bool has_unit = t_.op(parts.back()) == Op::kUnit;
  if (has_unit) {
    unit = t_[parts.back()].payload;
    parts.back() = t_.kid(parts.back(), 0);
  }
  NodeId ratio = t_.add(Op::kRatio, parts, clock ? (led_by_zero ? 2 : 1) : 0);
  return has_unit ? t_.add(Op::kUnit, {ratio}, 0, unit) : ratio;
}

NodeId Parser::set_expression() {
  constexpr int kMaxSets = 64;  // they nest in the tree
  NodeId left = with_unit();
  for (int sets = 0; left != kNone && (at(kCup) || at(kCap) || at(kSetminus)); sets++) {
    if (sets > kMaxSets) return fail("too many sets");
    Op op = at(kCup) ? Op::kUnion : at(kCap) ? Op::kIntersection : Op::kDifference;
    at_++;
    NodeId right = with_unit();
    if (right == kNone || (is_scalar(t_.op(left)) && is_scalar(t_.op(right))))
      return fail("no sets where sets should stand");
    left = t_.add(op, {left, right});
  }
  return left;
}

NodeId Parser::with_unit() {
  if (peek().kind == Tok::kWord) return words();
  NodeId value = sum();
  return value == kNone ? kNone : unit_behind(value);
}

// Words behind a value: a unit, a scale, "percent", "degrees".
NodeId Parser::unit_behind(NodeId value) {
  std::string unit;
  bool any = false;
  for (;; at_++) {
    const Token& t = peek();
    if (t.kind == Tok::kWord) {
      std::string word = t.text;
      if (!any && (word == "percent" || word == "percentage" || word == "pct")) {
        value = t_.add(Op::kPercent, {value});
        any = true;
        continue;
      }
      mpq_class scale = scale_word(word);
      if (!any && scale != 0) {
        value = t_.add(Op::kMul, {value, t_.number(scale)});
        continue;
      }
      const std::string scale_name = temperature(t);
      if (!any && t_.op(value) == Op::kDegree && !scale_name.empty()) {
        value = t_.kid(value, 0);
        word = scale_name;
      }
      if (is_no_unit(word)) return fail("words that are no unit");
      if (!unit.empty()) unit += ' ';
      unit += word;
      any = true;
    } else if (t.is(kDollarSign) && !any) {
      unit = currency(t);
      any = true;
    } else if (any && !unit.empty() && t.is('^') && (peek(1).kind == Tok::kNumber || at('{', 1))) {
      size_t digit = at('{', 1) ? 2 : 1;
      if (peek(digit).kind != Tok::kNumber || (digit == 2 && !at('}', 3))) break;
      unit += "^" + peek(digit).text;
      at_ += digit == 2 ? 3 : 1;
    } else if (any && (t.is('/') || t.is('-')) && (peek(1).kind == Tok::kWord || peek(1).kind == Tok::kLetter)) {
      unit += t.is('/') ? " per" : "";
    } else if (any && t.kind == Tok::kLetter && !peek(1).is('=')) {
      if (!unit.empty()) unit += ' ';
      unit += t.text;
    } else if (any && t.is('\'')) {
      continue;
    } else {
      break;
    }
    constexpr size_t kMaxUnit = 80;
    if (unit.size() > kMaxUnit) return fail("prose behind the answer");
  }
  if (unit.empty()) return value;
  std::string folded = fold_unit(unit);
  if (folded == "degree") return t_.add(Op::kDegree, {value});
  if (folded.empty()) return value;
  return t_.add(Op::kUnit, {value}, 0, t_.intern(folded));
}

// Words where a value could stand: the name of something, or an answer in words.
NodeId Parser::words() {
  size_t begin = at_;
  if (peek(1).is('_') && peek().in_text) {  // A5_{11}: digits of a base above ten
    NodeId name = t_.text(peek().text);
    at_ += 2;
    NodeId base = argument();
    if (base == kNone) return kNone;
    return t_.add(Op::kBased, {base}, 0, t_[name].payload);
  }
  std::string first = peek().text;
  std::transform(first.begin(), first.end(), first.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if ((first == "approximately" || first == "about" || first == "roughly" || first == "around") &&
      peek(1).kind != Tok::kWord && peek(1).kind != Tok::kStop) {
    at_++;
    return with_unit();
  }
  for (;; at_++) {
    const Token& t = peek();
    bool part = t.kind == Tok::kWord || t.kind == Tok::kNumber || t.kind == Tok::kLetter || t.is('-') || t.is('/') ||
                t.is('\'') || t.is(kInSign) || t.is('&');
    if (!part || (in_matrix_ && t.is('&'))) break;
  }
  std::string folded = fold_words(tokens_, begin, at_);
  return phrase(t_, folded);
}

NodeId Parser::text_answer() {
  bool any_word = false;
  for (const Token& t : tokens_) any_word |= t.kind == Tok::kWord && (t.text.size() > 1 || t.in_text);
  if (!any_word) return kNone;
  std::string folded = fold_words(tokens_, 0, tokens_.size());
  constexpr size_t kMaxText = 400;
  if (folded.empty() || folded.size() > kMaxText) return kNone;
  return phrase(t_, folded);
}

NodeId Parser::bracketed(int open) {
  Items list;
  bool outer_matrix = in_matrix_, outer_builder = in_builder_;
  int outer_bars = bars_;
  in_matrix_ = in_builder_ = false;
  bars_ = 0;
  bool ok = items(list);
  in_matrix_ = outer_matrix;
  in_builder_ = outer_builder;
  bars_ = outer_bars;
  if (!ok) return kNone;
  bool round_close = at(')');
  if (!round_close && !at(']')) {
    if (!close(open == '(' ? ')' : ']')) return kNone;
    round_close = open == '(';
  } else {
    at_++;
  }
  std::vector<NodeId> all = list.flat();
  if (all.empty()) return fail("empty brackets");
  bool round_open = open == '(';
  if (all.size() == 1) return round_open == round_close ? all[0] : fail("brackets do not match");
  if (round_open && round_close) return t_.add(Op::kTuple, all);
  if (all.size() == 2)
    return t_.add(Op::kInterval, all, static_cast<uint8_t>((round_open ? 0 : 1) | (round_close ? 0 : 2)));
  return round_open == round_close ? t_.add(Op::kVector, all) : fail("brackets do not match");
}

NodeId Parser::set_braces() {
  if (take(kCloseSet) || take('}')) return t_.add(Op::kNamedSet, {}, '0');
  Items list;
  bool outer_builder = in_builder_, outer_matrix = in_matrix_;
  int outer_bars = bars_;
  in_builder_ = true;
  in_matrix_ = false;
  bars_ = 0;
  bool ok = items(list);
  in_builder_ = false;
  NodeId built = kNone;
  if (ok && list.size() == 1 && (take('|') || take(':'))) {
    Items condition;
    ok = items(condition) && condition.size() > 0;
    if (ok) built = t_.add(Op::kBuilder, {real_element(list.flat()[0]), bare_list(condition)});
  }
  in_builder_ = outer_builder;
  in_matrix_ = outer_matrix;
  bars_ = outer_bars;
  if (!ok) return fail("a set that is not understood");
  if (!take('}') && !close(kCloseSet)) return kNone;
  if (built != kNone) return built;
  return list.size() == 0 ? fail("an empty set") : t_.add(Op::kSet, list.flat());
}

// x \in \mathbb{R} in front of a condition: x.
NodeId Parser::real_element(NodeId n) const {
  const bool member = t_.op(n) == Op::kRelation && t_.count(n) == 2 && t_.signs_of(n)[0] == Rel::kIn;
  const bool of_reals = member && t_.op(t_.kid(n, 1)) == Op::kNamedSet && t_[t_.kid(n, 1)].detail == 'R';
  return of_reals ? t_.kid(n, 0) : n;
}

// {...}: only a group, or a set when there is more than one element.
NodeId Parser::plain_braces() {
  Items list;
  bool outer_builder = in_builder_, outer_matrix = in_matrix_;
  int outer_bars = bars_;
  in_builder_ = in_matrix_ = false;
  bars_ = 0;
  bool ok = items(list);
  in_builder_ = outer_builder;
  in_matrix_ = outer_matrix;
  bars_ = outer_bars;
  if (!ok || !close('}')) return kNone;
  std::vector<NodeId> all = list.flat();
  if (all.empty()) return fail("empty braces");
  if (all.size() > 1) return t_.add(Op::kSet, all);
  bool lone_structure = t_.op(all[0]) == Op::kSet || t_.op(all[0]) == Op::kMatrix || t_.op(all[0]) == Op::kPlusMinus;
  return lone_structure ? t_.add(Op::kSet, all) : all[0];
}

NodeId parse_answer(Tree& tree, std::string_view text, const Profile& profile, std::string& why) {
  why.clear();
  while (!text.empty() && std::string_view(" \t\r\n*_`\"").find(text.front()) != std::string_view::npos)
    text.remove_prefix(1);
  while (!text.empty() && std::string_view(" \t\r\n*_`\".").find(text.back()) != std::string_view::npos &&
         !text.ends_with("..."))
    text.remove_suffix(1);
  if (text.empty()) {
    why = "empty";
    return kNone;
  }
  std::vector<Token> tokens;
  if (!lex(text, tokens, why)) return kNone;
  turn_french_brackets(tokens);
  merge_named_quantities(tokens);
  Parser parser(tree, tokens, profile, why);
  NodeId root = parser.answer();
  if (root != kNone) return root;
  NodeId words = parser.text_answer();
  if (words != kNone) {
    why.clear();
    return words;
  }
  if (why.empty()) why = "not understood";
  return kNone;
}

}  // namespace fulmen::reward::math
