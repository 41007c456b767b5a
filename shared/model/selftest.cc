#include "shared/model/selftest.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/lightning.h"
#include "kernels/lm_head.h"
#include "shared/base/rng.h"
#include "shared/model/parity.h"

namespace fulmen::model {

using kernels::DType;
using kernels::mat;
using kernels::vec;

bool SelfCheck::ok() const {
  if (!skipped.empty()) return true;
  if (compared == 0) return false;
  return kind == Kind::kMustDiffer ? differ > 0 : differ == 0;
}

namespace {

// A model on a device of its own.
struct Bench {
  kernels::ThreadPool pool;
  kernels::Context ctx;
  Weights weights;

  Bench(const ModelConfig& c, DType dtype, int threads = 1, const char* isa = "auto")
      : pool(threads), ctx(kernels::cpu_context(pool, isa)), weights(c, dtype) {
    parity_init(weights, 17);
    weights.pack(ctx);
  }
};

// M1's head width and rotary width: the tiles that a small model does not reach.
ModelConfig wide_model() {
  ModelConfig c = parity_model();
  c.vocab_size = 5000;  // two vocabulary chunks
  c.hidden_size = 192;
  c.intermediate_size = 160;
  c.num_heads = 4;
  c.head_dim = 128;
  c.rotary_dim = 64;
  c.initializer_range = 0.05;
  return c;
}

// Every expert is always chosen, so the loss has no steps that finite differences would trip over.
ModelConfig smooth_model() {
  ModelConfig c = parity_model();
  c.num_experts = c.top_k = 2;
  c.shared_intermediate_size = 24;
  return c;
}

SelfCheck from(const ParityResult& r, const std::string& name) {
  SelfCheck check;
  check.name = name;
  check.compared = r.logprob.values + r.hidden.values;
  check.differ = r.logprob.differ + r.hidden.differ;
  check.largest = std::max(r.logprob.max_difference, r.hidden.max_difference);
  return check;
}

SelfCheck roles(const std::string& name, const ModelConfig& c, DType weights, DType cache, const ParityPlan& plan,
                int threads) {
  Bench rollout(c, weights, 1), learner(c, weights, threads);
  const auto episodes = parity_rollout(rollout.weights, cache, plan, rollout.ctx);
  return from(compare(episodes, parity_learner(learner.weights, cache, plan, episodes, 2, nullptr, learner.ctx)),
              "rollout = learner, " + name);
}

SelfCheck instruction_sets() {
  SelfCheck check;
  check.name = "AVX-512 = AVX2";
  const ParityPlan plan;
  std::vector<std::vector<ParityEpisode>> sides;
  try {
    for (const char* isa : {"avx512", "avx2"}) {
      Bench b(parity_model(), DType::kBf16, 1, isa);
      sides.push_back(parity_rollout(b.weights, DType::kBf16, plan, b.ctx));
    }
  } catch (const Error& e) {
    check.skipped = e.what();
    return check;
  }
  return from(compare(sides[0], sides[1]), check.name);
}

SelfCheck control_one_bit() {
  Bench a(parity_model(), DType::kF32), b(parity_model(), DType::kF32);
  float& x = b.weights.tensor(b.weights.index("model.layers.1.self_attn.qkv_proj.weight"))[0];
  x = std::nextafter(x, 2.0f);
  b.weights.pack(b.ctx);
  const ParityPlan plan;
  const auto episodes = parity_rollout(a.weights, DType::kF32, plan, a.ctx);
  SelfCheck check = from(compare(episodes, parity_learner(b.weights, DType::kF32, plan, episodes, 1, nullptr, b.ctx)),
                         "control: one weight moved by one bit");
  check.kind = SelfCheck::Kind::kMustDiffer;
  return check;
}

SelfCheck control_recurrence() {
  const int H = 4, D = 64, T = 200;
  kernels::ThreadPool pool(1);
  kernels::Context ctx = kernels::cpu_context(pool);
  std::vector<float> slope(H), pw(H * (kernels::kLightningBlock + 1)), qkv(T * 3 * H * D), block(T * H * D),
      step(T * H * D);
  std::vector<float> state(H * D * D);
  kernels::lightning_slopes(H, 0, 8, slope.data());
  kernels::lightning_decay_table(slope.data(), H, pw.data());
  base::Stream random(1, base::Purpose::kTest);
  for (float& x : qkv) x = random.next_normal();
  const kernels::Segment whole{0, T, 0, -1};
  kernels::lightning_forward(
      {mat(qkv.data(), T, 3 * H * D), mat(block.data(), T, H * D), pw.data(), H, D, {&whole, 1}, nullptr}, ctx);
  for (int t = 0; t < T; ++t) {
    kernels::lightning_recurrent_step(
        {mat(&qkv[static_cast<size_t>(t * 3 * H * D)], 1, 3 * H * D),
         mat(&step[static_cast<size_t>(t * H * D)], 1, H * D), pw.data(), H, D, state.data()},
        ctx);
  }
  const ParityCount count = count_differing(block, step);
  SelfCheck check;
  check.kind = SelfCheck::Kind::kMustDiffer;
  check.name = "control: decode by the token recurrence";
  check.compared = count.values;
  check.differ = count.differ;
  check.largest = count.max_difference;
  return check;
}

// loss = sum of logprob of random targets over packed random sequences.
class Loss {
 public:
  Loss(const ModelConfig& c, std::vector<int> lengths) {
    base::Stream random(2, base::Purpose::kTest);
    for (int n : lengths) {
      segments_.push_back({static_cast<int64_t>(tokens_.size()), n, 0, -1});
      for (int i = 0; i < n; ++i) {
        tokens_.push_back(static_cast<int32_t>(random.next_int(0, c.vocab_size - 1)));
        target_.push_back(static_cast<int32_t>(random.next_int(0, c.vocab_size - 1)));
      }
    }
  }

