#pragma once
// Records of SynLogic's generators (github.com/MiniMax-AI/SynLogic) as ours: {"task", "question", "answer", "metadata"}
// -> data_source, puzzle and ground truth in our answer form. Kinds whose metadata hold the puzzle are checked by our
// rules; kinds with one right text take the text. The prompt is SynLogic's question, whose answer form is another: a
// request for our form is added to it.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace fulmen::task {

// Throws Error for a record that is not one of these, or of a kind that cannot be taken over.
nlohmann::json import_synlogic(const nlohmann::json& record);
const std::vector<std::string>& synlogic_kinds();

}  // namespace fulmen::task
