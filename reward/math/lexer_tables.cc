// The names that the lexer knows.
#include <unordered_map>
#include <unordered_set>

#include "reward/math/lexer.h"

namespace fulmen::reward::math {
namespace {

using SignTable = std::unordered_map<std::string_view, int>;
using FnTable = std::unordered_map<std::string_view, Fn>;

const SignTable& signs() {
  static const SignTable kSigns{{"le", kLe},
                                {"leq", kLe},
                                {"leqslant", kLe},
                                {"leqq", kLe},
                                {"ge", kGe},
                                {"geq", kGe},
                                {"geqslant", kGe},
                                {"geqq", kGe},
                                {"ne", kNe},
                                {"neq", kNe},
                                {"lt", '<'},
                                {"gt", '>'},
                                {"approx", kApproxSign},
                                {"eq", '='},
                                {"thickapprox", kApproxSign},
                                {"simeq", kApproxSign},
                                {"sim", kApproxSign},
                                {"doteq", kApproxSign},
                                {"in", kInSign},
                                {"isin", kInSign},
                                {"notin", kNotInSign},
                                {"subset", kSubsetSign},
                                {"subseteq", kSubsetSign},
                                {"supset", kSupersetSign},
                                {"supseteq", kSupersetSign},
                                {"to", kArrowSign},
                                {"rightarrow", kArrowSign},
                                {"Rightarrow", kArrowSign},
                                {"longrightarrow", kArrowSign},
                                {"Longrightarrow", kArrowSign},
                                {"implies", kArrowSign},
                                {"mapsto", kArrowSign},
                                {"iff", kArrowSign},
                                {"equiv", kEquivSign},
                                {"cong", kEquivSign},
                                {"cup", kCup},
                                {"bigcup", kCup},
                                {"union", kCup},
                                {"cap", kCap},
                                {"bigcap", kCap},
                                {"setminus", kSetminus},
                                {"backslash", kSetminus},
                                {"smallsetminus", kSetminus},
                                {"pm", kPm},
                                {"mp", kMp},
                                {"infty", kInf},
                                {"inf", kInf},
                                {"infinity", kInf},
                                {"circ", kDegreeSign},
                                {"degree", kDegreeSign},
                                {"degrees", kDegreeSign},
                                {"frac", kFracSign},
                                {"dfrac", kFracSign},
                                {"tfrac", kFracSign},
                                {"cfrac", kFracSign},
                                {"over", kOverSign},
                                {"sqrt", kSqrtSign},
                                {"binom", kBinomSign},
                                {"dbinom", kBinomSign},
                                {"tbinom", kBinomSign},
                                {"choose", kChooseSign},
                                {"mod", kModSign},
                                {"bmod", kModSign},
                                {"lbrace", kOpenSet},
                                {"rbrace", kCloseSet},
                                {"lfloor", kOpenFloor},
                                {"rfloor", kCloseFloor},
                                {"llcorner", kOpenFloor},
                                {"lrcorner", kCloseFloor},
                                {"lceil", kOpenCeil},
                                {"rceil", kCloseCeil},
                                {"ulcorner", kOpenCeil},
                                {"urcorner", kCloseCeil},
                                {"lvert", kOpenAbs},
                                {"rvert", kCloseAbs},
                                {"lVert", kOpenAbs},
                                {"rVert", kCloseAbs},
                                {"vert", '|'},
                                {"mid", '|'},
                                {"Vert", '|'},
                                {"lor", kOrSign},
                                {"vee", kOrSign},
                                {"land", kAndSign},
                                {"wedge", kAndSign},
                                {"emptyset", kEmptySign},
                                {"varnothing", kEmptySign},
                                {"pi", kPiSign},
                                {"exponentialE", kESign},
                                {"imaginaryI", kISign},
                                {"imaginaryJ", kISign},
                                {"sum", kSumSign},
                                {"prod", kProdSign},
                                {"int", kIntSign},
                                {"lim", kLimSign},
                                {"top", kTransposeSign},
                                {"intercal", kTransposeSign},
                                {"variable", kVariableSign},
                                {"dollar", kDollarSign},
                                {"pounds", kDollarSign},
                                {"pound", kDollarSign},
                                {"euro", kDollarSign},
                                {"yen", kDollarSign},
                                {"rupee", kDollarSign},
                                {"won", kDollarSign},
                                {"neg", kNegateSign},
                                {"lnot", kNegateSign},
                                {"ldots", kDotsSign},
                                {"dots", kDotsSign},
                                {"cdots", kDotsSign},
                                {"times", '*'},
                                {"cdot", '*'},
                                {"ast", '*'},
                                {"bullet", '*'},
                                {"div", '/'},
                                {"slash", '/'},
                                {"colon", ':'},
                                {"ratio", ':'},
                                {"prime", '\''},
                                {"lparen", '('},
                                {"rparen", ')'},
                                {"lbrack", '['},
                                {"rbrack", ']'},
                                {"langle", '('},
                                {"rangle", ')'},
                                {"lgroup", '('},
                                {"rgroup", ')'},
                                {"percent", '%'},
                                {"differentialD", kDifferentialSign},
                                {"therefore", 0},
                                {"because", 0},
                                {"displaystyle", 0},
                                {"textstyle", 0},
                                {"scriptstyle", 0},
                                {"limits", 0},
                                {"nolimits", 0},
                                {"underline", 0},
                                {"bf", 0},
                                {"rm", 0},
                                {"it", 0},
                                {"bold", 0},
                                {"boldsymbol", 0},
                                {"mathbf", 0},
                                {"mathit", 0},
                                {"mathcal", 0},
                                {"mathsf", 0},
                                {"bm", 0},
                                {"boxed", 0},
                                {"fbox", 0},
                                {"big", 0},
                                {"Big", 0},
                                {"bigg", 0},
                                {"Bigg", 0},
                                {"bigl", 0},
                                {"bigr", 0},
                                {"Bigl", 0},
                                {"Bigr", 0},
                                {"biggl", 0},
                                {"biggr", 0},
                                {"quad", 0},
                                {"qquad", 0},
                                {"thinspace", 0},
                                {"hfill", 0},
                                {"newline", 0},
                                {"par", 0},
                                {"centering", 0},
                                {"nonumber", 0},
                                {"left", 0},
                                {"right", 0},
                                {"mleft", 0},
                                {"mright", 0},
                                {"middle", 0},
                                {"ensuremath", 0},
                                {"mathord", 0},
                                {"mathopen", 0},
                                {"mathclose", 0},
                                {"mathrel", 0},
                                {"mathbin", 0},
                                {"large", 0},
                                {"Large", 0},
                                {"hline", 0},
                                {"space", 0},
                                {"enspace", 0},
                                {"mathstrut", 0},
                                {"strut", 0},
                                {"R", kNamedSetSign},
                                {"Z", kNamedSetSign},
                                {"N", kNamedSetSign},
                                {"Q", kNamedSetSign},
                                {"C", kNamedSetSign}};
  return kSigns;
}

const FnTable& functions() {
  static const FnTable kFunctions{
      {"sin", Fn::kSin},         {"cos", Fn::kCos},        {"tan", Fn::kTan},        {"tg", Fn::kTan},
      {"cot", Fn::kCot},         {"ctg", Fn::kCot},        {"sec", Fn::kSec},        {"csc", Fn::kCsc},
      {"cosec", Fn::kCsc},       {"arcsin", Fn::kArcsin},  {"arccos", Fn::kArccos},  {"arctan", Fn::kArctan},
      {"arctg", Fn::kArctan},    {"arccot", Fn::kArccot},  {"arcsec", Fn::kArcsec},  {"arccsc", Fn::kArccsc},
      {"asin", Fn::kArcsin},     {"acos", Fn::kArccos},    {"atan", Fn::kArctan},    {"sinh", Fn::kSinh},
      {"cosh", Fn::kCosh},       {"tanh", Fn::kTanh},      {"coth", Fn::kCoth},      {"sech", Fn::kSech},
      {"csch", Fn::kCsch},       {"arsinh", Fn::kArsinh},  {"arcsinh", Fn::kArsinh}, {"asinh", Fn::kArsinh},
      {"arcosh", Fn::kArcosh},   {"arccosh", Fn::kArcosh}, {"acosh", Fn::kArcosh},   {"artanh", Fn::kArtanh},
      {"arctanh", Fn::kArtanh},  {"atanh", Fn::kArtanh},   {"exp", Fn::kExp},        {"ln", Fn::kLn},
      {"log", Fn::kLog},         {"lg", Fn::kLog},         {"abs", Fn::kAbs},        {"floor", Fn::kFloor},
      {"ceil", Fn::kCeil},       {"ceiling", Fn::kCeil},   {"gcd", Fn::kGcd},        {"lcm", Fn::kLcm},
      {"max", Fn::kMax},         {"min", Fn::kMin},        {"sgn", Fn::kSign},       {"sign", Fn::kSign},
      {"det", Fn::kDeterminant}, {"Re", Fn::kRe},          {"Im", Fn::kIm},          {"arg", Fn::kArg},
      {"Arg", Fn::kArg},         {"cis", Fn::kArg}};
  return kFunctions;
}

const std::unordered_set<std::string_view>& letters() {
  static const std::unordered_set<std::string_view> kLetters{
      "alpha",    "beta",     "gamma", "delta",   "epsilon",  "varepsilon", "zeta",    "eta",  "theta",
      "vartheta", "iota",     "kappa", "lambda",  "mu",       "nu",         "xi",      "rho",  "varrho",
      "sigma",    "varsigma", "tau",   "upsilon", "phi",      "varphi",     "chi",     "psi",  "omega",
      "Gamma",    "Delta",    "Theta", "Lambda",  "Xi",       "Sigma",      "Upsilon", "Phi",  "Psi",
      "Omega",    "ell",      "hbar",  "angle",   "triangle", "parallel",   "perp",    "star", "square",
      "diamond",  "partial",  "nabla", "forall",  "exists",   "aleph",      "wp"};
  return kLetters;
}

}  // namespace

bool known_command(std::string_view name, Token& token) {
  auto sign = signs().find(name);
  if (sign != signs().end()) {
    token.kind = Tok::kSign;
    token.code = sign->second;
    if (sign->second == kNamedSetSign || sign->second == kDollarSign) token.text = name;
    return true;
  }
  auto fn = functions().find(name);
  if (fn != functions().end()) {
    token.kind = Tok::kFunction;
    token.code = static_cast<int>(fn->second);
    token.text = name;
    return true;
  }
  if (letters().count(name) == 0) return false;
  token.kind = Tok::kLetter;
  token.text = name;
  return true;
}

bool known_function_word(std::string_view word, Token& token) {
  auto fn = functions().find(word);
  if (fn == functions().end() || word == "sign" || word == "Re" || word == "Im") return false;
  token.kind = Tok::kFunction;
  token.code = static_cast<int>(fn->second);
  token.text = word;
  return true;
}

bool is_short_unit(std::string_view word) {
  static const std::unordered_set<std::string_view> kUnits{
      "km",  "cm",  "mm",  "nm",  "dm",  "kg",  "mg",  "ml",  "mL",  "lb",  "lbs",  "oz",  "ft",   "in",  "yd",
      "mi",  "min", "sec", "hr",  "hrs", "mph", "kph", "sq",  "am",  "pm",  "AM",   "PM",  "GB",   "MB",  "KB",
      "USD", "Hz",  "kHz", "cc",  "rad", "deg", "kW",  "kJ",  "kPa", "Pa",  "mol",  "eV",  "cal",  "gal", "qt",
      "pt",  "no",  "yes", "odd", "one", "two", "six", "ten", "red", "May", "day",  "way", "win",  "Yes", "No",
      "of",  "the", "is",  "are", "all", "any", "not", "NaN", "DNE", "per", "The",  "All", "None", "dog", "cat",
      "car", "Tom", "Ann", "Bob", "Sam", "Joe", "Dan", "Amy", "for", "if",  "when", "mod"};
  return kUnits.count(word) != 0;
}

}  // namespace fulmen::reward::math
