// Passes over the tokens before they are parsed. Each looks a bounded way ahead of a token.
#include <fmt/core.h>

#include "reward/math/parser_state.h"

namespace fulmen::reward::math {
namespace {

bool opens(const Token& t) { return t.is('(') || t.is('{') || t.is(kOpenSet) || t.is(kOpenAbs); }
bool closes(const Token& t) { return t.is(')') || t.is('}') || t.is(kCloseSet) || t.is(kCloseAbs); }

bool is_relation(const Token& t) {
  return t.is('=') || t.is('<') || t.is('>') || (t.kind == Tok::kSign && t.code >= kLe && t.code <= kEquivSign);
}

bool joins_sets(const Token& t) { return t.is(kCup) || t.is(kCap) || t.is(kSetminus); }

bool joins_answers(const Token& t) { return t.is(',') || t.is(';') || t.is(kOrSign) || t.is(kAndSign); }

// Nothing stands before (behind) an interval but these.
bool may_precede(const Token& t) { return is_relation(t) || joins_sets(t) || joins_answers(t) || opens(t); }
bool may_follow(const Token& t) {
  return t.kind == Tok::kStop || t.kind == Tok::kEnd || is_relation(t) || joins_sets(t) || joins_answers(t) ||
         closes(t);
}

// The square bracket that ends an interval begun at `at`, when one separator stands between; 0 for anything else.
size_t end_of_interval(const std::vector<Token>& tokens, size_t at) {
  constexpr size_t kFar = 200;
  int depth = 0, separators = 0;
  for (size_t i = at + 1; i + 1 < tokens.size() && i < at + kFar; i++) {
    const Token& t = tokens[i];
    depth += opens(t) - closes(t);
    if (depth < 0) return 0;
    if (depth > 0) continue;
    separators += t.is(',') || t.is(';');
    if (t.is('[') || t.is(']')) return separators == 1 && may_follow(tokens[i + 1]) ? i : 0;
  }
  return 0;
}

std::string spelled(const Token& t) {
  if (t.kind != Tok::kSign) return t.text;
  return t.code < kFirstSign ? std::string(1, static_cast<char>(t.code)) : fmt::format("#{}", t.code);
}

// The bracket that closes the one at `at`, a few tokens on; 0 when there is none.
size_t partner(const std::vector<Token>& tokens, size_t at) {
  constexpr size_t kFar = 40;
  const int open = tokens[at].code, close = open == '(' ? ')' : ']';
  int depth = 0;
  for (size_t i = at; i < tokens.size() && i < at + kFar; i++) {
    if (tokens[i].is(open)) depth++;
    if (tokens[i].is(close) && --depth == 0) return i;
  }
  return 0;
}

// Whether name(...) with this between the brackets is the name of a quantity: a probability, a value of f.
bool names_quantity(const std::vector<Token>& tokens, size_t head, size_t open, size_t close) {
  const Token& name = tokens[head];
  if (name.kind == Tok::kWord) return close > open + 1;  // Var(X)
  const bool function = tokens[open].is('(') && (name.text == "f" || name.text == "g" || name.text == "h");
  if (function && close == open + 2) return tokens[open + 1].kind == Tok::kNumber;
  if (name.text.size() != 1) return false;
  for (size_t i = open + 1; i < close; i++) {
    const Token& t = tokens[i];
    if (is_relation(t) || t.is('|') || t.is(kCup) || t.is(kCap) || t.is(kNegateSign) || t.is('\'') ||
        t.kind == Tok::kWord || t.kind == Tok::kAccent)
      return true;
  }
  return name.text == "E" && close == open + 2 && tokens[open + 1].kind == Tok::kLetter;
}

}  // namespace

void turn_french_brackets(std::vector<Token>& tokens) {
  for (size_t i = 0; i + 1 < tokens.size(); i++) {
    if (!tokens[i].is('[') && !tokens[i].is(']')) continue;
    if (i > 0 && !may_precede(tokens[i - 1])) continue;
    const size_t end = end_of_interval(tokens, i);
    if (end == 0) continue;
    if (tokens[i].is(']')) tokens[i].code = '(';
    if (tokens[end].is('[')) tokens[end].code = ')';
    i = end;
  }
}

void merge_named_quantities(std::vector<Token>& tokens) {
  for (size_t i = 0; i + 4 < tokens.size(); i++) {
    const Token& name = tokens[i];
    if ((name.kind != Tok::kLetter && name.kind != Tok::kWord) || (i > 0 && !joins_answers(tokens[i - 1]))) continue;
    if (!tokens[i + 1].is('(') && !tokens[i + 1].is('[')) continue;
    const size_t close = partner(tokens, i + 1);
    if (close == 0 || !(tokens[close + 1].is('=') || tokens[close + 1].is(kApproxSign))) continue;
    if (!names_quantity(tokens, i, i + 1, close)) continue;
    Token merged = name;
    merged.kind = Tok::kLetter;
    for (size_t k = i + 1; k <= close; k++) merged.text += spelled(tokens[k]);
    tokens[i] = merged;
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                 tokens.begin() + static_cast<std::ptrdiff_t>(close) + 1);
  }
}

std::string currency(const Token& t) {
  return t.text.empty() || t.text == "dollar"      ? "dollar"
         : t.text == "pounds" || t.text == "pound" ? "sterling"
                                                   : t.text;
}

std::string temperature(const Token& t) {
  if (t.text == "C" || t.text == "Celsius" || t.text == "celsius") return "celsius";
  return t.text == "F" || t.text == "Fahrenheit" || t.text == "fahrenheit" ? "fahrenheit" : "";
}

}  // namespace fulmen::reward::math
