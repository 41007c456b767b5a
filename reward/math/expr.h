#pragma once
// What an answer is, as a tree: numbers and expressions at the bottom, tuples, lists, sets, intervals, relations,
// matrices and text above them. All nodes of one comparison lie in one Tree, so that names and numbers of both sides
// share their indices.

#include <gmpxx.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace fulmen::reward::math {

enum class Op : uint8_t {
  // Scalars. "kids" are the operands.
  kNumber,  // payload: index of the value; detail: decimal places written (0 for an integer or a fraction)
  kSymbol,  // payload: name
  kPi,
  kE,
  kI,  // imaginary unit
  kInfinity,
  kAdd,  // two or more
  kMul,  // two or more
  kDiv,
  kNeg,
  kPow,
  kRoot,       // radicand, degree; the real root of a real radicand where there is one
  kFunction,   // detail: Fn
  kApply,      // payload: name of an unknown function
  kPlusMinus,  // detail 0: +-, 1: -+; one kid
  kPercent,
  kDegree,      // angle in degrees
  kBased,       // payload: digits as text; first kid: base
  kUnit,        // payload: unit text; one kid
  kSum,         // body, variable, from, to
  kProduct,     // body, variable, from, to
  kIntegral,    // body, variable [, from, to]
  kLimit,       // body, variable, to
  kDerivative,  // body, variable; detail 1: partial
  // Structures.
  kTuple,     // (a, b, ...); two kids may also be an open interval; detail: kChosen, kArranged
  kInterval,  // two kids; detail: bit 0 left end belongs, bit 1 right end belongs; never both clear
  kVector,    // [a, b, c]
  kList,      // bare a, b, c; detail: Joint
  kSet,       // {a, b, c}
  kUnion,
  kIntersection,
  kDifference,
  kNamedSet,  // detail: 'R', 'Z', 'N', 'Q', 'C' or '0' (empty)
  kBuilder,   // {x | condition}: element, condition
  kRelation,  // chain: kids one more than the relation signs; payload: index of the signs
  kMatrix,    // detail unused; payload: columns; kids row by row
  kRatio,     // a : b : c; also a time of day: detail 1, with a zero in front of minutes 2
  kText,      // payload: text, folded
};

enum class Fn : uint8_t {
  kSin,
  kCos,
  kTan,
  kCot,
  kSec,
  kCsc,
  kArcsin,
  kArccos,
  kArctan,
  kArccot,
  kArcsec,
  kArccsc,
  kSinh,
  kCosh,
  kTanh,
  kCoth,
  kSech,
  kCsch,
  kArsinh,
  kArcosh,
  kArtanh,
  kExp,
  kLn,
  kLog,  // kLog: argument, base
  kAbs,
  kFloor,
  kCeil,
  kGcd,
  kLcm,
  kMax,
  kMin,
  kMod,
  kFactorial,
  kDoubleFactorial,
  kBinomial,
  kConjugate,
  kSign,
  kDeterminant,
  kRe,
  kIm,
  kArg
};

// C(5, 2) and P(5, 2): a point with a name, or a number of choices where the other side is a number.
inline constexpr uint8_t kChosen = 1, kArranged = 2;

enum class Joint : uint8_t { kComma, kOr, kAnd };

enum class Rel : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kApprox, kIn, kNotIn, kSubset, kSuperset, kArrow, kEquiv };

using NodeId = uint32_t;
inline constexpr NodeId kNone = static_cast<NodeId>(-1);

struct Node {
  Op op = Op::kNumber;
  uint8_t detail = 0;
  uint32_t payload = 0;
  uint32_t first = 0, count = 0;  // kids, in Tree::kids
};

// Limits of one comparison. What goes beyond is refused, or left undecided.
inline constexpr size_t kMaxAnswerBytes = 8192;
inline constexpr size_t kMaxNodes = 4096;
inline constexpr int kMaxDepth = 120;
inline constexpr size_t kMaxExactBits = 16384;  // of an integer in an exact value

class Tree {
 public:
  Tree();

  NodeId add(Op op, std::initializer_list<NodeId> kids, uint8_t detail = 0, uint32_t payload = 0);
  NodeId add(Op op, const std::vector<NodeId>& kids, uint8_t detail = 0, uint32_t payload = 0);
  NodeId number(mpq_class value, uint8_t places = 0);
  NodeId integer(long value);
  NodeId symbol(std::string_view name) { return add(Op::kSymbol, {}, 0, intern(name)); }
  NodeId text(std::string_view folded) { return add(Op::kText, {}, 0, intern(folded)); }
  NodeId function(Fn fn, std::initializer_list<NodeId> kids) {
    return add(Op::kFunction, kids, static_cast<uint8_t>(fn));
  }
  uint32_t intern(std::string_view name);
  uint32_t signs(std::vector<Rel> signs);

  const Node& operator[](NodeId n) const { return nodes_[n]; }
  NodeId kid(NodeId n, uint32_t i) const { return kids_[nodes_[n].first + i]; }
  std::vector<NodeId> kids(NodeId n) const;
  Op op(NodeId n) const { return nodes_[n].op; }
  uint32_t count(NodeId n) const { return nodes_[n].count; }
  Fn fn(NodeId n) const { return static_cast<Fn>(nodes_[n].detail); }
  const mpq_class& value(NodeId n) const { return numbers_[nodes_[n].payload]; }
  const std::string& name(NodeId n) const { return names_[nodes_[n].payload]; }
  const std::string& name_at(uint32_t i) const { return names_[i]; }
  const std::vector<Rel>& signs_of(NodeId n) const { return signs_[nodes_[n].payload]; }
  size_t size() const { return nodes_.size(); }
  bool full() const { return nodes_.size() >= kMaxNodes; }

 private:
  NodeId add_kids(Op op, const NodeId* kids, size_t count, uint8_t detail, uint32_t payload);

  std::vector<Node> nodes_;
  std::vector<NodeId> kids_;
  std::vector<mpq_class> numbers_;
  std::vector<std::string> names_;
  std::vector<std::vector<Rel>> signs_;
};

// A readable spelling; equal trees have equal spellings.
std::string spell(const Tree& t, NodeId n);

// Equal trees, node by node.
bool same_tree(const Tree& t, NodeId a, NodeId b);

bool is_scalar(Op op);

}  // namespace fulmen::reward::math
