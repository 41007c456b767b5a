#pragma once
// One place for messages. Lines go to stderr (people) and, once a role has opened it, to its file under run.dir/logs
// (all levels, with time and role). Includes only fmt/core.h: spdlog stays in log.cc.

#include <fmt/core.h>

#include <string>

namespace fulmen::base {

// role: "learner", "rollout-0" ...; path empty: stderr only. stderr shows info and above unless quiet.
void open_log(const std::string& role, const std::string& path, bool quiet = false);

void log_message(int level, const std::string& text);  // 0 debug 1 info 2 warning 3 error

template <class... A>
void debug(fmt::format_string<A...> f, A&&... a) {
  log_message(0, fmt::format(f, std::forward<A>(a)...));
}
template <class... A>
void info(fmt::format_string<A...> f, A&&... a) {
  log_message(1, fmt::format(f, std::forward<A>(a)...));
}
template <class... A>
void warn(fmt::format_string<A...> f, A&&... a) {
  log_message(2, fmt::format(f, std::forward<A>(a)...));
}
template <class... A>
void error(fmt::format_string<A...> f, A&&... a) {
  log_message(3, fmt::format(f, std::forward<A>(a)...));
}

}  // namespace fulmen::base
