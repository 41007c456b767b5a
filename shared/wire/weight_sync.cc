#include "shared/wire/weight_sync.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "kernels/error.h"
#include "shared/base/log.h"

namespace fulmen::wire {
namespace {

constexpr size_t kVersionsKept = 2;
constexpr size_t kFetchesInFlight = 4;
constexpr int kAskAgainMs = 2000;
constexpr std::string_view kObjectPrefix = "/fulmen-";

using Clock = std::chrono::steady_clock;

uint64_t align_up(uint64_t n) { return (n + kTensorAlign - 1) / kTensorAlign * kTensorAlign; }

// Bytes that shape and dtype ask for; false for an unknown dtype, a negative dimension or an overflow.
template <class Shape>
bool shape_bytes(const Shape& shape, uint32_t dtype, uint64_t& bytes) {
  if (dtype > 1) return false;
  bytes = dtype == 0 ? 4 : 2;
  for (int64_t d : shape) {
    if (d < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(d), &bytes)) return false;
  }
  return true;
}

std::string to_bytes(const base::Digest& d) { return {reinterpret_cast<const char*>(d.data()), d.size()}; }

std::string hex_of(const std::string& bytes) {
  base::Digest d{};
  if (bytes.size() != d.size()) return fmt::format("a digest of {} bytes", bytes.size());
  memcpy(d.data(), bytes.data(), d.size());
  return base::hex(d);
}

std::string system_text() { return strerror(errno); }

// One image in memory: a shared-memory object that this process owns, or private memory.
class Image {
 public:
  explicit Image(uint64_t bytes) : bytes_(bytes) { map(-1, MAP_PRIVATE | MAP_ANONYMOUS); }

  Image(const std::string& name, uint64_t bytes) : name_(name), bytes_(bytes) {
    fd_ = create(name);
    // Reserving now gives an error; writing to pages that are not there would be a SIGBUS.
    int rc = 0;
    do {
      rc = bytes == 0 ? 0 : posix_fallocate(fd_, 0, static_cast<off_t>(bytes));
    } while (rc == EINTR);
    if (rc != 0) {
      release();
      throw Error(fmt::format("weights: no {} bytes of shared memory for {}: {}", bytes, name, strerror(rc)));
    }
    map(fd_, MAP_SHARED);
  }

  Image(Image&& o) noexcept
      : name_(std::move(o.name_)),
        bytes_(o.bytes_),
        fd_(std::exchange(o.fd_, -1)),
        data_(std::exchange(o.data_, nullptr)) {}
  Image& operator=(Image&&) = delete;
  ~Image() { release(); }

  uint8_t* data() const { return data_; }
  uint64_t size() const { return bytes_; }

  // True when the object is gone: it was not there, or its owner is dead (nobody holds its lock).
  static bool unlink_if_abandoned(const std::string& name) {
    int fd = shm_open(name.c_str(), O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return errno == ENOENT;
    bool abandoned = flock(fd, LOCK_SH | LOCK_NB) == 0;  // shared: two who ask at once do not see each other
    if (abandoned) shm_unlink(name.c_str());
    close(fd);
    return abandoned;
  }

 private:
  // The lock on the object tells other processes that its owner lives; an object without one is replaced.
  static int create(const std::string& name) {
    for (int attempt = 0; attempt < 10; attempt++) {
      int fd = shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
      if (fd >= 0) {
        struct stat st {};
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink > 0) return fd;
        close(fd);  // a sweep of another run took it between the two calls
        continue;
      }
      FULMEN_CHECK(errno == EEXIST, "weights: shared memory " + name + ": " + system_text());
      FULMEN_CHECK(unlink_if_abandoned(name), "weights: shared memory " + name + " is in use by another process");
    }
    throw Error("weights: shared memory " + name + " is taken away as fast as it is made");
  }

  void map(int fd, int flags) {
    if (bytes_ == 0) return;
    void* p = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (p == MAP_FAILED) {
      std::string why = system_text();
      release();
      throw Error(fmt::format("weights: cannot map {} bytes: {}", bytes_, why));
    }
    data_ = static_cast<uint8_t*>(p);
  }

