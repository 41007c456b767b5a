#include "shared/collective/group.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "kernels/error.h"

namespace fulmen::collective {
namespace {

constexpr size_t kSliceBytes = 1 << 20;  // of one rank in one round of a sum: bounds the buffers, not the result

template <class T>
const char* bytes_of(const T* data) {
  return reinterpret_cast<const char*>(data);
}
template <class T>
char* bytes_of(T* data) {
  return reinterpret_cast<char*>(data);
}

}  // namespace

void check_options(const GroupOptions& o) {
  FULMEN_CHECK(o.size >= 1 && o.rank >= 0 && o.rank < o.size,
               fmt::format("collective: got rank {} of {}, want 0 <= rank < size", o.rank, o.size));
  FULMEN_CHECK(!o.epoch.empty() && o.epoch.find('/') == std::string::npos,
               "collective: got epoch \"" + o.epoch + "\", want a name without a slash");
}

Group::Group(const GroupOptions& o) : options_(o), roll_(o.directory, o.epoch, o.rank, o.size) {
  roll_.wait_for_all(o.timeout_ms, o.while_waiting);
}

void Group::begin(const char* what) {
  FULMEN_CHECK(!broken_, fmt::format("collective: rank {}: {} after the group broke", rank(), what));
  roll_.begin_call();
}

void Group::end_in_error(const char* what, const char* why) {
  broken_ = true;
  give_up();
  throw Error(fmt::format("collective: rank {} of {}: {}: {} [{}]", rank(), size(), what, roll_.suspects(), why));
}

void Group::check_parts(size_t parts, std::span<const int> counts) const {
  FULMEN_CHECK(counts.size() == ranks() && parts == static_cast<size_t>(counts[static_cast<size_t>(rank())]),
               fmt::format("collective: rank {}: sum_in_order: got {} parts, want as its count says", rank(), parts));
}

void Group::check_root(int root) const {
  FULMEN_CHECK(root >= 0 && root < size(),
               fmt::format("collective: broadcast: got root {}, want 0 to {}", root, size() - 1));
}

void Group::sum_in_order(std::span<const std::span<const float>> parts, std::span<const int> counts,
                         std::span<float> out) {
  check_parts(parts.size(), counts);
  guarded("sum", [&] { sum(parts, counts, out); });
}

std::vector<std::string> Group::allgather(std::string_view bytes) {
  std::vector<std::string> all;
  guarded("gather", [&] {
    std::vector<uint64_t> lengths(ranks());
    const uint64_t own = bytes.size();
    gather(bytes_of(&own), bytes_of(lengths.data()), std::vector<size_t>(ranks(), sizeof own));
    const std::vector<size_t> counts(lengths.begin(), lengths.end());
    std::string out(std::accumulate(counts.begin(), counts.end(), size_t{0}), '\0');
    if (!out.empty()) gather(bytes.data(), out.data(), counts);
    size_t at = 0;
    for (const size_t n : counts) {
      all.push_back(out.substr(at, n));
      at += n;
    }
  });
  return all;
}

void Group::broadcast(std::string& bytes, int root) {
  check_root(root);
  guarded("broadcast", [&] {
    uint64_t length = bytes.size();
    from_root(bytes_of(&length), sizeof length, root);
    bytes.resize(length);
    if (length > 0) from_root(bytes.data(), bytes.size(), root);
  });
}

void Group::barrier() {
  guarded("barrier", [&] { meet(); });
}

void Group::wait_for(int rank) {
  FULMEN_CHECK(!broken_, "collective: wait_for after the group broke");
  roll_.wait_for_call(rank);
}

template <class T>
void Group::sum_one_each(std::span<T> data) {
  const std::span<const T> own = data;
  const std::vector<int> counts(ranks(), 1);
  guarded("sum", [&] { sum<T>({&own, 1}, counts, data); });
}
template void Group::sum_one_each(std::span<float>);
template void Group::sum_one_each(std::span<double>);

// In rounds: slice r of the round goes to rank r from everybody, all parts of it, who adds them in order; then all
// slices go to all.
template <class T>
void Group::sum(std::span<const std::span<const T>> parts, std::span<const int> counts, std::span<T> out) {
  const size_t total = static_cast<size_t>(std::accumulate(counts.begin(), counts.end(), 0));
  if (out.empty()) return;
  FULMEN_CHECK(total > 0, "no rank has a part");
  const size_t per_rank = std::min(kSliceBytes / sizeof(T), (out.size() + ranks() - 1) / ranks());
  std::vector<T> sent(per_rank * ranks() * parts.size()), received(per_rank * total), slice(per_rank),
      whole(per_rank * ranks());
  const std::vector<size_t> to(ranks(), per_rank * parts.size() * sizeof(T)), equal(ranks(), per_rank * sizeof(T));
  std::vector<size_t> from;
  for (const int n : counts) from.push_back(per_rank * static_cast<size_t>(n) * sizeof(T));
  for (size_t at = 0; at < out.size(); at += whole.size()) {
    const size_t n = std::min(whole.size(), out.size() - at);
    T* next = sent.data();
    for (size_t r = 0; r < ranks(); r++) {
      const size_t begin = std::min(n, r * per_rank), end = std::min(n, begin + per_rank);
      for (const std::span<const T>& part : parts) {
        std::copy_n(part.data() + at + begin, end - begin, next);
        std::fill(next + (end - begin), next + per_rank, T{0});
        next += per_rank;
      }
    }
    exchange(bytes_of(sent.data()), to, bytes_of(received.data()), from);
    std::copy_n(received.begin(), per_rank, slice.begin());
    for (size_t p = 1; p < total; p++) {
      const T* addend = received.data() + p * per_rank;
      for (size_t i = 0; i < per_rank; i++) slice[i] += addend[i];
    }
    gather(bytes_of(slice.data()), bytes_of(whole.data()), equal);
    std::copy_n(whole.begin(), n, out.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

}  // namespace fulmen::collective
