#pragma once
// Text <-> token ids. Two kinds: byte-level BPE from a Hugging Face tokenizer.json, and a byte tokenizer for small
// models. Token ids are the only form in which text travels; decode is for people and reward functions.
// decode(encode(x)) == x for any bytes x (with an NFC normalizer: the composed x). Objects are immutable and may be
// used from many threads.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fulmen::model {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;  // added tokens in the text are recognised
  virtual std::string decode(std::span<const int32_t> ids) const = 0;    // bytes; unknown ids throw Error
  virtual int32_t token_id(std::string_view token) const = 0;            // -1 if there is none
  virtual int64_t vocab_size() const = 0;                                // largest id + 1
  virtual int32_t eos_id() const = 0;                                    // end of a completion; -1 if none
  virtual std::string describe() const = 0;                              // one line for logs and inspect
};

// spec: "byte", a tokenizer.json, a directory that holds one, or "m1:FILE" for M1's merges.txt. The end token is the
// eos_token of a tokenizer_config.json beside it, else a usual name among the added tokens. Throws Error naming file
// and what is not supported. byte: ids 0..255 bytes, 256 <bos>, 257 <eos>, 258 <pad>; vocab 259 (models may pad it).
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& spec);

// The byte tokenizer as files that Hugging Face's library reads: name -> contents, the ids as here.
std::map<std::string, std::string> byte_tokenizer_files();

// Messages -> prompt text ending with the generation prompt. "plain": contents joined, nothing added. "m1": the
// template that M1 ships (facts/m1_spec section 7): roles system, user, assistant and tool, all system texts joined at
// the front.
struct Message {
  std::string role, content;
  std::string name{};  // of the tool, when role is "tool"
};
std::string render_chat(const std::string& name, const std::vector<Message>& messages);

}  // namespace fulmen::model
