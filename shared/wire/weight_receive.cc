// The receiver's side of weight_sync.h.

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <thread>

#include "shared/wire/weight_image.h"
#include "shared/wire/weight_layout.h"
#include "shared/wire/weight_sync.h"

namespace fulmen::wire {
namespace {

constexpr size_t kFetchesInFlight = 4;
constexpr int kAskAgainMs = 2000, kLookAgainMs = 20;

using Clock = std::chrono::steady_clock;

struct Target {  // tensor i of the image and where it goes
  uint64_t begin = 0, bytes = 0;
  uint8_t* data = nullptr;
};

// Checks the manifest against itself and lays out its image.
bool lay_out(const WeightsManifest& m, std::vector<Target>& targets, std::string& why) {
  if (to_bytes(root_digest(m)) != m.root()) {
    why = fmt::format("root digest: got {}, the entries give {}", hex_of(m.root()), base::hex(root_digest(m)));
    return false;
  }
  uint64_t end = 0;
  for (const TensorEntry& e : m.tensors()) {
    uint64_t want = 0, begin = 0;
    if (!shape_bytes(e.shape(), e.dtype(), want) || want != e.bytes() || !append_tensor(e.bytes(), begin, end)) {
      why =
          fmt::format("tensor {}: got {} bytes, its shape and dtype {} want {}", e.name(), e.bytes(), e.dtype(), want);
      return false;
    }
    targets.push_back({begin, e.bytes(), nullptr});
  }
  if (end != m.total_bytes()) {
    why = fmt::format("total: got {} bytes, the tensors take {}", m.total_bytes(), end);
    return false;
  }
  return true;
}

bool digests_match(const WeightsManifest& m, const std::vector<Target>& targets, std::string& why) {
  for (size_t i = 0; i < targets.size(); i++) {
    const TensorEntry& e = m.tensors(static_cast<int>(i));
    std::string got = to_bytes(base::digest128(targets[i].data, targets[i].bytes));
    if (got != e.digest()) {
      why = fmt::format("tensor {}: digest of the bytes received is {}, want {}", e.name(), hex_of(got),
                        hex_of(e.digest()));
      return false;
    }
  }
  return true;
}

bool read_shm(const WeightsManifest& m, const std::vector<Target>& targets, std::string& why) {
  const std::string& name = m.place();
  if (name.rfind(kObjectPrefix, 0) != 0 || name.find('/', 1) != std::string::npos) {
    why = "shared memory: got name \"" + name + "\", want " + std::string(kObjectPrefix) + "...";
    return false;
  }
  int fd = shm_open(name.c_str(), O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) {
    why = "shared memory " + name + ": " + std::string(strerror(errno));
    return false;
  }
  struct stat st {};
  bool sized = fstat(fd, &st) == 0 && static_cast<uint64_t>(st.st_size) == m.total_bytes();
  if (!sized) {
    why = fmt::format("shared memory {}: got {} bytes, want {}", name, st.st_size, m.total_bytes());
  } else if (m.total_bytes() > 0) {
    void* p = mmap(nullptr, m.total_bytes(), PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
      why = "shared memory " + name + ": cannot map: " + std::string(strerror(errno));
      sized = false;
    } else {
      for (const Target& t : targets) {
        if (t.bytes > 0) memcpy(t.data, static_cast<const uint8_t*>(p) + t.begin, t.bytes);
      }
      munmap(p, m.total_bytes());
    }
  }
  close(fd);
  return sized;
}

// The file appears under its name when it is whole; a shared file system may show it later here than where it was
// written, or show for a while what stood there before.
class FileReader {
 public:
  FileReader(const WeightsManifest& m, const std::vector<Target>& targets) : manifest_(m), targets_(targets) {}

  bool run(int timeout_ms, std::string& why) {
    const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
    for (;;) {
      const int fd = open(manifest_.place().c_str(), O_RDONLY | O_CLOEXEC);
      const bool here = fd < 0 ? say(strerror(errno)) : header_agrees(fd) && read_all(fd);
      if (fd >= 0) close(fd);
      if (here) return true;
      if (Clock::now() >= deadline) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(kLookAgainMs));
    }
    why = fmt::format("version {}: file {}: {}, and so for {} ms (do both hosts see the same sync.directory?)",
                      manifest_.version(), manifest_.place(), reason_, timeout_ms);
    return false;
  }

 private:
  bool say(std::string reason) {
    reason_ = std::move(reason);
    return false;
  }

  bool header_agrees(int fd) {
    FileHeader h, want;
    if (!read_at(fd, 0, &h, sizeof h)) return false;
    if (memcmp(h.magic, want.magic, sizeof h.magic) != 0) return say("it is no file of weights");
    const std::string root(reinterpret_cast<const char*>(h.root), sizeof h.root);
    if (h.version != manifest_.version() || root != manifest_.root())
      return say(fmt::format("it holds version {} with root {}, want root {}", h.version, hex_of(root),
                             hex_of(manifest_.root())));
    if (h.bytes != manifest_.total_bytes())
      return say(fmt::format("it holds {} bytes, want {}", h.bytes, manifest_.total_bytes()));
    return true;
  }

  bool read_all(int fd) {
    for (const Target& t : targets_)
      if (!read_at(fd, kFileHeader + t.begin, t.data, t.bytes)) return false;
    return true;
  }

