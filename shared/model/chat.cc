#include "kernels/error.h"
#include "shared/model/tokenizer.h"

namespace fulmen::model {
namespace {

// The template of M1's tokenizer_config.json for text messages: all system texts first and joined, whatever their
// place.
std::string render_m1(const std::vector<Message>& messages) {
  const std::string begin = "<beginning_of_sentence>", end = "<end_of_sentence>\n";
  std::string system, turns;
  for (const Message& m : messages) {
    if (m.role == "system")
      system += m.content;
    else if (m.role == "user")
      turns += begin + "user name=user\n" + m.content + end;
    else if (m.role == "assistant")
      turns += begin + "ai name=assistant\n" + m.content + end;
    else if (m.role == "tool")
      turns += begin + "tool name=tools\ntool name: " + m.name + "\ntool result: " + m.content + "\n\n" + end;
    else
      throw Error("chat template m1: role: got \"" + m.role + "\", want system, user, assistant or tool");
  }
  if (!system.empty()) system = begin + "system ai_setting=assistant\n" + system + end;
  return "<begin_of_document>" + system + turns + begin + "ai name=assistant\n";
}

}  // namespace

std::string render_chat(const std::string& name, const std::vector<Message>& messages) {
  if (name == "m1") return render_m1(messages);
  FULMEN_CHECK(name == "plain", "chat template: got \"" + name + "\", want plain or m1");
  std::string text;
  for (const Message& m : messages) text += m.content;
  return text;
}

}  // namespace fulmen::model
