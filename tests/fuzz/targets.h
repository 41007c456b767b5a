#pragma once
// Readers of files that strangers write, one function per format. Each returns whether the bytes were accepted;
// refusing must happen by fulmen::Error with a message of one line, and what was accepted must keep its promises.
// Anything else (another exception, a broken promise, a sanitizer report) is a defect and ends the process or the test.

#include <string>
#include <string_view>
#include <vector>

namespace fulmen::fuzz {

bool read_safetensors(std::string_view bytes);
bool read_tokenizer_json(std::string_view bytes);
bool read_config_json(std::string_view bytes);
bool read_task_record(std::string_view bytes);  // accepted: an answer that is right
bool read_task_answer(std::string_view bytes);  // the first byte chooses a kind; a response to its puzzle

struct Target {
  const char* name;
  bool (*read)(std::string_view bytes);
  std::vector<std::string> seeds;  // accepted files to start from
};
std::vector<Target> file_targets();  // checkpoints and tokenizers
std::vector<Target> task_targets();  // puzzles

}  // namespace fulmen::fuzz