  void release() {
    if (data_) munmap(data_, bytes_);
    data_ = nullptr;
    if (fd_ < 0) return;
    shm_unlink(name_.c_str());
    close(fd_);
    fd_ = -1;
  }

  std::string name_;
  uint64_t bytes_ = 0;
  int fd_ = -1;
  uint8_t* data_ = nullptr;
};

void sweep_abandoned_objects() {
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm", ec)) {
    std::string name = "/" + entry.path().filename().string();
    if (name.rfind(kObjectPrefix, 0) == 0 && Image::unlink_if_abandoned(name)) {
      base::info("weights: removed shared memory {} of a run that was killed", name);
    }
  }
}

void describe(std::span<const TensorSource> tensors, WeightsManifest& manifest) {
  std::set<std::string_view> names;
  uint64_t end = 0;
  for (const TensorSource& t : tensors) {
    uint64_t want = 0;
    FULMEN_CHECK(shape_bytes(t.shape, t.dtype, want) && want == t.bytes,
                 fmt::format("weights: tensor {}: got {} bytes, its shape and dtype {} want {}", t.name, t.bytes,
                             t.dtype, want));
    FULMEN_CHECK(names.insert(t.name).second, "weights: tensor " + t.name + " is published twice");
    TensorEntry& e = *manifest.add_tensors();
    e.set_name(t.name);
    e.mutable_shape()->Assign(t.shape.begin(), t.shape.end());
    e.set_dtype(t.dtype);
    e.set_bytes(t.bytes);
    e.set_digest(to_bytes(base::digest128(t.data, t.bytes)));
    end = align_up(end) + t.bytes;
  }
  manifest.set_total_bytes(end);
}

}  // namespace

struct WeightPublisher::State {
  struct Version {
    WeightsManifest manifest;
    Image image;
  };
  bool shm = false;
  uint64_t run_key = 0;
  std::deque<Version> versions;  // oldest first
};

WeightPublisher::WeightPublisher(const std::string& transport, const std::string& run_id)
    : state_(std::make_unique<State>()) {
  FULMEN_CHECK(transport == "shm" || transport == "zmq", "sync.transport: got " + transport + ", want shm or zmq");
  state_->shm = transport == "shm";
  state_->run_key = base::digest64(run_id.data(), run_id.size());
  if (state_->shm) sweep_abandoned_objects();
}

WeightPublisher::~WeightPublisher() = default;

const WeightsManifest& WeightPublisher::publish(uint64_t version, std::span<const TensorSource> tensors,
                                                const base::Digest& constants) {
  auto& kept = state_->versions;
  FULMEN_CHECK(kept.empty() || version > kept.back().manifest.version(),
               fmt::format("weights: version {} published after {}", version, kept.back().manifest.version()));
  WeightsManifest manifest;
  manifest.set_version(version);
  describe(tensors, manifest);
  manifest.set_constants(to_bytes(constants));
  manifest.set_root(to_bytes(root_digest(manifest)));
  manifest.set_transport(state_->shm ? "shm" : "zmq");
  if (state_->shm) manifest.set_shm_name(fmt::format("{}{:016x}-v{}", kObjectPrefix, state_->run_key, version));

  while (kept.size() >= kVersionsKept) kept.pop_front();  // before the new one, so that memory holds two and not three
  Image image = state_->shm ? Image(manifest.shm_name(), manifest.total_bytes()) : Image(manifest.total_bytes());
  uint64_t offset = 0;
  for (const TensorSource& t : tensors) {
    offset = align_up(offset);
    if (t.bytes > 0) memcpy(image.data() + offset, t.data, t.bytes);
    offset += t.bytes;
  }
  kept.push_back({std::move(manifest), std::move(image)});
  return kept.back().manifest;
}