  double value(Bench& b) const {
    std::vector<float> logprob(tokens_.size());
    run(b, tokens_, segments_, target_, logprob, nullptr, nullptr);
    double sum = 0;
    for (float x : logprob) sum += x;
    return sum;
  }

  Gradients gradients(Bench& b, bool recompute, bool one_by_one) const {
    Gradients g(b.weights.specs());
    Tape tape(b.weights.config(), recompute);
    std::vector<float> logprob(tokens_.size());
    if (!one_by_one) {
      run(b, tokens_, segments_, target_, logprob, &tape, &g);
      return g;
    }
    for (kernels::Segment s : segments_) {
      const size_t at = static_cast<size_t>(s.row0), n = static_cast<size_t>(s.rows);
      s.row0 = 0;
      run(b, std::span(tokens_).subspan(at, n), {&s, 1}, std::span(target_).subspan(at, n),
          std::span(logprob).subspan(at, n), &tape, &g);
    }
    return g;
  }

 private:
  static void run(Bench& b, std::span<const int32_t> tokens, std::span<const kernels::Segment> segments,
                  std::span<const int32_t> target, std::span<float> logprob, Tape* tape, Gradients* g) {
    const int64_t T = static_cast<int64_t>(tokens.size()), C = b.weights.config().hidden_size;
    Transformer model(b.weights, DType::kF32, b.ctx);
    const size_t head = model.lm_head_index();
    std::vector<float> hidden(static_cast<size_t>(T * C)), dhidden(g != nullptr ? hidden.size() : 0),
        lse(tokens.size() * 2);
    const std::vector<float> one(tokens.size(), 1.0f);
    const kernels::TensorRef h = mat(hidden.data(), T, C), dh = mat(dhidden.data(), T, C), l = mat(lse.data(), T, 2);
    model.forward({tokens, segments}, nullptr, tape, h);
    kernels::lm_head_forward({h, b.weights.packed(head), target, 1, vec(logprob.data(), T), {}, l}, b.ctx);
    if (g == nullptr) return;
    kernels::lm_head_backward({h,
                               b.weights.packed(head),
                               b.weights.rows(head),
                               target,
                               1,
                               l,
                               {},
                               vec(one.data(), T),
                               {},
                               dh,
                               mat(g->tensor(head).data(), b.weights.config().vocab_size, C)},
                              b.ctx);
    model.backward({tokens, segments}, *tape, dh, *g);
  }

