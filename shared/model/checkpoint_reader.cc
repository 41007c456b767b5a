#include "shared/model/checkpoint_reader.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/error.h"
#include "shared/base/nested_json.h"
#include "shared/base/printable.h"

namespace fulmen::model {
namespace {

namespace fs = std::filesystem;

const char* const kIndex = "/model.safetensors.index.json";
const char* const kSingle = "/model.safetensors";

// Derived buffers that native files may hold, and the embedding again under another name.
bool skippable(const std::string& name, bool tied) {
  for (const char* buffer : {".slope_rate", ".query_decay", ".key_decay", ".diagonal_decay", ".inv_freq"})
    if (name.ends_with(buffer)) return true;
  return tied && name == "lm_head.weight";
}

// tensor name -> file name, as the index says.
std::map<std::string, std::string> read_index(const std::string& path) {
  const auto index = base::parse_json(base::read_file(path), path);
  const bool has_map = index.is_object() && index.contains("weight_map") && index["weight_map"].is_object();
  FULMEN_CHECK(has_map, path + ": weight_map: want an object of tensor name to file name");
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : index["weight_map"].items()) {
    FULMEN_CHECK(file.is_string(), path + ": weight_map: " + base::printable(name) + ": want a file name");
    const auto text = file.get<std::string>();
    FULMEN_CHECK(!text.empty() && text.find('/') == std::string::npos && text != "..",
                 path + ": weight_map: " + base::printable(name) + ": got \"" + base::printable(text) +
                     "\", want a file name in this directory");
    files[name] = text;
  }
  return files;
}

}  // namespace

// Every stored tensor by name, and which of them a parameter has used.
struct CheckpointReader::Catalog {
  struct Entry {
    const SafetensorsFile* file;
    const StoredTensor* tensor;
  };
  std::map<std::string, Entry> entries;
  std::set<std::string> used;
  std::string where;

  const Entry* take(const std::string& name) {
    auto it = entries.find(name);
    if (it == entries.end()) return nullptr;
    used.insert(name);
    return &it->second;
  }
};

bool has_weights(const std::string& given) {
  const std::string dir = weights_directory(given);
  return fs::exists(dir + kIndex) || fs::exists(dir + kSingle);
}

CheckpointReader::CheckpointReader(const std::string& given, const ModelConfig& config) : specs_(tensor_specs(config)) {
  const std::string dir = weights_directory(given);
  Catalog catalog;
  const bool indexed = fs::exists(dir + kIndex);
  catalog.where = dir + (indexed ? kIndex : kSingle);
  if (indexed) {
    std::map<std::string, const SafetensorsFile*> open;
    for (const auto& [name, file] : read_index(catalog.where)) {
      const SafetensorsFile*& shard = open[file];
      if (shard == nullptr) {
        FULMEN_CHECK(fs::exists(dir + "/" + file),
                     dir + "/" + file + ": missing shard: the index places " + base::printable(name) + " there");
        shard = files_.emplace_back(std::make_unique<SafetensorsFile>(dir + "/" + file)).get();
      }
      const StoredTensor* tensor = shard->find(name);
      FULMEN_CHECK(tensor != nullptr,
                   shard->path() + ": missing tensor " + base::printable(name) + ", which the index places there");
      catalog.entries[name] = {shard, tensor};
    }
  } else {
    FULMEN_CHECK(fs::exists(catalog.where),
                 dir + ": no weights: want model.safetensors.index.json or model.safetensors");
    files_.push_back(std::make_unique<SafetensorsFile>(catalog.where));
    for (const StoredTensor& t : files_[0]->tensors()) catalog.entries[t.name] = {files_[0].get(), &t};
  }
  for (const TensorSpec& spec : specs_) places_.push_back(place_of(spec, config, catalog));
  for (const auto& [name, entry] : catalog.entries) {
    if (catalog.used.count(name)) continue;
    FULMEN_CHECK(skippable(name, config.tie_word_embeddings),
                 entry.file->path() + ": tensor " + base::printable(name) + ": this config.json has no such parameter");
    skipped_.push_back(name);
  }
}

CheckpointReader::Place CheckpointReader::place_of(const TensorSpec& spec, const ModelConfig& config,
                                                   Catalog& catalog) const {
  auto checked = [&](const Catalog::Entry* entry, const std::vector<int64_t>& want, int64_t first) -> Place {
    FULMEN_CHECK(entry->tensor->shape == want, entry->file->path() + ": tensor " + entry->tensor->name + ": got " +
                                                   shape_text(entry->tensor->shape) + ", want " + shape_text(want));
    return {entry->file, entry->tensor, first};
  };
  if (const auto* entry = catalog.take(spec.name)) return checked(entry, spec.shape, 0);
  const std::string moe = ".block_sparse_moe.";
  const size_t at = spec.name.find(moe);
  if (at != std::string::npos) {
    const std::string mlp = spec.name.substr(0, at) + ".mlp.", rest = spec.name.substr(at + moe.size());
    if (const auto* entry = catalog.take(mlp + rest)) return checked(entry, spec.shape, 0);
    // experts.E.wN.weight lies in one of two stacks: gate_up_proj (E, 2F, C) with w1's rows first, down_proj (E, C, F).
    int expert = 0;
    char which = 0;
    if (std::sscanf(rest.c_str(), "experts.%d.w%c.weight", &expert, &which) == 2) {
      const int64_t E = config.num_experts, C = config.hidden_size, F = config.intermediate_size;
      if (which == '2') {
        if (const auto* entry = catalog.take(mlp + "experts.down_proj"))
          return checked(entry, {E, C, F}, expert * C * F);
      } else if (const auto* entry = catalog.take(mlp + "experts.gate_up_proj")) {
        return checked(entry, {E, 2 * F, C}, (2 * expert + (which == '3' ? 1 : 0)) * F * C);
      }
    }
  }
  throw Error(catalog.where + ": missing tensor " + spec.name + " " + shape_text(spec.shape));
}

std::span<const uint8_t> CheckpointReader::stored_bytes(size_t i) const {
  const Place& p = places_[i];
  const size_t width = dtype_bytes(p.tensor->dtype);
  return p.file->bytes(*p.tensor).subspan(static_cast<size_t>(p.first) * width,
                                          static_cast<size_t>(specs_[i].numel()) * width);
}

void CheckpointReader::read(size_t i, int64_t first, std::span<float> out) const {
  const auto bytes = stored_bytes(i);
  const size_t width = dtype_bytes(dtype(i));
  FULMEN_CHECK(first >= 0 && (static_cast<size_t>(first) + out.size()) * width <= bytes.size(),
               specs_[i].name + ": read past its end");
  decode_values(dtype(i), bytes.data() + static_cast<size_t>(first) * width, out.size(), out.data());
}

}  // namespace fulmen::model
