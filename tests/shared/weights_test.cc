#include "shared/model/weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/context.h"
#include "shared/model/library_shapes.h"
#include "shared/model/parity.h"

namespace fulmen::model {
namespace {

using kernels::DType;

struct Cpu {
  kernels::ThreadPool pool{1};
  kernels::Context ctx = kernels::cpu_context(pool);
};

TEST(Buffer, IsAlignedAndZeroedAndKeepsItsMemory) {
  Buffer b(3);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b.data()) % 64, 0u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(b.data()[i], 0);
  b.data()[0] = 7;
  const float* before = b.data();
  b.resize(1);
  b.resize(3);
  EXPECT_EQ(b.data(), before);
  EXPECT_EQ(b.data()[0], 7);
  b.resize(100);
  EXPECT_EQ(b.data()[0], 0);
}

TEST(Weights, InitIsAFunctionOfSeedAndNameWithTheConfiguredSpread) {
  const ModelConfig c = parity_model();
  Weights a(c, DType::kF32), b(c, DType::kBf16), other(c, DType::kF32);
  a.init_random(3);
  b.init_random(3);
  other.init_random(4);
  EXPECT_EQ(a.root_digest(), b.root_digest());
  EXPECT_NE(a.root_digest(), other.root_digest());
  const auto q = a.tensor(a.index("model.layers.0.self_attn.qkv_proj.weight"));
  double sum = 0, square = 0;
  for (float x : q) sum += x, square += static_cast<double>(x) * x;
  const double n = static_cast<double>(q.size());
  EXPECT_NEAR(sum / n, 0, 4 * c.initializer_range / std::sqrt(n));
  EXPECT_NEAR(std::sqrt(square / n), c.initializer_range, 4 * c.initializer_range / std::sqrt(2 * n));
  for (float x : a.tensor(a.index("model.norm.weight"))) EXPECT_EQ(x, 1);
  const auto w1 = a.tensor(a.index("model.layers.0.block_sparse_moe.experts.0.w1.weight"));
  const auto w3 = a.tensor(a.index("model.layers.0.block_sparse_moe.experts.0.w3.weight"));
  EXPECT_NE(std::memcmp(w1.data(), w3.data(), w1.size_bytes()), 0);
}

TEST(Weights, WhatTravelsInBf16PacksToTheSameBytes) {
  const ModelConfig c = parity_model();
  kernels::ThreadPool pool(2);
  kernels::Context ctx = kernels::cpu_context(pool);
  Weights sent(c, DType::kBf16), received(c, DType::kBf16);
  sent.init_random(3);
  size_t halves = 0;
  for (size_t i = 0; i < sent.num_tensors(); ++i) {
    if (sent.wire_dtype(i) == DType::kBf16) {
      received.from_bf16(i, sent.to_bf16(i, ctx));
      EXPECT_EQ(received.to_bf16(i, ctx), sent.to_bf16(i, ctx));
      ++halves;
    } else {
      std::copy(sent.tensor(i).begin(), sent.tensor(i).end(), received.tensor(i).begin());
    }
  }
  EXPECT_GT(halves, 0u);
  EXPECT_NE(sent.root_digest(), received.root_digest()) << "nothing was rounded: the comparison proves nothing";
  sent.pack(ctx);
  received.pack(ctx);
  for (size_t i = 0; i < sent.num_tensors(); ++i) {
    const kernels::PackedWeight a = sent.packed(i), b = received.packed(i);
    if (a.data == nullptr) continue;
    EXPECT_EQ(std::memcmp(a.data, b.data, kernels::packed_bytes(a.N, a.K, a.dtype)), 0) << sent.specs()[i].name;
  }
  EXPECT_THROW(received.from_bf16(0, std::vector<uint16_t>(3)), Error);
  EXPECT_EQ(Weights(c, DType::kF32).wire_dtype(sent.index("model.layers.0.self_attn.qkv_proj.weight")), DType::kF32);
}

TEST(Weights, RouterCoefficientAndUnlessAskedTheHeadStayFp32) {
  Cpu s;
  ModelConfig c = parity_model();
  c.shared_intermediate_size = 16;
  Weights w(c, DType::kBf16);
  w.init_random(1);
  w.pack(s.ctx);
  const auto dtype = [&](const std::string& name) { return w.packed(w.index(name)).dtype; };
  EXPECT_EQ(dtype("model.layers.1.block_sparse_moe.gate.weight"), DType::kF32);
  EXPECT_EQ(dtype("model.layers.1.coefficient.weight"), DType::kF32);
  EXPECT_EQ(dtype("lm_head.weight"), DType::kF32);
  for (const char* name :
       {"self_attn.qkv_proj", "self_attn.output_gate", "self_attn.out_proj", "shared_mlp.up_proj",
        "block_sparse_moe.experts.4.w1", "block_sparse_moe.experts.4.w2", "block_sparse_moe.experts.4.w3"})
    EXPECT_EQ(dtype("model.layers.1." + std::string(name) + ".weight"), DType::kBf16) << name;
  for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"})
    EXPECT_EQ(dtype("model.layers.2.self_attn." + std::string(name) + ".weight"), DType::kBf16) << name;
  EXPECT_EQ(w.packed(w.index("model.embed_tokens.weight")).data, nullptr);
  Weights asked(c, {DType::kF32, DType::kBf16});
  asked.pack(s.ctx);
  for (size_t i = 0; i < asked.num_tensors(); ++i)
    EXPECT_EQ(asked.packed(i).dtype == DType::kBf16, asked.specs()[i].name == "lm_head.weight")
        << asked.specs()[i].name;
}

// rows() and the panels must hold the same rounded numbers: forward reads the one, backward the other.
TEST(Weights, RowsEqualThePanels) {
  Cpu s;
  for (DType dtype : {DType::kF32, DType::kBf16}) {
    Weights w(parity_model(), dtype);
    parity_init(w, 5);
    w.pack(s.ctx);
    for (size_t i = 0; i < w.num_tensors(); ++i) {
      const kernels::PackedWeight& p = w.packed(i);
      if (p.data == nullptr) continue;
      const kernels::TensorRef rows = w.rows(i);
      ASSERT_EQ(rows.dtype, p.dtype);
      const size_t bytes = static_cast<size_t>(kernels::dtype_bytes(p.dtype));
      for (int64_t n = 0; n < p.N; ++n)
        for (int64_t k = 0; k < p.K; ++k) {
          const auto* panel =
              static_cast<const char*>(p.data) + static_cast<size_t>((n / 32 * p.K + k) * 32 + n % 32) * bytes;
          const auto* row = static_cast<const char*>(rows.data) + static_cast<size_t>(n * p.K + k) * bytes;
          ASSERT_EQ(std::memcmp(panel, row, bytes), 0) << w.specs()[i].name << " " << n << " " << k;
        }
    }
  }
}

TEST(Weights, PackAgainFollowsTheValuesInPlace) {
  Cpu s;
  Weights w(parity_model(), DType::kF32);
  w.pack(s.ctx);
  const size_t i = w.index("lm_head.weight");
  const void* before = w.packed(i).data;
  w.tensor(i)[0] = 3;
  w.pack(s.ctx);
  EXPECT_EQ(w.packed(i).data, before);
  EXPECT_EQ(*static_cast<const float*>(w.packed(i).data), 3);
}

TEST(Weights, TiedEmbeddingIsTheHead) {
  Cpu s;
  ModelConfig c = parity_model();
  c.tie_word_embeddings = true;
  Weights w(c, DType::kBf16);
  w.pack(s.ctx);
  EXPECT_EQ(w.lm_head_index(), w.index("model.embed_tokens.weight"));
  EXPECT_EQ(w.packed(w.lm_head_index()).dtype, DType::kF32);
  // In bf16 as the head, in fp32 as the embedding: the values must travel whole.
  Weights head(c, {DType::kBf16, DType::kBf16});
  head.pack(s.ctx);
  const size_t i = head.lm_head_index();
  EXPECT_EQ(head.packed(i).dtype, DType::kBf16);
  EXPECT_EQ(head.rows(i).dtype, DType::kBf16);
  EXPECT_EQ(head.master(i).f32(), head.tensor(i).data());
  EXPECT_EQ(head.wire_dtype(i), DType::kF32);
}

// Of the quickstart: no experts, no router, no shape twice, the head by its chunk.
TEST(Weights, LibraryShapesAreThoseOfItsLinearLayersInBf16) {
  base::ModelSection section;
  section.path = FULMEN_SOURCE_DIR "/configs/quickstart/config.json";
  EXPECT_TRUE(library_shapes(section).empty());
  section.weights_dtype = section.head_dtype = "bf16";
  const std::vector<kernels::LinearShape> shapes = library_shapes(section);
  const ModelConfig c = load_model_config(section.path);
  const int64_t C = c.hidden_size, A = int64_t{c.num_heads} * c.head_dim;
  for (const kernels::LinearShape& s : {kernels::LinearShape{3 * A, C}, kernels::LinearShape{C, A},
                                        kernels::LinearShape{std::min<int64_t>(c.vocab_size, 4096), C}})
    EXPECT_EQ(std::count(shapes.begin(), shapes.end(), s), 1) << s.N << " x " << s.K;
  EXPECT_EQ(std::count(shapes.begin(), shapes.end(), kernels::LinearShape{c.num_experts, C}), 0);
}

TEST(Weights, DigestSeesOneBitAndTheDepthOfTheSlopes) {
  Weights w(parity_model(), DType::kF32);
  w.init_random(1);
  const base::Digest root = w.root_digest(), tensor = w.tensor_digest(0);
  w.tensor(0)[5] = std::nextafter(w.tensor(0)[5], 9.0f);
  EXPECT_NE(w.tensor_digest(0), tensor);
  EXPECT_NE(w.root_digest(), root);
}

TEST(Weights, UnknownTensorIsNamed) {
  Weights w(parity_model(), DType::kF32);
  try {
    w.index("model.layers.9.norm");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("model.layers.9.norm"), std::string::npos);
  }
}

}  // namespace
}  // namespace fulmen::model
