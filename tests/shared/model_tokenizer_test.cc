#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <thread>

#include "kernels/error.h"
#include "shared/base/file.h"
#include "shared/model/bpe_tokenizer.h"
#include "shared/model/tokenizer.h"

namespace fulmen::model {
namespace {

using Json = nlohmann::json;

const std::string kGolden = std::string(FULMEN_SOURCE_DIR) + "/tests/golden/tokenizer/";

std::vector<Json> lines(const std::string& file) {
  std::istringstream in(base::read_file(kGolden + file));
  std::vector<Json> all;
  for (std::string line; std::getline(in, line);) all.push_back(Json::parse(line));
  return all;
}

Json gpt2() { return Json::parse(base::read_file(kGolden + "gpt2_trimmed.json")); }

// As make_vectors.py lays a variant over the trimmed GPT-2 file.
Json variant(const std::string& name) {
  Json t = gpt2();
  const Json change = Json::parse(base::read_file(kGolden + "variants.json")).at(name);
  t["model"]["type"] = "BPE";
  for (const char* key : {"normalizer", "pre_tokenizer"})
    if (change.contains(key)) t[key] = change[key];
  if (change.contains("added_tokens"))
    for (const Json& token : change["added_tokens"]) t["added_tokens"].push_back(token);
  if (change.contains("extra_vocab")) t["model"]["vocab"].update(change["extra_vocab"]);
  if (change.value("array_merges", false))
    for (Json& merge : t["model"]["merges"]) {
      const auto text = merge.get<std::string>();
      merge = {text.substr(0, text.find(' ')), text.substr(text.find(' ') + 1)};
    }
  t["model"]["ignore_merges"] = change.value("ignore_merges", false);
  return t;
}

std::unique_ptr<Tokenizer> make(const std::string& name) {
  if (name == "m1") return load_tokenizer("m1:" + kGolden + "m1_merges_3000.txt");
  return std::make_unique<BpeTokenizer>(parse_tokenizer_json(variant(name).dump(), name));
}

const std::vector<std::string> kAll = {"gpt2", "o200k", "qwen2", "llama3", "split_then_gpt2", "m1"};

TEST(Tokenizer, Gpt2VectorsOfLlamaCpp) {
  const auto t = load_tokenizer(kGolden + "gpt2_trimmed.json");
  for (const Json& v : lines("gpt2_vectors.jsonl")) {
    const auto text = v["text"].get<std::string>();
    EXPECT_EQ(t->encode(text), v["ids"].get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(t->decode(t->encode(text)), text);
  }
}

TEST(Tokenizer, EveryShapeGivesTheIdsOfTheRustLibrary) {
  std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers;
  int seen = 0;
  for (const Json& v : lines("oracle_vectors.jsonl")) {
    const auto name = v["tokenizer"].get<std::string>(), text = v["text"].get<std::string>();
    auto& t = tokenizers[name];
    if (!t) t = make(name);
    EXPECT_EQ(t->encode(text), v["ids"].get<std::vector<int32_t>>()) << name << ": " << v["text"].dump();
    ++seen;
  }
  EXPECT_EQ(tokenizers.size(), kAll.size());
  EXPECT_GT(seen, 400);
}

TEST(Tokenizer, DecodeGivesBackAnyBytes) {
  std::mt19937 random(3);
  for (const std::string& name : kAll) {
    const auto t = make(name);
    for (int round = 0; round < 200; ++round) {
      std::string bytes(random() % 40, '\0');
      for (char& c : bytes)
        c = static_cast<char>(random() % 3 ? "ab \xc3\xa9\xe4\xbd\xa0\xf0\x9f\n"[random() % 12] : random());
      const std::string back = t->decode(t->encode(bytes));
      EXPECT_EQ(back, name == "qwen2" ? nfc(bytes) : bytes) << name;
    }
  }
}

TEST(Tokenizer, MergesInOrderOfRankAsTheNaiveLoopDoes) {
  // Random small alphabets with many ties and overlaps, words longer than the cache takes too.
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {
    std::array<int32_t, 256> bytes{};
    for (int b = 0; b < 256; ++b) bytes[static_cast<size_t>(b)] = b;
    std::vector<Merge> merges;
    for (int32_t id = 256; id < 290; ++id) {
      auto part = [&] {
        return random() % 2 || id == 256 ? static_cast<int32_t>('a' + random() % 3)
                                         : 256 + static_cast<int32_t>(random() % static_cast<uint32_t>(id - 256));
      };
      const int32_t left = part(), right = part();
      merges.push_back({left, right, id});
    }
    const Bpe bpe(bytes, merges);
    for (int n : {0, 1, 2, 7, 30, 200}) {
      std::string word(static_cast<size_t>(n), 'a');
      for (char& c : word) c = static_cast<char>('a' + random() % 3);
      std::vector<int32_t> naive(word.begin(), word.end());
      for (bool merged = true; merged;) {
        merged = false;
        for (const Merge& m : merges) {  // lowest rank first, leftmost first, one at a time
          for (size_t i = 0; i + 1 < naive.size() && !merged; ++i)
            if (naive[i] == m.left && naive[i + 1] == m.right) {
              naive[i] = m.result;
              naive.erase(naive.begin() + static_cast<long>(i) + 1);
              merged = true;
            }
          if (merged) break;
        }
      }
      for (int again = 0; again < 2; ++again) {  // the second time from the cache
        std::vector<int32_t> got = {-7};
        bpe.encode_word(word, got);
        ASSERT_EQ(got.size(), naive.size() + 1);
        EXPECT_TRUE(std::equal(naive.begin(), naive.end(), got.begin() + 1)) << word;
      }
    }
  }
}

TEST(Tokenizer, LongWordsComeBackWhole) {
  for (const std::string& name : kAll) {
    const auto t = make(name);
    for (const std::string& unit :
         {std::string("a"), std::string(" "), std::string("ab\xcc\x81"), std::string("!"), std::string("1")}) {
      std::string text;
      while (text.size() < 50000) text += unit;
      EXPECT_EQ(t->decode(t->encode(text)).size(), name == "qwen2" ? nfc(text).size() : text.size());
    }
  }
}

TEST(Tokenizer, ThreadsShareOneTokenizer) {
  const auto t = make("o200k");
  const auto vectors = lines("oracle_vectors.jsonl");
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (size_t n = 0; n < wrong.size(); ++n)
    threads.emplace_back([&, n] {
      for (const Json& v : vectors)
        if (v["tokenizer"] == "o200k" &&
            t->encode(v["text"].get<std::string>()) != v["ids"].get<std::vector<int32_t>>())
          ++wrong[n];
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(Tokenizer, M1HasItsSpecialTokens) {
  const auto t = make("m1");
  EXPECT_EQ(t->vocab_size(), 200064);
  EXPECT_EQ(t->eos_id(), 200020);
  EXPECT_EQ(t->token_id("<begin_of_document>"), 200034);
  const auto ids = t->encode(render_chat("m1", {{"user", "hi"}}));
  EXPECT_EQ(ids[0], 200034);
  EXPECT_EQ(ids[1], 200019);
  EXPECT_THROW(t->decode(std::vector<int32_t>{200063}), Error);
}

TEST(Tokenizer, EndTokenComesFromTheConfigBesideIt) {
  const std::string dir = testing::TempDir() + "fulmen_tokenizer";
  base::make_directories(dir);
  base::write_file_atomic(dir + "/tokenizer.json", variant("qwen2").dump());
  EXPECT_EQ(load_tokenizer(dir)->eos_id(), 60001);
  base::write_file_atomic(dir + "/tokenizer_config.json", R"({"eos_token": {"content": "<|im_start|>"}})");
  EXPECT_EQ(load_tokenizer(dir)->eos_id(), 60000);
  EXPECT_EQ(load_tokenizer(dir + "/tokenizer.json")->eos_id(), 60000);
  base::write_file_atomic(dir + "/tokenizer_config.json", R"({"eos_token": "<absent>"})");
  EXPECT_THROW(load_tokenizer(dir), Error);
  std::filesystem::remove_all(dir);
}

TEST(Tokenizer, WhatIsNotSupportedIsRefusedByName) {
  auto error_of = [](const std::string& text) -> std::string {
    try {
      BpeTokenizer t(parse_tokenizer_json(text, "t.json"));
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  auto with = [](const std::string& pointer, const Json& value) {
    Json t = gpt2();
    t[Json::json_pointer(pointer)] = value;
    return t.dump();
  };
  const Json split = {{"type", "Split"}, {"pattern", {{"Regex", "a"}}}, {"behavior", "Isolated"}, {"invert", false}};
  auto split_with = [&](const char* key, const Json& value) {
    Json s = split;
    s[key] = value;
    return with("/pre_tokenizer", s);
  };
  ASSERT_EQ(error_of(gpt2().dump()), "");
  ASSERT_EQ(error_of(with("/pre_tokenizer", split)), "");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {with("/model/type", "Unigram"), "model: type: got \"Unigram\", want BPE"},
      {with("/model/byte_fallback", true), "byte_fallback"},
      {with("/model/dropout", 0.1), "dropout"},
      {with("/model/continuing_subword_prefix", "##"), "continuing_subword_prefix"},
      {with("/model/vocab/!", "x"), "model: vocab: !"},
      {with("/model/vocab/!", -1), "token id: got -1"},
      {with("/model/vocab/!", 1), "token id 1 is given to two tokens"},
      {with("/model/vocab", Json::object()), "no token for byte"},
      {with("/model/merges/3", "a b c"), "model: merges[3]"},
      {with("/model/merges/3", "a zzzzz"), "merges[3]: \"zzzzz\" is not in the vocabulary"},
      {with("/model/merges/3", Json::array({"a"})), "model: merges[3]"},
      {with("/model/merges", nullptr), "model: merges"},
      {with("/normalizer", {{"type", "Lowercase"}}), "normalizer"},
      {with("/pre_tokenizer", nullptr), "pre_tokenizer"},
      {with("/pre_tokenizer/type", "Metaspace"), "pre_tokenizer: type: got \"Metaspace\""},
      {with("/pre_tokenizer/add_prefix_space", true), "add_prefix_space"},
      {split_with("behavior", "Removed"), "behavior: got \"Removed\""},
      {split_with("invert", true), "invert"},
      {split_with("pattern", {{"String", "a"}}), "pattern"},
      {split_with("pattern", {{"Regex", "(a"}}), "regular expression"},
      {split_with("pattern", {{"Regex", "[a&&b]"}}), "not supported at"},
      {split_with("pattern", {{"Regex", "^a"}}), "not supported at 0"},
      {with("/decoder/type", "WordPiece"), "decoder: type"},
      {with("/added_tokens/0/lstrip", true), "added_tokens[0]: lstrip: got true, want false"},
      {with("/added_tokens/0/rstrip", true), "rstrip"},
      {with("/added_tokens/0/single_word", true), "single_word"},
      {with("/added_tokens/0/content", ""), "content"},
      {with("/added_tokens/0/id", 99999999), "id: got 99999999, want 50256"},
      {"{}", "model"},
      {"[1]", "want an object"},
      {"{\"model\"", "not JSON"},
  };
  for (const auto& [text, part] : cases) {
    const std::string message = error_of(text);
    EXPECT_EQ(message.rfind("t.json: ", 0), 0u) << part << " in: " << message;
    EXPECT_NE(message.find(part), std::string::npos) << part << " in: " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  EXPECT_THROW(load_tokenizer("/no/such/file"), Error);
}

TEST(Tokenizer, BytesAndTheirThreeSpecials) {
  const auto t = load_tokenizer("byte");
  EXPECT_EQ(t->encode("a\xff<eos><b<pad>"), (std::vector<int32_t>{'a', 255, 257, '<', 'b', 258}));
  std::vector<int32_t> all(259);
  for (int32_t i = 0; i < 259; ++i) all[static_cast<size_t>(i)] = i;
  EXPECT_EQ(t->encode(t->decode(all)), all);
  EXPECT_EQ(t->token_id("<bos>"), 256);
  EXPECT_EQ(t->token_id("no"), -1);
  EXPECT_EQ(t->eos_id(), 257);
  EXPECT_EQ(t->vocab_size(), 259);
  EXPECT_THROW(t->decode(std::vector<int32_t>{259}), Error);
  EXPECT_THROW(t->decode(std::vector<int32_t>{-1}), Error);
}

TEST(Tokenizer, FilesOfTheByteTokenizerGiveTheSameIds) {
  const std::string dir = testing::TempDir() + "/byte_tokenizer." + std::to_string(getpid());
  base::make_directories(dir);
  for (const auto& [name, bytes] : byte_tokenizer_files()) base::write_file_atomic(dir + "/" + name, bytes);
  const auto bytes = load_tokenizer("byte"), files = load_tokenizer(dir);
  EXPECT_EQ(files->vocab_size(), bytes->vocab_size());
  EXPECT_EQ(files->eos_id(), bytes->eos_id());
  std::mt19937 random(4);
  std::string all("a <eos>b\n\n  <bos><pad> 1+2=\xc3\xa9\xff\xfe");
  for (int i = 0; i < 2000; ++i) all.push_back(static_cast<char>(random()));
  EXPECT_EQ(files->encode(all), bytes->encode(all));
  EXPECT_EQ(files->decode(bytes->encode(all)), all);
  base::remove_all(dir);
}

TEST(Chat, M1TemplateIsRenderedAsItsJinjaDoes) {
  EXPECT_EQ(
      render_chat(
          "m1", {{"system", "You are "}, {"user", "Hi"}, {"assistant", "Yes?"}, {"system", "kind."}, {"user", "2+2"}}),
      "<begin_of_document><beginning_of_sentence>system ai_setting=assistant\nYou are kind.<end_of_sentence>\n"
      "<beginning_of_sentence>user name=user\nHi<end_of_sentence>\n"
      "<beginning_of_sentence>ai name=assistant\nYes?<end_of_sentence>\n"
      "<beginning_of_sentence>user name=user\n2+2<end_of_sentence>\n"
      "<beginning_of_sentence>ai name=assistant\n");
  EXPECT_EQ(
      render_chat("m1", {{"tool", "4", "add"}}),
      "<begin_of_document><beginning_of_sentence>tool name=tools\ntool name: add\ntool result: 4\n\n<end_of_sentence>\n"
      "<beginning_of_sentence>ai name=assistant\n");
}

TEST(Chat, PlainJoinsAndUnknownNamesAreRefused) {
  EXPECT_EQ(render_chat("plain", {{"system", "a"}, {"user", "b"}}), "ab");
  EXPECT_THROW(render_chat("chatml", {}), Error);
  EXPECT_THROW(render_chat("m1", {{"critic", "x"}}), Error);
}

}  // namespace
}  // namespace fulmen::model
