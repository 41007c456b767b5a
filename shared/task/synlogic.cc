#include "shared/task/synlogic.h"

#include <fmt/format.h>

#include <functional>
#include <map>

#include "kernels/error.h"
#include "shared/task/answer.h"
#include "shared/task/expression.h"
#include "shared/task/puzzle.h"

namespace fulmen::task {
namespace {

struct Taken {
  Json puzzle = Json::object();
  std::string gold;
};

std::string cell_text(const Json& v) { return v.is_string() ? v.get<std::string>() : v.dump(); }

// Cells as texts; "X" (blank) becomes `blank`.
Words cells(const Json& metadata, const char* key, const std::string& blank) {
  Words grid;
  for (const Json& row : list_field(metadata, key)) {
    if (!row.is_array()) throw Error(fmt::format("{}: want rows", key));
    grid.emplace_back();
    for (const Json& cell : row) grid.back().push_back(cell_text(cell) == "X" ? blank : cell_text(cell));
  }
  return grid;
}

Json numbers(const Words& grid) {
  Json rows = Json::array();
  for (const auto& row : grid) {
    rows.push_back(Json::array());
    for (const std::string& cell : row) {
      const auto value = integer(cell);
      if (!value) throw Error("a cell is no number: " + cell);
      rows.back().push_back(*value);
    }
  }
  return rows;
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
  return text;
}

Taken text_only(const Json&, const std::string& answer) { return {Json::object(), answer}; }

Taken none_when_empty(const Json&, const std::string& answer) {
  return {Json::object(), list_items(replaced(answer, "\"", "")).empty() ? "none" : answer};
}

Taken arrow_maze(const Json& m, const std::string&) {
  return {{{"grid", cells(m, "maze", "X")}}, grid_text(cells(m, "solution", "X"))};
}

Taken calcudoko(const Json& m, const std::string& answer) {
  Json cages = Json::array();
  for (const Json& region : list_field(m, "regions")) {
    Json places = Json::array();
    for (const std::string& name : text_list(region, "cells")) {  // "(2,1)"
      const auto place = integers(name);
      if (!place || place->size() != 2) throw Error("regions: want cells as (row,column)");
      places.push_back({(*place)[0] - 1, (*place)[1] - 1});
    }
    cages.push_back({{"cells", places},
                     {"op", replaced(text_field(region, "operator"), "÷", "/")},
                     {"target", int_field(region, "target", 0, 1'000'000)}});
  }
  return {{{"n", int_field(m, "grid_size", 1, kMaxSide)}, {"cages", cages}, {"distinct", true}, {"extremes", true}},
          answer};
}

Taken campsite(const Json& m, const std::string&) {
  return {{{"grid", cells(m, "grid", ".")},
           {"row_tents", list_field(m, "row_constraints")},
           {"column_tents", list_field(m, "col_constraints")}},
          grid_text(cells(m, "solution", "."))};
}

Taken cryptarithm(const Json& m, const std::string& answer) {
  const auto words = text_list(m, "letter_words"), operators = text_list(m, "operators");
  if (words.size() != operators.size() + 2) throw Error("letter_words: want one more than terms");
  std::string equation = words[0];
  for (size_t i = 1; i < words.size(); ++i)
    equation += fmt::format(" {} {}", i <= operators.size() ? operators[i - 1] : "=", words[i]);
  return {{{"equation", equation}}, answer};
}

Taken dyck_language(const Json& m, const std::string&) {
  return {{{"sequence", text_field(m, "question_sequence")}}, text_field(m, "full_sequence")};
}

Taken dyck_language_errors(const Json& m, const std::string& answer) {
  return {{{"sequence", text_field(m, "bracket_string")}}, answer};
}

Taken futoshiki(const Json& m, const std::string& answer) {
  const int n = int_field(m, "grid_size", 1, kMaxSide);
  const auto full = read_number_grid(answer, static_cast<size_t>(n), static_cast<size_t>(n));
  if (!full) throw Error("answer: want a grid");
  Numbers given(static_cast<size_t>(n), std::vector<int>(static_cast<size_t>(n)));
  for (const Json& place : list_field(m, "prefilled_coords")) {
    const auto rc = int_tuple(place, "prefilled_coords", 2, 0, n - 1);
    given[static_cast<size_t>(rc[0])][static_cast<size_t>(rc[1])] =
        (*full)[static_cast<size_t>(rc[0])][static_cast<size_t>(rc[1])];
  }
  Json signs = Json::array();
  for (const Json& c : list_field(m, "constraints")) {
    if (!c.is_array() || c.size() != 3) throw Error("constraints: want [cell, cell, sign]");
    const auto a = int_tuple(c[0], "constraints", 2, 0, n - 1), b = int_tuple(c[1], "constraints", 2, 0, n - 1);
    signs.push_back(c[2] == ">" ? Json{a[0], a[1], b[0], b[1]} : Json{b[0], b[1], a[0], a[1]});
  }
  return {{{"grid", given}, {"signs", signs}}, answer};
}

// "nums: (7, 3, 4, 3), ops: ('-', '+', '*')" is ((7-3)+4)*3.
std::string left_to_right(const std::string& solution) {
  const size_t colon = solution.find("ops:");
  if (colon == std::string::npos) return "";
  const auto hand = integers(replaced(solution.substr(0, colon), "nums:", ""));
  const auto operators = pieces(solution.substr(colon + 4));
  if (!hand || hand->size() != operators.size() + 1) return "";
  std::string text = std::to_string((*hand)[0]);
  for (size_t i = 0; i < operators.size(); ++i) text = fmt::format("({}{}{})", text, operators[i], (*hand)[i + 1]);
  return text;
}

Taken game_of_24(const Json& m, const std::string&) {
  const auto solutions = text_list(m, "solutions");
  return {{{"numbers", list_field(m, "numbers")},
           {"operators", join(text_list(m, "operators"), "")},
           {"target", int_field(m, "result", -1'000'000, 1'000'000)}},
          solutions.empty() ? "" : left_to_right(solutions[0])};
}

Taken goods_exchange(const Json& m, const std::string&) {
  std::vector<std::string> quoted;  // (('NAME','THING'),...)
  const std::string after = text_field(m, "owns_after");
  for (size_t at = after.find('\''); at != std::string::npos; at = after.find('\'', at + 1)) {
    const size_t end = after.find('\'', at + 1);
    if (end == std::string::npos) break;
    quoted.push_back(after.substr(at + 1, end - at - 1));
    at = end;
  }
  std::vector<std::string> lines;
  for (size_t i = 0; i + 1 < quoted.size(); i += 2) lines.push_back(fmt::format("{}: {}", quoted[i], quoted[i + 1]));
  return {Json::object(), join(lines, "\n")};
}

Taken kukurasu(const Json& m, const std::string&) {
  return {{{"row_sums", list_field(m, "row_sums")}, {"column_sums", list_field(m, "col_sums")}},
          grid_text(cells(m, "solution", "."))};
}

Taken math_path(const Json& m, const std::string& answer) {
  return {{{"equation", text_field(m, "query_expr")}}, answer};
}

Taken minesweeper(const Json& m, const std::string&) {
  std::vector<std::string> places;
  for (const Json& mine : list_field(m, "current_mines")) {
    const auto rc = int_tuple(mine, "current_mines", 2, 0, kMaxSide);
    places.push_back(fmt::format("({},{})", rc[0] + 1, rc[1] + 1));
  }
  return {{{"grid", cells(m, "revealed_grid", "X")}}, join(places, " ")};
}

Taken norinori(const Json& m, const std::string&) {
  const Words regions = cells(m, "region_grid", "X");
  Words covered;
  for (const auto& row : regions) covered.emplace_back(row.size(), ".");
  for (const Json& domino : list_field(m, "solution")) {
    if (!domino.is_array()) throw Error("solution: want dominoes");
    for (const Json& place : domino) {
      const auto rc = int_tuple(place, "solution", 2, 1, static_cast<int>(regions.size()));
      auto& row = covered[static_cast<size_t>(rc[0] - 1)];
      if (rc[1] > static_cast<int>(row.size())) throw Error("solution: a cell lies outside the grid");
      row[static_cast<size_t>(rc[1] - 1)] = "#";
    }
  }
  return {{{"regions", regions}}, grid_text(covered)};
}

Taken number_wall(const Json& m, const std::string&) {
  return {{{"grid", cells(m, "grid", ".")}}, grid_text(cells(m, "solution", "."))};
}

Taken numbrix(const Json& m, const std::string&) {
  return {{{"grid", numbers(cells(m, "grid", "0"))}}, grid_text(cells(m, "solution", "0"))};
}

// The result is a decimal, rounded when it is long; then the exact value is that of the expression the record carries,
// where that has no powers.
Taken operation(const Json& m, const std::string& answer) {
  auto value = parse_expression(text_field(m, "simplified_expr")).value;
  if (!value && answer.size() - std::min(answer.find('.'), answer.size()) < 10) value = read_fraction(answer);
  if (!value) throw Error("result: got " + answer + ", want one whose exact value is known");
  return {Json::object(), text_of(*value)};
}

Taken skyscraper(const Json& m, const std::string&) {
  const size_t n = static_cast<size_t>(int_field(m, "n", 1, kMaxSide));
  Json puzzle{{"grid", Numbers(n, std::vector<int>(n))}};
  for (const char* side : {"top", "bottom", "left", "right"}) puzzle[side] = list_field(m, side);
  return {puzzle, grid_text(cells(m, "solved_grid", "0"))};
}

Taken star_placement(const Json& m, const std::string& answer) {
  std::string places;  // "A(3,2)": the letter goes
  for (const char c : answer)
    if (c < 'A' || c > 'Z') places += c;
  return {{{"regions", cells(m, "region_grid", "X")}, {"stars", int_field(m, "k", 1, 8)}}, places};
}

Taken sudoku(const Json& m, const std::string& answer) {
  return {{{"grid", numbers(cells(m, "original_sudoku", "0"))}}, answer};
}

Taken survo(const Json& m, const std::string& answer) {
  return {{{"grid", numbers(cells(m, "original_matrix", "0"))}, {"numbers", list_field(m, "candidate_numbers")}},
          answer};
}

using Taker = Taken (*)(const Json& metadata, const std::string& answer);

const std::map<std::string, Taker>& takers() {
  static const std::map<std::string, Taker> all{{"arrow_maze", arrow_maze},
                                                {"boolean_expressions", none_when_empty},
                                                {"buggy_tables", text_only},
                                                {"calcudoko", calcudoko},
                                                {"campsite", campsite},
                                                {"cryptarithm", cryptarithm},
                                                {"dyck_language", dyck_language},
                                                {"dyck_language_errors", dyck_language_errors},
                                                {"dyck_language_reasoning_errors", none_when_empty},
                                                {"futoshiki", futoshiki},
                                                {"game_of_24", game_of_24},
                                                {"goods_exchange", goods_exchange},
                                                {"kukurasu", kukurasu},
                                                {"math_path", math_path},
                                                {"minesweeper", minesweeper},
                                                {"norinori", norinori},
                                                {"number_wall", number_wall},
                                                {"numbrix", numbrix},
                                                {"object_counting", text_only},
                                                {"object_properties", text_only},
                                                {"operation", operation},
                                                {"skyscraper_puzzle", skyscraper},
                                                {"space_reasoning", text_only},
                                                {"space_reasoning_tree", text_only},
                                                {"star_placement_puzzle", star_placement},
                                                {"sudoku", sudoku},
                                                {"survo", survo},
                                                {"time_sequence", text_only},
                                                {"web_of_lies", text_only}};
  return all;
}

}  // namespace

const std::vector<std::string>& synlogic_kinds() {
  static const auto kinds = [] {
    std::vector<std::string> names;
    for (const auto& [name, taker] : takers()) names.push_back(name);
    return names;
  }();
  return kinds;
}

Json import_synlogic(const Json& record) {
  const std::string kind = text_field(record, "task");
  const auto taker = takers().find(kind);
  if (taker == takers().end()) throw Error("SynLogic task " + kind + " cannot be taken over");
  const Json metadata = record.contains("metadata") ? record["metadata"] : Json::object();
  const Json& stored = record.contains("answer") ? record["answer"] : Json();
  const Taken t = taker->second(metadata, stored.is_null() ? "" : cell_text(stored));
  Json out{{"data_source", "logic/" + kind},
           {"reward_model", {{"style", "rule"}, {"ground_truth", t.gold}}},
           {"extra_info", {{"from", "SynLogic"}, {"puzzle", t.puzzle}}}};
  for (const char* key : {"id", "response"})
    if (record.contains(key)) out[key] = record[key];
  if (record.contains("question") && record["question"].is_string())
    out["prompt"] = Json::array({Json{{"role", "user"},
                                      {"content", record["question"].get<std::string>() +
                                                      "\nWrite the final answer between <answer> and </answer>."}}});
  return out;
}

}  // namespace fulmen::task
