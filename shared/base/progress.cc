#include "shared/base/progress.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace fulmen::base {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::duration;

constexpr double kRedrawSeconds = 0.1, kPlainLineSeconds = 10.0, kWorthALineSeconds = 2.0;
constexpr int kBarCells = 24;

double seconds_since(Clock::time_point t) { return duration<double>(Clock::now() - t).count(); }

size_t terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string bar(double share) {
  const int full = static_cast<int>(std::lround(share * kBarCells));
  std::string cells;
  for (int i = 0; i < kBarCells; ++i) cells += i < full ? "█" : "░";
  return cells;
}

// Bytes of the longest start of `text` that shows at most `columns` characters: a wrapped line could not be redrawn.
size_t bytes_for_columns(const std::string& text, size_t columns) {
  size_t shown = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool starts_character = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    if (starts_character && ++shown > columns) return i;
  }
  return text.size();
}

}  // namespace

Progress::Progress(std::string title, int64_t total, End end)
    : title_(std::move(title)),
      total_(total),
      end_(end),
      tty_(isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      last_(start_) {}

Progress::~Progress() { finish(); }

void Progress::update(int64_t done, const std::string& detail) {
  done_ = done;
  if (finished_ || seconds_since(last_) < (tty_ ? kRedrawSeconds : kPlainLineSeconds)) return;
  last_ = Clock::now();
  shown_ = true;
  const double elapsed = seconds_since(start_);
  const double share = total_ > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total_), 0.0, 1.0) : 0;
  std::string line = title_ + " ";
  if (tty_ && total_ > 0) line += bar(share) + " ";
  line += total_ > 0 ? fmt::format("{}/{}", done, total_) : fmt::format("{}", done);
  if (share > 0 && share < 1) line += ", " + format_duration(elapsed * (1 - share) / share) + " left";
  if (!detail.empty()) line += ", " + detail;
  if (tty_) {
    line.resize(bytes_for_columns(line, terminal_width() - 1));
    fmt::print(stderr, "\r\033[K{}", line);
    std::fflush(stderr);
  } else {
    fmt::print(stderr, "{}\n", line);
  }
}

void Progress::finish(const std::string& detail) {
  if (finished_) return;
  finished_ = true;
  const double elapsed = seconds_since(start_);
  const bool worth_a_line = end_ == kEndLine && (elapsed >= kWorthALineSeconds || !detail.empty());
  if (tty_ && shown_) fmt::print(stderr, "\r\033[K");
  if (worth_a_line) {
    fmt::print(stderr, "{}: {}{}{}\n", title_, detail, detail.empty() ? "" : ", ", format_duration(elapsed));
  }
  std::fflush(stderr);
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

std::string format_count(double n) {
  static constexpr const char* kUnit[] = {"", " k", " M", " G", " T", " P"};
  if (!std::isfinite(n)) return "?";
  int unit = 0;
  double scaled = n;
  while (std::fabs(scaled) >= 999.5 && unit < 5) {
    scaled /= 1000;
    ++unit;
  }
  return unit == 0 && scaled == std::round(scaled) ? fmt::format("{:.0f}", scaled)
                                                   : fmt::format("{:.1f}{}", scaled, kUnit[unit]);
}

}  // namespace fulmen::base
