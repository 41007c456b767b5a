#include "shared/model/parity.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "kernels/lm_head.h"
#include "kernels/sampler.h"
#include "shared/base/rng.h"

namespace fulmen::model {

using kernels::mat;
using kernels::vec;

namespace {

constexpr int64_t kPage = kernels::kAttentionTile;

struct Sequence {
  ParityEpisode episode;
  size_t length = 0;    // wanted in the end
  size_t position = 0;  // tokens the cache holds
  bool started = false;
  std::vector<int32_t> pages;
};

// Continuous batching without any aim but variety.
class Schedule {
 public:
  Schedule(const Weights& weights, kernels::DType cache_dtype, const ParityPlan& plan, kernels::Context& ctx)
      : c_(weights.config()),
        plan_(plan),
        ctx_(ctx),
        model_(weights, cache_dtype, ctx),
        random_(plan.seed, base::Purpose::kTest),
        count_(plan.prompts * plan.samples),
        pages_per_slot_((plan.max_prompt + plan.max_completion + kPage - 1) / kPage),
        cache_(c_, cache_dtype, count_, count_ * pages_per_slot_, pages_per_slot_) {
    poison_cache();
    sequences_.resize(static_cast<size_t>(count_));
    for (int p = 0; p < plan.prompts; ++p) {
      const bool given = !plan.prompt_lengths.empty();
      const int64_t rows = given ? plan.prompt_lengths.at(static_cast<size_t>(p)) : length_up_to(plan.max_prompt);
      std::vector<int32_t> prompt(static_cast<size_t>(rows));
      for (int32_t& t : prompt) t = static_cast<int32_t>(random_.next_int(0, c_.vocab_size - 1));
      for (int i = 0; i < plan.samples; ++i) {
        Sequence& s = sequences_[static_cast<size_t>(p * plan.samples + i)];
        s.episode.tokens = prompt;
        s.episode.prompt = prompt.size();
        s.length = prompt.size() + static_cast<size_t>(length_up_to(plan.max_completion));
        s.started = i == 0;
      }
    }
  }

  std::vector<ParityEpisode> run() {
    while (std::any_of(sequences_.begin(), sequences_.end(), [](const Sequence& s) { return !done(s); })) step();
    std::vector<ParityEpisode> episodes;
    for (Sequence& s : sequences_) episodes.push_back(std::move(s.episode));
    return episodes;
  }

 private:
  static bool done(const Sequence& s) { return s.episode.tokens.size() == s.length; }
  // Slots and pages start as somebody else left them: values that would show wherever they leak in.
  void poison_cache() {
    const int64_t width = kernels::dtype_bytes(cache_.kv()), D = c_.head_dim;
    const auto fill = [](void* data, int64_t bytes) { std::memset(data, 0x71, static_cast<size_t>(bytes)); };
    for (int l = 0; l < c_.num_layers; ++l) {
      const kernels::LightningCache& lightning = cache_.lightning(l);
      const kernels::PagedKvCache softmax = cache_.softmax(l);
      const int64_t kept =
          c_.softmax_layer(l) ? count_ * pages_per_slot_ * c_.num_kv_heads : int64_t{count_} * c_.num_heads;
      if (!c_.softmax_layer(l)) fill(lightning.state, kept * D * D * 4);
      fill(c_.softmax_layer(l) ? softmax.k : lightning.k, kept * kPage * D * width);
      fill(c_.softmax_layer(l) ? softmax.v : lightning.v, kept * kPage * D * width);
    }
  }

  int64_t length_up_to(int most) { return random_.next_int((most + 1) / 2, most); }

  void step() {
    std::vector<int> live;
    for (int i = 0; i < count_; ++i) {
      const Sequence& s = sequences_[static_cast<size_t>(i)];
      if (s.started && !done(s) && random_.next_int(0, 3) != 0) live.push_back(i);
    }
    if (live.empty()) return;
    for (size_t i = live.size() - 1; i > 0; --i) {
      std::swap(live[i], live[static_cast<size_t>(random_.next_int(0, static_cast<int64_t>(i)))]);
    }
    std::vector<int32_t> tokens;
    std::vector<kernels::Segment> segments;
    for (int i : live) {
      Sequence& s = sequences_[static_cast<size_t>(i)];
      const int64_t left = static_cast<int64_t>(s.episode.tokens.size() - s.position);
      const int64_t rows = random_.next_int(1, left);  // decode: 1
      segments.push_back(
          {static_cast<int64_t>(tokens.size()), static_cast<int32_t>(rows), static_cast<int32_t>(s.position), i});
      const auto first = s.episode.tokens.begin() + static_cast<int64_t>(s.position);
      tokens.insert(tokens.end(), first, first + rows);
      cover_with_pages(i, s.position + static_cast<size_t>(rows));
    }
    const int64_t T = static_cast<int64_t>(tokens.size());
    Buffer hidden(static_cast<size_t>(T * c_.hidden_size));
    model_.forward({tokens, segments}, &cache_, nullptr, mat(hidden.data(), T, c_.hidden_size));
    for (const kernels::Segment& segment : segments) take(segment, hidden.data() + segment.row0 * c_.hidden_size);
  }

