// Is there enough speech to decide on? The rule of speakerlab.embed.speech_check: seconds of speech, level, clipping
// and bandwidth of a recording as it was made, and reasons where no decision should rest on it.
//   const SpeechCheck found = check_speech(audio.samples, audio.sample_rate);
#pragma once

#include <string>
#include <vector>

namespace speaker {

struct SpeechCheck {
  double duration_s = 0;
  double speech_s = 0;
  double level_db = 0;      // RMS of the loudest twentieth of the frames, dB over full scale
  double clipped = 0;       // share of samples in flat tops
  double bandwidth_hz = 0;  // how far the spectrum reaches
  std::vector<std::string> reasons;
};

SpeechCheck check_speech(const std::vector<float>& samples, int sample_rate);

}  // namespace speaker