  bool read_at(int fd, uint64_t offset, void* to, uint64_t bytes) {
    for (uint64_t done = 0; done < bytes;) {
      const ssize_t n = pread(fd, static_cast<uint8_t*>(to) + done, bytes - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return say(strerror(errno));
      if (n == 0) return say(fmt::format("it ends at byte {}", offset + done));
      done += static_cast<uint64_t>(n);
    }
    return true;
  }

  const WeightsManifest& manifest_;
  const std::vector<Target>& targets_;
  std::string reason_;
};

// Bytes [offset, offset + bytes) of the image to the tensors they belong to.
void place(const std::vector<Target>& targets, uint64_t offset, const void* data, uint64_t bytes) {
  const uint64_t end = offset + bytes;
  auto t = std::partition_point(targets.begin(), targets.end(),
                                [&](const Target& x) { return x.begin + x.bytes <= offset; });
  for (; t != targets.end() && t->begin < end; ++t) {
    const uint64_t from = std::max(offset, t->begin), to = std::min(end, t->begin + t->bytes);
    if (from < to) memcpy(t->data + (from - t->begin), static_cast<const char*>(data) + (from - offset), to - from);
  }
}

// Fetches an image over the wire: kFetchesInFlight chunks asked for and not yet here.
class Fetcher {
 public:
  Fetcher(const WeightsManifest& m, const std::vector<Target>& targets, Client& client, std::vector<Message>& stash)
      : manifest_(m), targets_(targets), client_(client), stash_(stash) {}

  bool run(int timeout_ms, std::string& why) {
    auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
    deadline_unix_ms_ = unix_ms() + timeout_ms;
    auto heard = Clock::now();
    while (next_ < manifest_.total_bytes() || !waiting_.empty()) {
      auto now = Clock::now();
      if (now >= deadline) {
        why = fmt::format("version {}: {} of {} bytes came within {} ms", manifest_.version(), arrived_,
                          manifest_.total_bytes(), timeout_ms);
        return false;
      }
      for (; next_ < manifest_.total_bytes() && waiting_.size() < kFetchesInFlight; next_ += waiting_[next_]) {
        waiting_[next_] = std::min(kChunkBytes, manifest_.total_bytes() - next_);
        ask(next_);
      }
      if (now - heard > std::chrono::milliseconds(kAskAgainMs)) {  // a reconnect loses what was under way
        for (auto& [offset, bytes] : waiting_) ask(offset);
        heard = now;
      }
      auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - now).count();
      Message m;
      if (!client_.receive(m, static_cast<int>(std::min<int64_t>(left, kAskAgainMs)))) continue;
      heard = Clock::now();
      if (!take(m, why)) return false;
    }
    return true;
  }

 private:
  void ask(uint64_t offset) {
    Message m;
    WeightsFetch& fetch = *m.envelope.mutable_weights_fetch();
    fetch.set_version(manifest_.version());
    fetch.set_offset(offset);
    fetch.set_bytes(waiting_[offset]);
    m.envelope.set_deadline_ms(deadline_unix_ms_);
    client_.send(m, 0);  // without room it is asked for again
  }

  bool take(Message& m, std::string& why) {
    if (m.envelope.has_fault()) {
      why = m.envelope.fault().text();
      return false;
    }
    if (!m.envelope.has_weights_chunk()) {
      stash_.push_back(std::move(m));
      return true;
    }
    const WeightsChunk& chunk = m.envelope.weights_chunk();
    auto w = waiting_.find(chunk.offset());
    if (chunk.version() != manifest_.version() || w == waiting_.end())
      return true;  // an old fetch, or one asked for twice
    size_t got = m.frames.empty() ? 0 : m.frames[0].size();
    if (got != w->second) {
      why = fmt::format("version {} offset {}: got a frame of {} bytes, want {}", chunk.version(), chunk.offset(), got,
                        w->second);
      return false;
    }
    place(targets_, chunk.offset(), m.frames[0].data(), m.frames[0].size());
    arrived_ += got;
    waiting_.erase(w);
    return true;
  }

  const WeightsManifest& manifest_;
  const std::vector<Target>& targets_;
  Client& client_;
  std::vector<Message>& stash_;
  std::map<uint64_t, uint64_t> waiting_;  // offset -> bytes asked for
  uint64_t next_ = 0, arrived_ = 0;
  int64_t deadline_unix_ms_ = 0;
};

}  // namespace

bool receive_weights(const WeightsManifest& manifest, const std::function<void*(size_t)>& sink, Client& client,
                     std::vector<Message>& stash, int timeout_ms, std::string& why) {
  std::vector<Target> targets;
  if (!lay_out(manifest, targets, why)) return false;
  for (size_t i = 0; i < targets.size(); i++) targets[i].data = static_cast<uint8_t*>(sink(i));
  bool here = false;
  if (manifest.transport() == "shm") {
    here = read_shm(manifest, targets, why);
  } else if (manifest.transport() == "zmq") {
    here = Fetcher(manifest, targets, client, stash).run(timeout_ms, why);
  } else if (manifest.transport() == "file") {
    here = FileReader(manifest, targets).run(timeout_ms, why);
  } else {
    why = fmt::format("transport: got {}, want shm, zmq or file", manifest.transport());
  }
  return here && digests_match(manifest, targets, why);
}

}  // namespace fulmen::wire
