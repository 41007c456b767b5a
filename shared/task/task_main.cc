// fulmen-task: `fulmen task list | generate | verify`.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>

#include "shared/base/config.h"
#include "shared/base/log.h"
#include "shared/base/program.h"
#include "shared/task/records.h"
#include "shared/task/task.h"

namespace {

using namespace fulmen;

void print_line(const std::string& line) {
  std::fputs(line.c_str(), stdout);
  std::fputc('\n', stdout);
}

void list_tasks() {
  print_line(fmt::format("{:<32}{:<84}{}", "task", "what it asks", "difficulty 1..10 moves"));
  for (const task::Task* t : task::all_tasks())
    print_line(fmt::format("{:<32}{:<84}{}", t->name, t->sentence, t->size_means));
}

const task::Task& known_task(const std::string& name) {
  try {
    return task::find_task(name);
  } catch (const Error& e) {
    throw base::ConfigError(e.what());  // nothing was started: wrong usage
  }
}

struct Generate {
  std::string kind, difficulty = "1..3", split = "train";
  int64_t count = 10, seed = 1, index = 0;
  bool text = false;
};

void generate(const Generate& g) {
  const auto range = base::parse_range(g.difficulty);
  if (!range || range->first < 1 || range->first > range->second || range->second > task::kMaxDifficulty)
    throw base::ConfigError("--difficulty: got " + g.difficulty + ", want N or LOW..HIGH within 1..10");
  const task::Task& t = known_task(g.kind);
  for (int64_t i = g.index; i < g.index + g.count; ++i) {
    const task::Draw draw{static_cast<uint64_t>(g.seed), g.split == "eval", i, range->first, range->second};
    const task::Problem p = task::make_problem(t, draw);
    if (g.text)
      print_line(fmt::format("--- {} {}, difficulty {}, size {}\n{}\n\nanswer:\n{}\n", t.name, i, p.difficulty, p.size,
                             p.prompt, p.answer));
    else
      print_line(task::to_record(t, draw, p).dump());
  }
}

// One verdict a record, in order; returns the number that are not right.
int64_t verify(const std::string& path, const std::string& from, bool summary) {
  std::ifstream file;
  if (path != "-") {
    file.open(path);
    if (!file) throw base::ConfigError("cannot read " + path);
  }
  std::istream& in = path == "-" ? std::cin : file;
  int64_t number = 0, counts[4] = {};
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.empty()) continue;
    const task::LineVerdict v = task::verify_line(line, from);
    ++counts[static_cast<int>(v.kind)];
    if (!summary) print_line(v.json);
    if (v.kind == task::LineVerdict::kError) base::error("{}:{}: {}", path == "-" ? "stdin" : path, number, v.why);
  }
  if (summary)
    print_line(fmt::format("{} right, {} wrong, {} without a readable answer, {} errors", counts[0], counts[1],
                           counts[2], counts[3]));
  return number - counts[0];
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Logic tasks: generators of puzzles and verifiers of their answers", "fulmen"};
  CLI::App* verb = app.add_subcommand("task", "puzzles with verifiers");
  app.require_subcommand(1);
  verb->require_subcommand(1);
  verb->add_subcommand("list", "every kind of task")->callback(list_tasks);

  Generate g;
  CLI::App* make = verb->add_subcommand("generate", "print problems as JSONL records");
  make->add_option("--kind,kind", g.kind, "task; fulmen task list shows them")->required();
  make->add_option("--count", g.count, "problems to print")->check(CLI::Range(int64_t{0}, int64_t{1000000000}));
  make->add_option("--seed", g.seed, "the same seed gives the same problems")->check(CLI::NonNegativeNumber);
  make->add_option("--index", g.index, "of the first problem")->check(CLI::NonNegativeNumber);
  make->add_option("--difficulty", g.difficulty, "N or LOW..HIGH within 1..10");
  make->add_option("--split", g.split, "train or eval")->check(CLI::IsMember({"train", "eval"}));
  make->add_flag("--text", g.text, "for a person to read");
  make->callback([&] { generate(g); });

  std::string path = "-", from = "fulmen";
  bool summary = false;
  CLI::App* check = verb->add_subcommand(
      "verify", "check answers: records with a response, or else an answer or the ground truth, one verdict a line");
  check->add_option("file", path, "JSONL, - for stdin");
  check->add_option("--from", from, "fulmen, or synlogic: records of its generators")
      ->check(CLI::IsMember({"fulmen", "synlogic"}));
  check->add_flag("--summary", summary, "counts only");
  check->callback([&] { verify(path, from, summary); });

  return base::run_program(app, argc, argv);
}
