#include "reward/math/expr.h"

#include <algorithm>
#include <utility>

namespace fulmen::reward::math {

Tree::Tree() {
  nodes_.reserve(64);
  kids_.reserve(64);
}

NodeId Tree::add_kids(Op op, const NodeId* kids, size_t count, uint8_t detail, uint32_t payload) {
  Node n;
  n.op = op;
  n.detail = detail;
  n.payload = payload;
  n.first = static_cast<uint32_t>(kids_.size());
  n.count = static_cast<uint32_t>(count);
  kids_.insert(kids_.end(), kids, kids + count);
  nodes_.push_back(n);
  return static_cast<NodeId>(nodes_.size() - 1);
}

NodeId Tree::add(Op op, std::initializer_list<NodeId> kids, uint8_t detail, uint32_t payload) {
  return add_kids(op, kids.begin(), kids.size(), detail, payload);
}

NodeId Tree::add(Op op, const std::vector<NodeId>& kids, uint8_t detail, uint32_t payload) {
  return add_kids(op, kids.data(), kids.size(), detail, payload);
}

NodeId Tree::number(mpq_class value, uint8_t places) {
  numbers_.push_back(std::move(value));
  return add(Op::kNumber, {}, places, static_cast<uint32_t>(numbers_.size() - 1));
}

NodeId Tree::integer(long value) { return number(mpq_class(value)); }

uint32_t Tree::intern(std::string_view name) {
  auto found = std::find(names_.begin(), names_.end(), name);
  if (found == names_.end()) {
    names_.emplace_back(name);
    return static_cast<uint32_t>(names_.size() - 1);
  }
  return static_cast<uint32_t>(found - names_.begin());
}

uint32_t Tree::signs(std::vector<Rel> signs) {
  signs_.push_back(std::move(signs));
  return static_cast<uint32_t>(signs_.size() - 1);
}

std::vector<NodeId> Tree::kids(NodeId n) const {
  auto begin = kids_.begin() + nodes_[n].first;
  return std::vector<NodeId>(begin, begin + nodes_[n].count);
}

bool is_scalar(Op op) { return op < Op::kTuple; }

bool same_tree(const Tree& t, NodeId a, NodeId b) {
  if (a == b) return true;
  const Node &x = t[a], &y = t[b];
  if (x.op != y.op || x.count != y.count) return false;
  switch (x.op) {
    case Op::kNumber:
      return t.value(a) == t.value(b);
    case Op::kRelation:
      if (t.signs_of(a) != t.signs_of(b)) return false;
      break;
    default:
      if (x.detail != y.detail || x.payload != y.payload) return false;
  }
  for (uint32_t i = 0; i < x.count; i++) {
    if (!same_tree(t, t.kid(a, i), t.kid(b, i))) return false;
  }
  return true;
}

namespace {

constexpr const char* kFnNames[] = {"sin",       "cos",
                                    "tan",       "cot",
                                    "sec",       "csc",
                                    "arcsin",    "arccos",
                                    "arctan",    "arccot",
                                    "arcsec",    "arccsc",
                                    "sinh",      "cosh",
                                    "tanh",      "coth",
                                    "sech",      "csch",
                                    "arsinh",    "arcosh",
                                    "artanh",    "exp",
                                    "ln",        "log",
                                    "abs",       "floor",
                                    "ceil",      "gcd",
                                    "lcm",       "max",
                                    "min",       "mod",
                                    "factorial", "double factorial",
                                    "binomial",  "conjugate",
                                    "sign",      "det",
                                    "Re",        "Im",
                                    "arg"};
constexpr const char* kRelNames[] = {" = ",  " != ",     " < ",         " <= ",          " > ",  " >= ", " ~ ",
                                     " in ", " not in ", " subset of ", " superset of ", " -> ", " == "};

class Speller {
 public:
  explicit Speller(const Tree& t) : t_(t) {}

  void spell(NodeId n) {
    constexpr size_t kMaxSpelled = 4000;
    if (out.size() > kMaxSpelled) return;
    const Node& node = t_[n];
    switch (node.op) {
      case Op::kNumber:
        out += t_.value(n).get_str();
        return;
      case Op::kSymbol:
        out += t_.name(n);
        return;
      case Op::kText:
        out += '"' + t_.name(n) + '"';
        return;
      case Op::kPi:
        out += "pi";
        return;
      case Op::kE:
        out += "e";
        return;
      case Op::kI:
        out += "i";
        return;
      case Op::kInfinity:
        out += "oo";
        return;
      case Op::kNamedSet:
        out += node.detail == '0' ? "{}" : std::string(1, static_cast<char>(node.detail)) + "-set";
        return;
      case Op::kAdd:
        return joined(n, "(", " + ", ")");
      case Op::kMul:
        return joined(n, "(", "*", ")");
      case Op::kDiv:
        return joined(n, "(", "/", ")");
      case Op::kPow:
        return joined(n, "(", "^", ")");
      case Op::kFunction:
        return joined(n, std::string(kFnNames[node.detail]) + "(", ", ", ")");
      case Op::kApply:
        return joined(n, t_.name(n) + "(", ", ", ")");
      case Op::kUnit:
        return joined(n, "", "", " " + t_.name(n));
      case Op::kBased:
        return joined(n, t_.name(n) + " base ", "", "");
      case Op::kTuple:
        return joined(n, "(", ", ", ")");
      case Op::kInterval:
        return joined(n, node.detail & 1 ? "[" : "(", ", ", node.detail & 2 ? "]" : ")");
      case Op::kVector:
        return joined(n, "[", ", ", "]");
      case Op::kSet:
        return joined(n, "{", ", ", "}");
      case Op::kList:
        return joined(n, "", ", ", "");
      case Op::kRelation:
        for (uint32_t i = 0; i < node.count; i++) {
          if (i > 0) out += kRelNames[static_cast<size_t>(t_.signs_of(n)[i - 1])];
          spell(t_.kid(n, i));
        }
        return;
      default:
        return joined(n, prefix(node.op), ", ", ")");
    }
  }

  std::string out;

 private:
  static std::string prefix(Op op) {
    switch (op) {
      case Op::kNeg:
        return "-(";
      case Op::kRoot:
        return "root(";
      case Op::kPlusMinus:
        return "+-(";
      case Op::kPercent:
        return "percent(";
      case Op::kDegree:
        return "degree(";
      case Op::kSum:
        return "sum(";
      case Op::kProduct:
        return "product(";
      case Op::kIntegral:
        return "integral(";
      case Op::kLimit:
        return "limit(";
      case Op::kDerivative:
        return "derivative(";
      case Op::kUnion:
        return "union(";
      case Op::kIntersection:
        return "intersection(";
      case Op::kDifference:
        return "difference(";
      case Op::kBuilder:
        return "those(";
      case Op::kMatrix:
        return "matrix(";
      default:
        return "ratio(";
    }
  }

  void joined(NodeId n, const std::string& before, const char* between, const std::string& after) {
    out += before;
    for (uint32_t i = 0; i < t_.count(n); i++) {
      if (i > 0) out += between;
      spell(t_.kid(n, i));
    }
    out += after;
  }

  const Tree& t_;
};

}  // namespace

std::string spell(const Tree& t, NodeId n) {
  Speller s(t);
  s.spell(n);
  return std::move(s.out);
}

}  // namespace fulmen::reward::math
