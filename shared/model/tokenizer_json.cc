// Readers of tokenizer files into a BpeDescription.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "kernels/error.h"
#include "shared/base/nested_json.h"
#include "shared/base/printable.h"
#include "shared/model/bpe_tokenizer.h"

namespace fulmen::model {
namespace {

using Json = nlohmann::json;

constexpr int64_t kM1FirstSpecial = 200000;

std::string show(const Json& v) {
  const std::string s = v.dump(-1, ' ', false, Json::error_handler_t::replace);
  return s.size() > 80 ? s.substr(0, 80) + "..." : s;
}

// A view of one JSON object of the file, whose path in the file is part of every message.
struct Field {
  const Json& value;
  std::string path;

  [[noreturn]] void fail(const std::string& want) const {
    throw Error(path + ": got " + show(value) + ", want " + want);
  }

  Field at(const std::string& key) const {
    static const Json null;
    if (!value.is_object()) fail("an object");
    auto it = value.find(key);
    return {it == value.end() ? null : *it, path + ": " + key};
  }
  bool absent() const { return value.is_null(); }
  std::string text() const {
    if (!value.is_string()) fail("a string");
    return value.get<std::string>();
  }
  bool boolean(bool fallback) const {
    if (absent()) return fallback;
    if (!value.is_boolean()) fail("true or false");
    return value.get<bool>();
  }
  int64_t integer() const {
    if (!value.is_number_integer()) fail("an integer");
    return value.get<int64_t>();
  }
  const Json& list() const {
    if (!value.is_array()) fail("a list");
    return value;
  }
  std::string type() const { return at("type").text(); }
};

using Vocabulary = std::unordered_map<std::string, int32_t>;  // spelling -> id

Vocabulary read_vocab(const Field& vocab, BpeDescription& d) {
  if (!vocab.value.is_object()) vocab.fail("an object of token to id");
  const ByteAlphabet alphabet;
  Vocabulary ids;
  for (const auto& [spelling, id] : vocab.value.items()) {
    std::string bytes;
    if (!alphabet.to_bytes(spelling, bytes)) bytes = spelling;  // outside the alphabet: only as an added token
    const int64_t number = Field{id, vocab.path + ": " + base::printable(spelling)}.integer();
    d.add(number, bytes);
    ids.emplace(spelling, static_cast<int32_t>(number));
  }
  for (size_t b = 0; b < 256; ++b) {
    auto it = ids.find(alphabet.spelled[b]);
    FULMEN_CHECK(it != ids.end(), vocab.path + ": no token for byte " + std::to_string(b) + " (not byte-level?)");
    d.byte_ids[b] = it->second;
  }
  return ids;
}

Merge make_merge(const Vocabulary& vocab, const std::string& left, const std::string& right, const std::string& where) {
  auto id = [&](const std::string& token) {
    auto it = vocab.find(token);
    FULMEN_CHECK(it != vocab.end(), where + ": \"" + base::printable(token) + "\" is not in the vocabulary");
    return it->second;
  };
  return {id(left), id(right), id(left + right)};
}

void read_merges(const Field& merges, const Vocabulary& vocab, BpeDescription& d) {
  for (const Json& m : merges.list()) {
    const std::string where = merges.path + "[" + std::to_string(d.merges.size()) + "]";
    std::string left, right;
    if (m.is_string()) {
      const auto text = m.get<std::string>();
      const size_t space = text.find(' ');
      if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
        Field{m, where}.fail("two tokens with a space between");
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else if (m.is_array() && m.size() == 2 && m[0].is_string() && m[1].is_string()) {
      left = m[0].get<std::string>();
      right = m[1].get<std::string>();
    } else {
      Field{m, where}.fail("\"a b\" or [\"a\", \"b\"]");
    }
    d.merges.push_back(make_merge(vocab, left, right, where));
  }
}

Vocabulary read_model(const Field& model, BpeDescription& d) {
  const Field type = model.at("type");  // older files have none
  if (!type.absent() && type.text() != "BPE") type.fail("BPE");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Field f = model.at(key);
    if (!f.absent() && !f.text().empty()) f.fail("none");
  }
  const Field dropout = model.at("dropout");
  if (!dropout.absent() && dropout.value != 0) dropout.fail("none");
  if (model.at("byte_fallback").boolean(false)) model.at("byte_fallback").fail("false (byte-level BPE)");
  d.ignore_merges = model.at("ignore_merges").boolean(false);
  Vocabulary vocab = read_vocab(model.at("vocab"), d);
  read_merges(model.at("merges"), vocab, d);
  return vocab;
}

void read_normalizer(const Field& f, BpeDescription& d) {
  if (f.absent()) return;
  const std::string type = f.type();
  if (type == "NFC") {
    d.normalize_nfc = true;
  } else if (type == "Sequence") {
    for (const Json& part : f.at("normalizers").list()) read_normalizer({part, f.path}, d);
  } else {
    f.fail("null or NFC");
  }
}

void read_pretokenizer(const Field& f, BpeDescription& d) {
  if (f.absent()) f.fail("ByteLevel, Split or a Sequence of them");
  const std::string type = f.type();
  if (type == "ByteLevel") {
    if (f.at("add_prefix_space").boolean(true)) f.at("add_prefix_space").fail("false");
    if (f.at("use_regex").boolean(true)) d.patterns.push_back(kGpt2Pattern);
  } else if (type == "Split") {
    const Field pattern = f.at("pattern").at("Regex"), behavior = f.at("behavior"), invert = f.at("invert");
    if (pattern.absent()) f.at("pattern").fail("Regex");
    if (behavior.text() != "Isolated") behavior.fail("Isolated");
    if (invert.boolean(false)) invert.fail("false");
    d.patterns.push_back(pattern.text());
  } else if (type == "Sequence") {
    for (const Json& part : f.at("pretokenizers").list()) read_pretokenizer({part, f.path}, d);
  } else {
    f.at("type").fail("ByteLevel, Split or Sequence");
  }
}

void read_decoder(const Field& f) {
  if (f.absent() || f.type() == "ByteLevel") return;
  if (f.type() != "Sequence") f.at("type").fail("ByteLevel");
  for (const Json& part : f.at("decoders").list()) read_decoder({part, f.path});
}

// Ids whose bytes BPE relies on.
std::vector<bool> ids_in_merges(const BpeDescription& d) {
  std::vector<bool> used(d.tokens.size());
  for (int32_t id : d.byte_ids) used[static_cast<size_t>(id)] = true;
  for (const Merge& m : d.merges) used[static_cast<size_t>(m.result)] = true;
  return used;
}

void read_added(const Field& f, const Vocabulary& vocab, BpeDescription& d) {
  if (f.absent()) return;
  const std::vector<bool> used = ids_in_merges(d);
  for (size_t i = 0; i < f.list().size(); ++i) {
    const Field token{f.value[i], f.path + "[" + std::to_string(i) + "]"};
    for (const char* key : {"single_word", "lstrip", "rstrip"})
      if (token.at(key).boolean(false)) token.at(key).fail("false");
    AddedToken added;
    added.text = token.at("content").text();
    if (added.text.empty()) token.at("content").fail("some text");
    const int64_t id = token.at("id").integer();
    added.special = token.at("special").boolean(false);
    added.normalized = token.at("normalized").boolean(!added.special);
    // The vocabulary may hold it too, spelled plainly; its bytes are its text, not what the alphabet would make of it.
    auto same = vocab.find(added.text);
    if (same != vocab.end()) {
      if (same->second != id) token.at("id").fail(std::to_string(same->second) + ", its id in the vocabulary");
      const auto at = static_cast<size_t>(id);
      if (!used[at]) d.known[at] = false;
    }
    d.add(id, added.text);
    added.id = static_cast<int32_t>(id);
    d.added.push_back(added);
  }
}

// Without tokenizer_config.json: the names by which the families this program meets end a text.
std::string usual_eos(const BpeDescription& d) {
  for (const char* name :
       {"<end_of_sentence>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "</s>", "<eos>"})
    for (const AddedToken& token : d.added)
      if (token.text == name) return name;
  return "";
}

}  // namespace

BpeDescription parse_tokenizer_json(const std::string& text, const std::string& where) {
  const Json file = base::parse_json<Json>(text, where);
  const Field root{file, where};
  BpeDescription d;
  d.where = where;
  const Field model = root.at("model");
  if (!model.value.is_object()) model.fail("an object");
  const Vocabulary vocab = read_model(model, d);
  read_normalizer(root.at("normalizer"), d);
  read_pretokenizer(root.at("pre_tokenizer"), d);
  read_decoder(root.at("decoder"));
  read_added(root.at("added_tokens"), vocab, d);
  d.eos = usual_eos(d);
  return d;
}

BpeDescription parse_m1_merges(const std::string& text, const std::string& where) {
  const ByteAlphabet alphabet;
  BpeDescription d;
  d.where = where;
  Vocabulary vocab;
  for (size_t i = 0; i < 256; ++i) {
    const uint8_t b = alphabet.order[i];
    d.add(static_cast<int64_t>(i), {static_cast<char>(b)});
    d.byte_ids[b] = static_cast<int32_t>(i);
    vocab[alphabet.spelled[b]] = static_cast<int32_t>(i);
  }
  size_t line = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string pair = text.substr(begin, end - begin), at = where + ":" + std::to_string(++line);
    begin = end + 1;
    if (pair.empty() || (line == 1 && pair.starts_with("#version"))) continue;
    const size_t space = pair.find(' ');
    FULMEN_CHECK(space != std::string::npos, at + ": want two tokens with a space between");
    const std::string left = pair.substr(0, space), right = pair.substr(space + 1);
    const auto id = static_cast<int64_t>(256 + d.merges.size());
    FULMEN_CHECK(id < kM1FirstSpecial, at + ": more merges than M1 has");
    std::string bytes;
    FULMEN_CHECK(alphabet.to_bytes(left + right, bytes), at + ": a character outside the byte alphabet");
    vocab[left + right] = static_cast<int32_t>(id);
    d.add(id, bytes);
    d.merges.push_back(make_merge(vocab, left, right, at));
  }
  d.patterns = {kO200kPattern};
  const std::pair<int64_t, const char*> specials[] = {{200019, "<beginning_of_sentence>"},
                                                      {200020, "<end_of_sentence>"},
                                                      {200021, "<end_of_document>"},
                                                      {200034, "<begin_of_document>"}};
  for (const auto& [id, name] : specials) {
    d.add(id, name);
    d.added.push_back({name, static_cast<int32_t>(id), true, false});
  }
  d.tokens.resize(200064);  // the embedding's padding: ids without a token
  d.known.resize(200064);
  d.eos = "<end_of_sentence>";
  return d;
}

}  // namespace fulmen::model
