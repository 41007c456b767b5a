#pragma once
// The parser's own: shared by parser.cc (values), parser_expression.cc (sums to powers), parser_operand.cc (what stands
// for itself) and parser_function.cc (functions, sums, integrals, matrices).

#include <string>
#include <utility>
#include <vector>

#include "reward/math/lexer.h"
#include "reward/math/parser.h"

namespace fulmen::reward::math {

// parser_prepare.cc: what is easier seen in the tokens than in a grammar.
// ]1, 2[ becomes (1, 2).
void turn_french_brackets(std::vector<Token>& tokens);
// P(X = 1), E[X], f(2) before an equals sign become one name.
void merge_named_quantities(std::vector<Token>& tokens);
std::string currency(const Token& t);     // of a dollar sign and its like: the unit
std::string temperature(const Token& t);  // "celsius", "fahrenheit" for what may follow a degree sign, or ""

class Parser {
 public:
  Parser(Tree& tree, std::vector<Token>& tokens, const Profile& profile, std::string& why)
      : t_(tree), tokens_(tokens), profile_(profile), why_(why) {}

  NodeId answer();       // everything up to the end
  NodeId text_answer();  // all tokens as folded text; kNone when there is no word among them

 private:
  struct Items {
    std::vector<std::vector<NodeId>> groups{{}};
    size_t commas = 0, semicolons = 0, ors = 0, ands = 0;
    size_t size() const;
    std::vector<NodeId> flat() const;
  };

  // parser.cc: values
  bool items(Items& list);
  NodeId bare_list(const Items& list);
  NodeId relation();
  NodeId ratio();
  NodeId set_expression();
  NodeId with_unit();
  NodeId unit_behind(NodeId value);
  NodeId words();
  NodeId bracketed(int open);
  NodeId set_braces();
  NodeId plain_braces();
  NodeId real_element(NodeId n) const;
  bool is_relation_sign(const Token& t, Rel& rel) const;

  // parser_expression.cc
  NodeId sum();
  NodeId product();
  NodeId signed_factor();
  NodeId juxtaposed();
  bool names_a_point(const std::vector<NodeId>& factors) const;
  NodeId mixed_or_product(std::vector<NodeId>& factors, const std::vector<bool>& is_frac);
  NodeId grouped(NodeId n) const;
  bool in_expression(NodeId n);  // a scalar or a matrix; else fails
  NodeId power();
  NodeId postfix(NodeId base);
  NodeId exponent();
  NodeId raised(NodeId base);
  NodeId degrees(NodeId base);
  NodeId subscripted(NodeId base);
  std::string raw_group();
  bool starts_operand() const;

  // parser_operand.cc
  NodeId operand();
  NodeId number();
  NodeId letter();
  NodeId sign_operand();
  NodeId absolute(int close);
  NodeId rounded(Fn fn, int close);
  NodeId accent();
  NodeId named_set();

  // parser_function.cc
  NodeId argument();  // of \frac and its like: a group or one character
  NodeId fraction();
  NodeId derivative(const std::string& variable, bool partial);
  NodeId root();
  NodeId function();
  NodeId function_argument(Fn fn, std::vector<NodeId>& arguments);
  NodeId repeated(Op op);
  NodeId integral();
  NodeId limit();
  NodeId environment();
  NodeId matrix_rows(const std::string& env);
  NodeId determinant(NodeId matrix);

  // state
  const Token& peek(size_t ahead = 0) const {
    return tokens_[at_ + ahead < tokens_.size() ? at_ + ahead : tokens_.size() - 1];
  }
  bool at(int sign, size_t ahead = 0) const { return peek(ahead).is(sign); }
  bool take(int sign);
  bool close(int sign);  // takes it; at the end of the text that is enough where the profile says so
  bool stopped() const { return peek().kind == Tok::kStop; }
  NodeId fail(const char* why);
  bool enter();
  void leave() { depth_--; }

  Tree& t_;
  std::vector<Token>& tokens_;
  const Profile& profile_;
  std::string& why_;
  size_t at_ = 0;
  int depth_ = 0;
  int bars_ = 0;             // open plain |
  bool in_builder_ = false;  // the bar and the colon end the element
  bool in_matrix_ = false;
  std::vector<std::string> bound_;       // variables of sums
  std::string* differential_ = nullptr;  // inside an integral: where its variable goes
};

}  // namespace fulmen::reward::math