  std::vector<int32_t> tokens_, target_;
  std::vector<kernels::Segment> segments_;
};

SelfCheck same_gradients(const std::string& name, Gradients a, Gradients b) {
  SelfCheck check;
  check.name = "gradients, " + name;
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < a.tensor(i).size(); ++j) {
      const float x = a.tensor(i)[j], y = b.tensor(i)[j];
      ++check.compared;
      check.differ += std::memcmp(&x, &y, 4) != 0;
      check.largest = std::max(check.largest, std::fabs(static_cast<double>(x) - y));
    }
  }
  return check;
}

// Slope of the loss along each tensor's own gradient, by central differences of the fp32 forward: must be its norm.
SelfCheck gradient_slopes() {
  Bench b(smooth_model(), DType::kF32);
  const Loss loss(b.weights.config(), {70, 9});
  Gradients g = loss.gradients(b, false, false);
  SelfCheck check;
  check.kind = SelfCheck::Kind::kBelow;
  check.name = "gradients = slopes of the loss";
  check.limit = 1e-2;
  for (size_t i = 0; i < g.size(); ++i) {
    double square = 0;
    for (float x : g.tensor(i)) square += static_cast<double>(x) * x;
    const double norm = std::sqrt(square);
    // A step that moves the loss by 0.02: far above its rounding (1e-5), far below its curvature.
    const double step = 0.01 / norm;
    const std::vector<float> saved(b.weights.tensor(i).begin(), b.weights.tensor(i).end());
    const auto loss_at = [&](double h) {
      for (size_t j = 0; j < saved.size(); ++j)
        b.weights.tensor(i)[j] = static_cast<float>(saved[j] + h / norm * static_cast<double>(g.tensor(i)[j]));
      b.weights.pack(b.ctx);
      return loss.value(b);
    };
    const double slope = (loss_at(step) - loss_at(-step)) / (2 * step);
    std::copy(saved.begin(), saved.end(), b.weights.tensor(i).begin());
    const double error = norm > 0 ? std::fabs(slope - norm) / norm : 1;
    ++check.compared;
    check.differ += !(error <= check.limit);
    check.largest = std::max(check.largest, error);
  }
  return check;
}

}  // namespace

std::vector<SelfCheck> run_selftest(int threads, const std::function<void(const SelfCheck&)>& done) {
  std::vector<SelfCheck> all;
  const auto add = [&](SelfCheck check) {
    done(check);
    all.push_back(std::move(check));
  };
  const ModelConfig small = parity_model(), wide = wide_model();
  const ParityPlan plan, few{2, 2, 100, 40, 1.0f, 3}, across_splits{1, 2, 2300, 20, 1.0f, 4};
  const std::string n = std::to_string(threads) + " threads";
  add(roles("fp32, 1 against " + n, small, DType::kF32, DType::kF32, plan, threads));
  add(roles("bf16 weights", small, DType::kBf16, DType::kF32, plan, threads));
  add(roles("bf16 weights and cache", small, DType::kBf16, DType::kBf16, plan, threads));
  add(roles("head width 128", wide, DType::kF32, DType::kF32, few, threads));
  add(roles("head width 128, bf16", wide, DType::kBf16, DType::kBf16, few, threads));
  add(roles("more than 1024 tokens", small, DType::kF32, DType::kF32, across_splits, threads));
  add(instruction_sets());

  Bench one(small, DType::kF32), many(small, DType::kF32, threads);
  const Loss loss(small, {70, 9, 131, 40});
  add(same_gradients("one sequence at a time = all at once", loss.gradients(one, false, true),
                     loss.gradients(one, false, false)));
  add(same_gradients("recomputed = kept", loss.gradients(one, true, false), loss.gradients(one, false, false)));
  add(same_gradients("1 thread = " + n, loss.gradients(one, false, false), loss.gradients(many, false, false)));
  add(gradient_slopes());
  add(control_one_bit());
  add(control_recurrence());
  return all;
}

}  // namespace fulmen::model
