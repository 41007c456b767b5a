// fulmen-model: models and text on disk. Verbs inspect, import, export, tokenize, convert.

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "shared/base/program.h"
#include "shared/base/progress.h"
#include "shared/model/checkpoint_writer.h"
#include "shared/model/gsm8k_records.h"
#include "shared/model/inspect.h"
#include "shared/model/tokenizer.h"

namespace {

using namespace fulmen;

std::string read_stdin() { return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()}; }

model::CheckpointProgress shown_by(std::unique_ptr<base::Progress>& bar, const std::string& title) {
  return {[&bar, title](int64_t done, int64_t total, const std::string& name) {
    if (!bar) bar = std::make_unique<base::Progress>(title, total);
    bar->update(done, name);
  }};
}

struct Inspect {
  std::string path;
  bool tensors = false, quick = false;

  void declare(CLI::App& app) {
    app.add_option("PATH", path,
                   "a config.json, a directory with one and perhaps weights, a run, or one of its checkpoints")
        ->required();
    app.add_flag("--tensors", tensors, "list every tensor by name instead of groups");
    app.add_flag("--no-digests", quick, "check names and shapes only; do not read the weights");
  }
  void run() const {
    std::unique_ptr<base::Progress> bar;
    const std::string text = model::inspect(path, {tensors, !quick}, shown_by(bar, "reading"));
    bar.reset();
    std::cout << text;
  }
};

// import and export are one copy into the verified original layout; they differ in the dtype they write by default.
struct Copy {
  std::string from, to, dtype;

  void declare(CLI::App& app, const std::string& standard) {
    dtype = standard;
    app.add_option("SRC", from,
                   "config.json and safetensors, original or native names; or a run, or one of its checkpoints")
        ->required();
    app.add_option("DST", to, "directory to write; a checkpoint that is there is replaced once the new one is verified")
        ->required();
    app.add_option("--dtype", dtype, "dtype of the weights: bf16, f32, or keep (bf16 if that loses nothing, else f32)")
        ->check(CLI::IsMember({"bf16", "f32", "keep"}))
        ->capture_default_str();
  }
  void run() const {
    model::FileDType type = dtype == "f32" ? model::FileDType::kF32 : model::FileDType::kBf16;
    if (dtype == "keep") type = model::lossless_dtype(from);
    std::unique_ptr<base::Progress> bar;
    model::copy_checkpoint(from, to, type, shown_by(bar, "writing " + to));
    bar.reset();
    const auto n = model::count_model(model::load_model_config(to));
    std::cout << to << ": " << model::with_commas(n.tensors) << " tensors, " << model::with_commas(n.parameters)
              << " parameters as " << (type == model::FileDType::kF32 ? "f32" : "bf16 with f32 routers")
              << ", read back and equal\n";
  }
};

struct Tokenize {
  std::string tokenizer;
  bool decode = false;

  void declare(CLI::App& app) {
    app.add_option("--tokenizer", tokenizer, "byte, a tokenizer.json or its directory, or m1:MERGES_TXT")->required();
    app.add_flag("--decode", decode, "read one JSON list of ids from standard input and write its text");
  }
  void run() const {
    const auto t = model::load_tokenizer(tokenizer);
    const std::string input = read_stdin();
    if (decode) {
      const auto list = nlohmann::json::parse(input, nullptr, false);
      const bool integers = list.is_array() && std::all_of(list.begin(), list.end(), [](const nlohmann::json& v) {
                              return v.is_number_unsigned() && v.get<uint64_t>() <= INT32_MAX;
                            });
      FULMEN_CHECK(integers, "standard input: want one JSON list of token ids");
      std::cout << t->decode(list.get<std::vector<int32_t>>());
    } else {
      std::cout << nlohmann::json(t->encode(input)).dump() << "\n";
    }
  }
};

struct Convert {
  std::string set, from, to, split = "train";

  void declare(CLI::App& app) {
    app.add_option("SET", set, "gsm8k: {question, answer} a line")->required()->check(CLI::IsMember({"gsm8k"}));
    app.add_option("IN", from, "JSONL as published")->required();
    app.add_option("OUT", to, "JSONL records to write")->required();
    app.add_option("--split", split, "written to extra_info.split")->capture_default_str();
  }
  void run() const {
    const int64_t records = model::convert_gsm8k(from, to, split);
    std::cout << to << ": " << records << " records\n";
  }
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Models and text on disk: look at them, check them, change their form.", "fulmen"};
  app.require_subcommand(1);
  Inspect inspect;
  Copy import, export_;
  Tokenize tokenize;
  Convert convert;
  auto* inspect_verb =
      app.add_subcommand("inspect", "layers, tensors, parameters and bytes; checks weights that are there");
  auto* import_verb = app.add_subcommand("import", "read and check a Hugging Face checkpoint, write it in M1's layout");
  auto* export_verb = app.add_subcommand("export", "write a checkpoint as a Hugging Face directory in M1's layout");
  auto* tokenize_verb = app.add_subcommand("tokenize", "all of standard input as one text, to one JSON list of ids");
  auto* convert_verb = app.add_subcommand("convert", "a published data set into the records a run reads");
  inspect.declare(*inspect_verb);
  import.declare(*import_verb, "keep");
  export_.declare(*export_verb, "bf16");
  tokenize.declare(*tokenize_verb);
  convert.declare(*convert_verb);
  inspect_verb->callback([&] { inspect.run(); });
  import_verb->callback([&] { import.run(); });
  export_verb->callback([&] { export_.run(); });
  tokenize_verb->callback([&] { tokenize.run(); });
  convert_verb->callback([&] { convert.run(); });
  return base::run_program(app, argc, argv, [] {
    std::cout.flush();
    FULMEN_CHECK(std::cout.good(), "standard output: cannot write");
    return 0;
  });
}