  void cover_with_pages(int32_t slot, size_t tokens) {
    Sequence& s = sequences_[static_cast<size_t>(slot)];
    while (s.pages.size() * kPage < tokens) {
      cache_.set_page(slot, static_cast<int64_t>(s.pages.size()), next_page_);
      s.pages.push_back(next_page_++);
    }
  }

  // The rows of one segment are through: keep them, and once all known tokens are, fork and sample.
  void take(const kernels::Segment& segment, const float* rows) {
    Sequence& s = sequences_[static_cast<size_t>(segment.slot)];
    const int64_t C = c_.hidden_size;
    s.episode.hidden.insert(s.episode.hidden.end(), rows, rows + segment.rows * C);
    s.position += static_cast<size_t>(segment.rows);
    if (s.position < s.episode.tokens.size()) return;
    const float* last = rows + (segment.rows - 1) * C;
    if (s.position == s.episode.prompt) {
      for (int i = 1; i < plan_.samples; ++i) fork(segment.slot, segment.slot + i);
      for (int i = 1; i < plan_.samples; ++i) sample(segment.slot + i, last);
    }
    sample(segment.slot, last);
  }

  void fork(int32_t from, int32_t to) {
    const Sequence& a = sequences_[static_cast<size_t>(from)];
    Sequence& b = sequences_[static_cast<size_t>(to)];
    b.started = true;
    b.position = a.position;
    b.episode.hidden = a.episode.hidden;
    cache_.copy_slot(from, to, static_cast<int32_t>(a.position));
    const size_t full = a.position / kPage;
    for (size_t n = 0; n < a.pages.size(); ++n) {
      b.pages.push_back(n < full ? a.pages[n] : next_page_++);
      if (n >= full) cache_.copy_page(a.pages[n], b.pages[n]);
      cache_.set_page(to, static_cast<int64_t>(n), b.pages[n]);
    }
  }

  void sample(int32_t slot, const float* hidden_row) {
    Sequence& s = sequences_[static_cast<size_t>(slot)];
    logits_.resize(static_cast<size_t>(c_.vocab_size));
    model_.logits(mat(hidden_row, 1, c_.hidden_size), mat(logits_.data(), 1, c_.vocab_size));
    const kernels::SamplingSettings settings{plan_.temperature, 0, 1, 0};
    const double u = base::uniform(plan_.seed, base::Purpose::kSample, static_cast<uint64_t>(slot), 0, s.position);
    int32_t token = 0;
    float logprob = 0;
    kernels::sample_rows({mat(logits_.data(), 1, c_.vocab_size), {&settings, 1}, {&u, 1}, {&token, 1}, {&logprob, 1}},
                         ctx_);
    s.episode.tokens.push_back(token);
    s.episode.logprob.push_back(logprob);
  }

