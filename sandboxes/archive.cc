#include "sandboxes/archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

namespace fulmen::sandboxes {
namespace {

bool read_fully(int fd, void* to, size_t n) {
  for (size_t done = 0; done < n;) {
    ssize_t got = read(fd, static_cast<char*>(to) + done, n - done);
    if (got <= 0) {
      if (got < 0 && errno == EINTR) continue;
      if (got == 0) errno = ENODATA;
      return false;
    }
    done += static_cast<size_t>(got);
  }
  return true;
}

bool write_fully(int fd, const void* from, size_t n) {
  for (size_t done = 0; done < n;) {
    ssize_t put = write(fd, static_cast<const char*>(from) + done, n - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return false;
    done += static_cast<size_t>(put);
  }
  return true;
}

bool copy_bytes(int from, int to, uint64_t n) {
  static char buffer[1 << 16];
  while (n > 0) {
    size_t part = n < sizeof buffer ? static_cast<size_t>(n) : sizeof buffer;
    if (!read_fully(from, buffer, part) || !write_fully(to, buffer, part)) return false;
    n -= part;
  }
  return true;
}

bool path_is_safe(const char* path) {
  if (path[0] == '/' || path[0] == '\0') return false;
  for (const char* part = path; part;) {
    const char* end = strchr(part, '/');
    size_t n = end ? static_cast<size_t>(end - part) : strlen(part);
    if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.')) return false;
    part = end ? end + 1 : nullptr;
  }
  return true;
}

bool make_parents(char* path) {
  for (char* slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    bool made = mkdir(path, 0755) == 0 || errno == EEXIST;
    *slash = '/';
    if (!made) return false;
  }
  return true;
}

bool pack(int parent, const char* name, char* path, int depth, int to);

bool pack_children(int directory, char* path, int depth, int to) {
  DIR* list = fdopendir(directory);
  if (!list) {
    close(directory);
    return false;
  }
  bool good = true;
  size_t length = strlen(path);
  while (dirent* e = good ? readdir(list) : nullptr) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    if (length + 1 + strlen(e->d_name) >= kArchivePathMax) continue;
    path[length] = '/';
    strcpy(path + length + 1, e->d_name);
    good = pack(dirfd(list), e->d_name, path, depth + 1, to);
    path[length] = '\0';
  }
  closedir(list);
  return good;
}

bool pack(int parent, const char* name, char* path, int depth, int to) {
  if (depth > kArchiveDepthMax) return true;
  int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno == ELOOP || errno == ENXIO || errno == EACCES;  // a link or what cannot be read
  struct stat s;
  if (fstat(fd, &s) != 0 || (!S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode))) {
    close(fd);
    return true;
  }
  bool directory = S_ISDIR(s.st_mode);
  ArchiveEntry e{static_cast<uint32_t>(strlen(path)), (s.st_mode & 0777u) | (directory ? kArchiveDirectory : 0u),
                 directory ? 0 : static_cast<uint64_t>(s.st_size)};
  bool good = write_fully(to, &e, sizeof e) && write_fully(to, path, e.path_bytes);
  if (directory) return good ? pack_children(fd, path, depth, to) : (close(fd), false);
  good = good && copy_bytes(fd, to, e.size);
  close(fd);
  return good;
}

}  // namespace

bool unpack_archive(int from) {
  for (;;) {
    ArchiveEntry e;
    ssize_t got = read(from, &e, sizeof e);
    if (got == 0) return true;
    if (got != sizeof e || e.path_bytes == 0 || e.path_bytes >= kArchivePathMax) {
      errno = EBADMSG;
      return false;
    }
    char path[kArchivePathMax];
    if (!read_fully(from, path, e.path_bytes)) return false;
    path[e.path_bytes] = '\0';
    if (!path_is_safe(path)) {
      errno = EBADMSG;
      return false;
    }
    if (!make_parents(path)) return false;
    if (e.mode & kArchiveDirectory) {
      if (mkdir(path, e.mode & 0777) != 0 && errno != EEXIST) return false;
      continue;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, e.mode & 0777);
    if (fd < 0) return false;
    bool good = copy_bytes(from, fd, e.size) && fchmod(fd, e.mode & 0777) == 0;
    close(fd);
    if (!good) return false;
  }
}

bool pack_archive(const char* path, int to) {
  char name[kArchivePathMax];
  if (!path_is_safe(path) || strlen(path) >= sizeof name) {
    errno = EINVAL;
    return false;
  }
  strcpy(name, path);
  return pack(AT_FDCWD, path, name, 0, to);
}

}  // namespace fulmen::sandboxes