void WeightPublisher::answer(const WeightsFetch& fetch, Message& reply) const {
  const auto& kept = state_->versions;
  auto v = std::find_if(kept.begin(), kept.end(),
                        [&](const State::Version& x) { return x.manifest.version() == fetch.version(); });
  FULMEN_CHECK(v != kept.end(), fmt::format("weights: version {} was asked for, kept are {} to {}", fetch.version(),
                                            kept.empty() ? 0 : kept.front().manifest.version(),
                                            kept.empty() ? 0 : kept.back().manifest.version()));
  uint64_t size = v->image.size();
  FULMEN_CHECK(fetch.bytes() <= kChunkBytes && fetch.offset() <= size && fetch.bytes() <= size - fetch.offset(),
               fmt::format("weights: bytes {}+{} of version {} were asked for, it has {} and a chunk at most {}",
                           fetch.offset(), fetch.bytes(), fetch.version(), size, kChunkBytes));
  WeightsChunk& chunk = *reply.envelope.mutable_weights_chunk();
  chunk.set_version(fetch.version());
  chunk.set_offset(fetch.offset());
  reply.frames.assign(1, std::string(reinterpret_cast<const char*>(v->image.data()) + fetch.offset(), fetch.bytes()));
}

base::Digest root_digest(const WeightsManifest& manifest) {
  std::string text;  // every field has its length in front or a fixed size, so different manifests give different text
  auto number = [&](uint64_t v) {
    for (int i = 0; i < 8; i++) text.push_back(static_cast<char>(v >> (8 * i)));
  };
  auto bytes = [&](const std::string& s) {
    number(s.size());
    text += s;
  };
  number(static_cast<uint64_t>(manifest.tensors_size()));
  for (const TensorEntry& e : manifest.tensors()) {
    bytes(e.name());
    number(static_cast<uint64_t>(e.shape_size()));
    for (int64_t d : e.shape()) number(static_cast<uint64_t>(d));
    number(e.dtype());
    number(e.bytes());
    bytes(e.digest());
  }
  bytes(manifest.constants());
  return base::digest128(text.data(), text.size());
}

// ---- receiver

namespace {

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
    uint64_t want = 0;
    if (!shape_bytes(e.shape(), e.dtype(), want) || want != e.bytes() || e.bytes() > UINT64_MAX / 4 - end) {
      why =
          fmt::format("tensor {}: got {} bytes, its shape and dtype {} want {}", e.name(), e.bytes(), e.dtype(), want);
      return false;
    }
    targets.push_back({align_up(end), e.bytes(), nullptr});
    end = align_up(end) + e.bytes();
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
  const std::string& name = m.shm_name();
  if (name.rfind(kObjectPrefix, 0) != 0 || name.find('/', 1) != std::string::npos) {
    why = "shared memory: got name \"" + name + "\", want " + std::string(kObjectPrefix) + "...";
    return false;
  }
  int fd = shm_open(name.c_str(), O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) {
    why = "shared memory " + name + ": " + system_text();
    return false;
  }
  struct stat st {};
  bool sized = fstat(fd, &st) == 0 && static_cast<uint64_t>(st.st_size) == m.total_bytes();
  if (!sized) {
    why = fmt::format("shared memory {}: got {} bytes, want {}", name, st.st_size, m.total_bytes());
  } else if (m.total_bytes() > 0) {
    void* p = mmap(nullptr, m.total_bytes(), PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
      why = "shared memory " + name + ": cannot map: " + system_text();
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
    place(chunk.offset(), m.frames[0]);
    arrived_ += got;
    waiting_.erase(w);
    return true;
  }

  void place(uint64_t offset, const std::string& frame) {
    uint64_t end = offset + frame.size();
    auto t = std::partition_point(targets_.begin(), targets_.end(),
                                  [&](const Target& x) { return x.begin + x.bytes <= offset; });
    for (; t != targets_.end() && t->begin < end; ++t) {
      uint64_t from = std::max(offset, t->begin), to = std::min(end, t->begin + t->bytes);
      if (from < to) memcpy(t->data + (from - t->begin), frame.data() + (from - offset), to - from);
    }
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
  } else {
    why = "transport: got " + manifest.transport() + ", want shm or zmq";
  }
  return here && digests_match(manifest, targets, why);
}

}  // namespace fulmen::wire