  const ModelConfig& c_;
  ParityPlan plan_;
  kernels::Context& ctx_;
  Transformer model_;
  base::Stream random_;
  int count_;
  int64_t pages_per_slot_;
  Cache cache_;
  std::vector<Sequence> sequences_;
  int32_t next_page_ = 0;
  Buffer logits_;
};

}  // namespace

std::vector<ParityEpisode> parity_rollout(const Weights& weights, kernels::DType cache_dtype, const ParityPlan& plan,
                                          kernels::Context& ctx) {
  return Schedule(weights, cache_dtype, plan, ctx).run();
}

std::vector<ParityEpisode> parity_learner(const Weights& weights, kernels::DType cache_dtype, const ParityPlan& plan,
                                          const std::vector<ParityEpisode>& episodes, int batches, Tape* tape,
                                          kernels::Context& ctx) {
  const ModelConfig& c = weights.config();
  const int64_t C = c.hidden_size;
  Transformer model(weights, cache_dtype, ctx);
  std::vector<ParityEpisode> result(episodes.size());
  std::vector<size_t> order(episodes.size());
  std::iota(order.rbegin(), order.rend(), 0);  // last first
  const size_t per_batch = (order.size() + static_cast<size_t>(batches) - 1) / static_cast<size_t>(batches);
  for (size_t begin = 0; begin < order.size(); begin += per_batch) {
    const size_t end = std::min(order.size(), begin + per_batch);
    std::vector<int32_t> tokens, target;
    std::vector<kernels::Segment> segments;
    for (size_t i = begin; i < end; ++i) {
      const ParityEpisode& e = episodes[order[i]];
      segments.push_back({static_cast<int64_t>(tokens.size()), static_cast<int32_t>(e.tokens.size() - 1), 0, -1});
      tokens.insert(tokens.end(), e.tokens.begin(), e.tokens.end() - 1);
      for (size_t t = 1; t < e.tokens.size(); ++t) target.push_back(t < e.prompt ? -1 : e.tokens[t]);
    }
    const int64_t T = static_cast<int64_t>(tokens.size());
    Buffer hidden(static_cast<size_t>(T * C)), logprob(static_cast<size_t>(T)), lse(static_cast<size_t>(2 * T));
    model.forward({tokens, segments}, nullptr, tape, mat(hidden.data(), T, C));
    kernels::lm_head_forward({mat(hidden.data(), T, C),
                              weights.packed(model.lm_head_index()),
                              target,
                              1 / plan.temperature,
                              vec(logprob.data(), T),
                              {},
                              mat(lse.data(), T, 2)},
                             ctx);
    for (size_t i = begin; i < end; ++i) {
      const ParityEpisode& from = episodes[order[i]];
      ParityEpisode& to = result[order[i]];
      const kernels::Segment& s = segments[i - begin];
      to.tokens = from.tokens;
      to.prompt = from.prompt;
      to.hidden.assign(hidden.data() + s.row0 * C, hidden.data() + (s.row0 + s.rows) * C);
      to.logprob.assign(logprob.data() + s.row0 + from.prompt - 1, logprob.data() + s.row0 + s.rows);
    }
  }
  return result;
}

ParityCount count_differing(const std::vector<float>& a, const std::vector<float>& b) {
  FULMEN_CHECK(a.size() == b.size(),
               "parity: got " + std::to_string(a.size()) + " values against " + std::to_string(b.size()));
  ParityCount count;
  count.values = static_cast<int64_t>(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    count.differ += std::memcmp(&a[i], &b[i], 4) != 0;
    count.max_difference = std::max(count.max_difference, std::fabs(static_cast<double>(a[i]) - b[i]));
  }
  return count;
}

ParityResult compare(const std::vector<ParityEpisode>& a, const std::vector<ParityEpisode>& b) {
  FULMEN_CHECK(a.size() == b.size(),
               "parity: got " + std::to_string(a.size()) + " episodes against " + std::to_string(b.size()));
  ParityResult result;
  const auto add = [](ParityCount& sum, const ParityCount& one) {
    sum.values += one.values;
    sum.differ += one.differ;
    sum.max_difference = std::max(sum.max_difference, one.max_difference);
  };
  for (size_t i = 0; i < a.size(); ++i) {
    add(result.logprob, count_differing(a[i].logprob, b[i].logprob));
    add(result.hidden, count_differing(a[i].hidden, b[i].hidden));
  }
  return result;
}

ModelConfig parity_model() {
  ModelConfig c;
  c.vocab_size = 67;
  c.hidden_size = 48;
  c.intermediate_size = 40;
  c.num_layers = 3;
  c.num_heads = 6;
  c.num_kv_heads = 2;
  c.head_dim = 16;
  c.rotary_dim = 8;
  c.num_experts = 5;
  c.top_k = 2;
  c.attn_type = {0, 0, 1};
  c.rope_theta = 1e4;
  c.alpha_softmax = c.alpha_lightning = c.alpha_mlp = 1.5f;
  c.beta_softmax = 0.75f;
  c.beta_mlp = 1.25f;
  c.initializer_range = 0.2;
  return c;
}

void parity_init(Weights& weights, uint64_t seed) {
  weights.init_random(seed);
  for (size_t i = 0; i < weights.num_tensors(); ++i) {
    if (weights.specs()[i].shape.size() != 1) continue;
    base::Stream random(seed, base::Purpose::kTest, i);
    for (float& x : weights.tensor(i)) x += 0.2f * random.next_normal();
  }
}

}  // namespace fulmen::model
