#include "shared/base/program.h"

#include <CLI/CLI.hpp>
#include <string>

#include "shared/base/config.h"
#include "shared/base/log.h"

namespace fulmen::base {
namespace {

// ", did you mean --resume?" for a word that no option has.
std::string suggestion(const CLI::App& app, const CLI::Error& e) {
  const std::string what = e.what();
  const std::string word = what.substr(what.rfind(' ') + 1);
  if (e.get_exit_code() != static_cast<int>(CLI::ExitCodes::ExtrasError) || !word.starts_with("--")) return "";
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) names.push_back(option->get_name());
  const std::string near = nearest(word.substr(0, word.find('=')), names);
  return near.empty() ? "" : fmt::format(", did you mean {}?", near);
}

// "error: export: DST is required (fulmen export --help shows how)"
std::string one_line(const CLI::App* app, const CLI::Error& e) {
  std::string words = app->get_name();
  while (!app->get_subcommands().empty()) {
    app = app->get_subcommands().front();
    words += " " + app->get_name();
  }
  return fmt::format("error: {}{} ({} --help shows how)\n", e.what(), suggestion(*app, e), words);
}

}  // namespace

int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body) {
  app.failure_message(one_line);
  try {
    app.parse(argc, argv);
    return body ? body() : 0;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const ConfigError& e) {
    error("{}", e.what());
    return 2;
  } catch (const std::exception& e) {
    error("{}", e.what());
    return 1;
  }
}

}  // namespace fulmen::base
