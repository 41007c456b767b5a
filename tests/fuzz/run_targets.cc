#include "tests/fuzz/run_targets.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

#include "learner/dataset.h"
#include "shared/base/config.h"
#include "shared/wire/weight_image.h"
#include "shared/wire/weight_sync.h"
#include "tests/fuzz/memory_file.h"

namespace fulmen::fuzz {

bool read_config_yaml(std::string_view bytes) {
  const MemoryFile memory(bytes);
  return accepted([&] {
    const base::Config c = base::load_config(memory.path(), {});
    const std::string printed = base::to_yaml(c, false);
    const MemoryFile again(printed);
    promise(base::to_yaml(base::load_config(again.path(), {}), false) == printed, "what is printed is read again");
    base::to_yaml(c, true);
    base::config_hash(c);
  });
}

std::vector<std::string> config_yaml_seeds() {
  return {base::to_yaml(base::Config(), false),
          "run: {seed: 7, dir: \"a b\"}\ndata:\n  mix:\n    - {task: sudoku, difficulty: 2..4, weight: 0.25}\n"
          "    - file: 'x.jsonl'\nalgorithm:\n  ratio_max: 1e1\nreward:\n  functions: [math, \"f o\"]\n"
          "rollout: &a\n  stop: [\"\\n\", <end>]\n"};
}

bool read_data_lines(std::string_view bytes) {
  static const auto tokenizer = model::load_tokenizer("byte");
  const MemoryFile memory(bytes);
  return accepted([&] {
    base::Config c;
    c.data.train = memory.path();
    c.data.template_name = "m1";
    const auto data = learner::make_dataset(c, learner::Split::kTrain, *tokenizer);
    for (int64_t i = 0; i < data->size(); ++i) {
      const learner::PromptRecord r = data->record(i);
      promise(tokenizer->decode(r.ids) == r.prompt, "the tokens are the prompt's");
    }
  });
}

std::vector<std::string> data_line_seeds() {
  return {R"({"prompt":[{"role":"user","content":"1+1?"}],"data_source":"gsm8k","reward_model":{"ground_truth":"2"},)"
          R"("extra_info":{"a":[1,2.5e3,null]}})"
          "\n\n"
          R"({"prompt":"h\u00e9","data_source":"x","reward_model":{"ground_truth":7},"completion":"c"})"};
}

namespace {

constexpr uint64_t kMostBytes = 1 << 20;

bool receive(const wire::WeightsManifest& manifest) {
  static wire::Client client("ipc:///tmp/fulmen-fuzz-nobody", "fuzz");
  const bool laid_out = accepted([&] {
    promise(static_cast<int>(wire::image_offsets(manifest).size()) == manifest.tensors_size(),
            "each tensor has a place");
  });
  if (manifest.total_bytes() > kMostBytes) return false;
  const auto root = wire::root_digest(manifest);
  wire::FileHeader header;
  header.version = manifest.version(), header.bytes = manifest.total_bytes();
  memcpy(header.root, root.data(), root.size());
  std::string file(wire::kFileHeader + manifest.total_bytes(), '\0');
  memcpy(file.data(), &header, sizeof header);
  const MemoryFile memory(file);
  wire::WeightsManifest stored = manifest;
  stored.set_transport("file");
  stored.set_place(memory.path());
  stored.set_root(std::string(reinterpret_cast<const char*>(root.data()), root.size()));
  std::vector<std::vector<char>> arrived(static_cast<size_t>(manifest.tensors_size()));
  std::vector<wire::Message> stash;
  std::string why;
  auto sink = [&](size_t i) -> void* {
    arrived[i].resize(manifest.tensors(static_cast<int>(i)).bytes());
    return arrived[i].data();
  };
  const bool whole = wire::receive_weights(stored, sink, client, stash, 0, why);
  promise(whole == why.empty(), "a refusal has a reason: " + why);
  promise(!whole || laid_out, "what is received has a place");
  return whole;
}

}  // namespace

bool read_envelope(std::string_view bytes) {
  wire::Envelope e;
  if (!e.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return false;
  if (e.has_weights_announce()) return receive(e.weights_announce());
  if (e.has_weights_fetch()) {
    static const auto publisher = [] {
      auto p = std::make_unique<wire::WeightPublisher>("zmq", "fuzz");
      static const std::array<float, 100> values{};
      const wire::TensorSource tensor{"t", {100}, 0, values.data(), sizeof values};
      p->publish(1, {&tensor, 1}, {});
      return p;
    }();
    return accepted([&] {
      wire::Message reply;
      publisher->answer(e.weights_fetch(), reply);
      promise(reply.frames.at(0).size() == e.weights_fetch().bytes(), "as much as was asked for");
    });
  }
  return true;
}

std::vector<std::string> envelope_seeds() {
  const std::array<char, 24> zeros{};
  wire::Envelope announce, fetch, hello;
  announce.set_run_id("r");
  wire::WeightsManifest& m = *announce.mutable_weights_announce();
  for (const auto& [name, bytes] : {std::pair{"a", 24}, {"b.weight", 8}}) {
    wire::TensorEntry& t = *m.add_tensors();
    const base::Digest digest = base::digest128(zeros.data(), static_cast<size_t>(bytes));
    t.set_name(name);
    t.add_shape(bytes / 4);
    t.set_bytes(static_cast<uint64_t>(bytes));
    t.set_digest(std::string(reinterpret_cast<const char*>(digest.data()), digest.size()));
  }
  m.set_total_bytes(64 + 8);
  fetch.mutable_weights_fetch()->set_version(1);
  fetch.mutable_weights_fetch()->set_offset(4);
  fetch.mutable_weights_fetch()->set_bytes(300);
  hello.mutable_hello()->set_name("rollout-0");
  hello.set_deadline_ms(-1);
  return {announce.SerializeAsString(), fetch.SerializeAsString(), hello.SerializeAsString()};
}

}  // namespace fulmen::fuzz
