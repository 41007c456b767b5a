#include "shared/model/inspect.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <memory>
#include <set>

#include "shared/model/checkpoint_reader.h"

namespace fulmen::model {
namespace {

namespace fs = std::filesystem;

struct Row {
  std::string name, shape, dtype, file;
  int64_t count = 1;
};

// model.layers.3.block...experts.7.w1 -> model.layers.{L}.block...experts.{E}.w1
std::string group_name(const std::string& name) {
  std::string out;
  for (size_t i = 0; i < name.size(); ++i) {
    const bool starts_number = std::isdigit(static_cast<unsigned char>(name[i])) && i > 0 && name[i - 1] == '.';
    size_t end = i;
    while (end < name.size() && std::isdigit(static_cast<unsigned char>(name[end]))) ++end;
    if (starts_number && end < name.size() && name[end] == '.') {
      out += out.ends_with("experts.") ? "{E}" : "{L}";
      i = end - 1;
    } else {
      out += name[i];
    }
  }
  return out;
}

std::vector<Row> tensor_rows(const std::vector<TensorSpec>& specs, const CheckpointReader* reader) {
  std::vector<Row> rows;
  for (size_t i = 0; i < specs.size(); ++i) {
    const std::string dtype = reader != nullptr ? dtype_name(reader->dtype(i)) : specs[i].fp32_on_disk ? "F32" : "BF16";
    const std::string file = reader != nullptr ? fs::path(reader->file(i)).filename().string() : "";
    rows.push_back({specs[i].name, shape_text(specs[i].shape), dtype, file});
  }
  return rows;
}

std::vector<Row> grouped(const std::vector<Row>& rows) {
  std::vector<Row> groups;
  for (Row row : rows) {
    row.name = group_name(row.name);
    row.file.clear();
    auto same = std::find_if(groups.begin(), groups.end(), [&](const Row& g) {
      return g.name == row.name && g.shape == row.shape && g.dtype == row.dtype;
    });
    if (same == groups.end())
      groups.push_back(row);
    else
      ++same->count;
  }
  return groups;
}

std::string table(const std::vector<Row>& rows, bool counts) {
  size_t name = 0, shape = 0;
  for (const Row& r : rows) {
    name = std::max(name, r.name.size());
    shape = std::max(shape, r.shape.size());
  }
  std::string text;
  for (const Row& r : rows) {
    std::string line = counts ? fmt::format("{:>8}  ", with_commas(r.count)) : "  ";
    line += fmt::format("{:<{}}  {:<{}}  {:<4}", r.name, name, r.shape, shape, r.dtype);
    if (!r.file.empty()) line += "  " + r.file;
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string layer_list(const ModelConfig& c) {
  std::string list;
  int softmax = 0;
  for (int l = 0; l < c.num_layers; ++l)
    if (c.softmax_layer(l)) {
      list += (list.empty() ? "" : " ") + std::to_string(l);
      ++softmax;
    }
  std::string text = fmt::format("{}: {} lightning, {} softmax", c.num_layers, c.num_layers - softmax, softmax);
  return softmax == 0 ? text : text + " (" + list + ")";
}

std::string summary(const ModelConfig& c) {
  const ModelCounts n = count_model(c);
  const std::string shared =
      c.shared_intermediate_size > 0 ? fmt::format(", shared expert {}", c.shared_intermediate_size) : "";
  std::string text = c.architecture + "\n";
  auto line = [&](const char* title, const std::string& value) { text += fmt::format("  {:<12} {}\n", title, value); };
  line("layers", layer_list(c));
  line("width", fmt::format("{}, vocabulary {}{}", c.hidden_size, c.vocab_size,
                            c.tie_word_embeddings ? ", embeddings tied" : ""));
  line("attention",
       fmt::format("{} heads x {} = {}; softmax layers {} KV heads, rotary {} of {}, theta {:g}", c.num_heads,
                   c.head_dim, c.num_heads * c.head_dim, c.num_kv_heads, c.rotary_dim, c.head_dim, c.rope_theta));
  line("experts", fmt::format("{} x {}, {} per token{}", c.num_experts, c.intermediate_size, c.top_k, shared));
  line("residual", fmt::format("{}, alpha/beta: lightning {:g}/{:g}, softmax {:g}/{:g}, experts {:g}/{:g}",
                               c.postnorm ? "post-norm" : "pre-norm", c.alpha_lightning, c.beta_lightning,
                               c.alpha_softmax, c.beta_softmax, c.alpha_mlp, c.beta_mlp));
  line("norm eps", fmt::format("{:g}, lightning output {:g}", c.rms_norm_eps, c.lightning_norm_eps));
  line("positions", with_commas(c.max_position_embeddings));
  line("tensors", with_commas(n.tensors));
  line("parameters", with_commas(n.parameters));
  line("active", with_commas(n.active_per_token) + " per token, without embedding and lm_head");
  line("bytes", with_commas(n.bytes) + " as bf16 with fp32 routers");
  return text;
}

std::string weights_summary(const std::string& dir, const CheckpointReader& reader, const InspectOptions& options,
                            const CheckpointProgress& progress) {
  int64_t bytes = 0;
  std::set<std::string> dtypes;
  for (size_t i = 0; i < reader.specs().size(); ++i) {
    bytes += static_cast<int64_t>(reader.stored_bytes(i).size());
    dtypes.insert(dtype_name(reader.dtype(i)));
  }
  std::string names;
  for (const std::string& d : dtypes) names += (names.empty() ? "" : ", ") + d;
  std::string text = fmt::format("  {:<12} {} files, {} bytes of {}; every tensor is there with its shape\n", "weights",
                                 reader.files().size(), with_commas(bytes), names);
  if (!reader.skipped().empty())
    text += fmt::format("  {:<12} {} stored tensors are no parameters, e.g. {}\n", "skipped", reader.skipped().size(),
                        reader.skipped()[0]);
  const char* verdict = "not compared";
  if (options.read_weights)
    verdict =
        verify_digests(dir, progress) ? "every tensor's bytes match their digest" : "none stored beside the weights";
  return text + fmt::format("  {:<12} {}\n", "digests", verdict);
}

}  // namespace

std::string with_commas(int64_t n) {
  std::string s = std::to_string(n);
  for (size_t at = s.size(); at > 3 + (n < 0 ? 1u : 0u);) s.insert(at -= 3, ",");
  return s;
}

std::string inspect(const std::string& given, const InspectOptions& options, const CheckpointProgress& progress) {
  const std::string path = weights_directory(given);
  const ModelConfig config = load_model_config(path);
  std::string text = summary(config);
  std::unique_ptr<CheckpointReader> reader;
  if (fs::is_directory(path) && has_weights(path)) {
    reader = std::make_unique<CheckpointReader>(path, config);
    text += weights_summary(path, *reader, options, progress);
  }
  const auto rows = tensor_rows(tensor_specs(config), reader.get());
  return text + "\n" + (options.list_tensors ? table(rows, false) : table(grouped(rows), true));
}

}  // namespace fulmen::model
