#include "sandboxes/process_scan.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace fulmen::sandboxes {

ProcessScan scan_processes(int proc) {
  ProcessScan scan;
  const int fd = openat(proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* list = fd < 0 ? nullptr : fdopendir(fd);
  if (!list) {
    if (fd >= 0) close(fd);
    return scan;
  }
  static const uint64_t tick_us = 1000000u / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  static const uint64_t page_kb = static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) / 1024;
  while (const dirent* e = readdir(list)) {
    const long pid = std::strtol(e->d_name, nullptr, 10);
    if (pid <= 1) continue;  // 1 is the jailer
    const int file = openat(proc, (std::string(e->d_name) + "/stat").c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    char text[1024];
    const ssize_t n = read(file, text, sizeof text - 1);
    close(file);
    if (n <= 0) continue;
    text[n] = '\0';
    const char* after_name = std::strrchr(text, ')');
    if (!after_name) continue;
    char state = 0;
    unsigned long user = 0, system = 0;
    long child_user = 0, child_system = 0, resident = 0;
    if (std::sscanf(after_name + 1,
                    " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld %*d %*d %*d %*d %*u %*u %ld", &state,
                    &user, &system, &child_user, &child_system, &resident) != 6) {
      continue;
    }
    scan.cpu_us += (user + system + static_cast<unsigned long>(child_user + child_system)) * tick_us;
    scan.resident_kb += static_cast<uint64_t>(resident) * page_kb;
    scan.wants_cpu |= state == 'R' || state == 'D';
    scan.processes++;
  }
  closedir(list);
  return scan;
}

}  // namespace fulmen::sandboxes
