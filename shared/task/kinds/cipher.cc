// cipher: write a text in a described cipher, or read one. Ciphers on the letters A-Z: a shift, the mirrored alphabet,
// a shift by the letters of a key, every word reversed, and reading a table by columns. Harder ones apply several in
// turn.
#include <algorithm>

#include "shared/task/kinds/kinds.h"
#include "shared/task/words.h"

namespace fulmen::task {
namespace {

struct Step {
  int kind = 0;     // 0 shift, 1 mirror, 2 key, 3 reverse, 4 columns
  int number = 0;   // shift, columns
  std::string key;  // letters
};

std::string apply_step(const Step& s, const std::string& text) {
  std::string out;
  if (s.kind == 3) return {text.rbegin(), text.rend()};
  if (s.kind == 4) {
    const size_t columns = static_cast<size_t>(s.number);
    for (size_t c = 0; c < columns; ++c)
      for (size_t i = c; i < text.size(); i += columns) out += text[i];
    return out;
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const int x = text[i] - 'A';
    const int shift = s.kind == 0 ? s.number : s.kind == 2 ? s.key[i % s.key.size()] - 'A' : 0;
    out += static_cast<char>('A' + (s.kind == 1 ? 25 - x : (x + shift) % 26));
  }
  return out;
}

std::string described(const Step& s) {
  switch (s.kind) {
    case 0:
      return fmt::format("move every letter {} places on in the alphabet, going on with A after Z", s.number);
    case 1:
      return "replace A by Z, B by Y and so on, each letter by its mirror image in the alphabet";
    case 2:
      return fmt::format(
          "write the key {} again and again under the text and move every letter on by the number of its key letter (A "
          "by 0, "
          "B by 1 and so on), going on with A after Z",
          s.key);
    case 3:
      return "write the text backwards";
    default:
      return fmt::format(
          "write the text row by row into a table of {} columns and read it column by column, from the left, each from "
          "the "
          "top",
          s.number);
  }
}

Problem generate(Random& random, int difficulty) {
  const int words = 1 + difficulty / 3, steps = difficulty <= 3 ? 1 : difficulty <= 7 ? 2 : 3;
  std::string plain;
  for (const std::string& word : random.sample(english_words(), static_cast<size_t>(words))) plain += word;
  for (char& c : plain) c = static_cast<char>(c - 'a' + 'A');
  std::string text = plain, recipe;
  int last = -1;
  for (int i = 0; i < steps; ++i) {
    Step s;
    do s.kind = difficulty == 1 ? random.between(0, 1) : random.between(0, 4);
    while (s.kind == last);
    last = s.kind;
    s.number = s.kind == 0 ? random.between(1, 25) : random.between(2, 4);
    s.key = random.pick(english_words());
    for (char& c : s.key) c = static_cast<char>(c - 'a' + 'A');
    text = apply_step(s, text);
    recipe += fmt::format("{}. {}\n", i + 1, described(s));
  }
  const bool decode = random.chance(50);
  Problem p;
  p.size = static_cast<int>(plain.size()) * steps;
  p.puzzle = {{"recipe", recipe}, {"decode", decode}};
  p.answer = decode ? plain : text;
  p.prompt =
      fmt::format("A text of the letters A-Z is enciphered in these steps:\n{}\n{}: {}\n", recipe,
                  decode ? "Find the text that was enciphered to" : "Encipher this text", decode ? text : plain) +
      answer_request("the letters alone");
  return p;
}

}  // namespace

const Task kCipher{.id = 22,
                   .name = "cipher",
                   .sentence = "encipher or decipher by described steps",
                   .size_means = "letters times steps",
                   .generate = generate,
                   .verify = check_text};

}  // namespace fulmen::task
