#pragma once
// What a run reads besides checkpoints: its YAML config, a line of its data set, a message of its workers. Each returns
// whether the bytes were accepted; refusing must happen by fulmen::Error of one line. Anything else is a defect.

#include <string>
#include <string_view>
#include <vector>

namespace fulmen::fuzz {

// A config that is accepted is printed, and the print is accepted and prints the same.
bool read_config_yaml(std::string_view bytes);
std::vector<std::string> config_yaml_seeds();

// JSONL in verl's shape: every record of an accepted file has a prompt whose tokens are its text.
bool read_data_lines(std::string_view bytes);
std::vector<std::string> data_line_seeds();

// An Envelope of the wire; a WeightsManifest in it is laid out and received from a file of zeros (accepted: it
// describes that many zeros), a WeightsFetch is answered.
bool read_envelope(std::string_view bytes);
std::vector<std::string> envelope_seeds();

}  // namespace fulmen::fuzz
