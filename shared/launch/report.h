#pragma once
// `fulmen report RUN`: the run as one HTML page that needs no network: RUN/report.html.

#include <string>
#include <vector>

namespace fulmen::launch {

const char* report_page();  // report_page.html with __DATA__ where the run's JSON goes

std::string render_report(const std::string& run_dir);

int run_report(const std::vector<std::string>& words);

}  // namespace fulmen::launch
