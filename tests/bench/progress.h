#pragma once
// How far the whole run of fulmen-bench is. On a terminal a line on stderr while something is measured, erased before
// a row is printed; elsewhere a line for each table. The time left follows from what tables are known to take, scaled
// by how long those already done took here. Only the main thread calls this.

#include <string>
#include <vector>

namespace fulmen::bench {

struct PlannedTable {
  std::string name;
  double seconds;
};

void plan_progress(std::vector<PlannedTable> tables);  // without it the others do nothing
void begin_table(size_t index);
void show_progress();
void clear_progress();
std::string duration_text(double seconds);  // "42 s", "3 min 5 s"

}  // namespace fulmen::bench
