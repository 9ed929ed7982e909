// The comparison of two recordings: decision, score, confidence in words, and JSON, as `speakerlab verify` gives them.
//   decide({embedding, check, ...}, {...}, rule, identity)
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "feature/speech_check.h"
#include "model/rule.h"
#include "speaker_engine/speaker_model.h"

namespace speaker {

struct Heard {
  std::string origin;
  std::vector<float> embedding;
  SpeechCheck speech;
  int sample_rate = 0;
  int channel = 0;
  int num_channels = 1;
};

struct Identity {
  std::string name;
  std::optional<std::string> content_hash, domain;
  int sample_rate = 0;  // that the model listens at
};

Decision decide(const Heard& first, const Heard& second, const Rule& rule, const Identity& model);

}  // namespace speaker
