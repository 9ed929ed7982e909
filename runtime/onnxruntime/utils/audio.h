// The only reader of audio: a file, a buffer or the output of a command becomes one checked channel.
//   const Audio audio = read_audio("a.wav", 0);
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "utils/byte_source.h"

namespace speaker {

struct AudioFormat {
  int sample_rate = 0;
  int num_channels = 0;
  int bits_per_sample = 0;  // 0 where the encoding has none
  std::uint64_t num_frames = 0;
};

struct Audio {
  std::vector<float> samples;  // within [-1, 1]
  int sample_rate = 0;
  int channel = 0;
  int num_channels = 1;
  double duration_s() const { return static_cast<double>(samples.size()) / sample_rate; }
};

constexpr int kOnlyChannel = -1;  // the file must have one

// Throws Error where it is missing, damaged or no audio.
AudioFormat describe_audio(const std::string& path);

// `channel` counts from 0. Throws Error where the file is missing, damaged, no audio, has no such channel, is shorter
// than 25 ms, or holds NaN, Inf or samples far past full scale. Silence is let through.
Audio read_audio(const std::string& path, int channel);
Audio decode_audio(const std::vector<std::uint8_t>& bytes, const std::string& name, int channel);

// What the shell command writes to its standard output, as audio.
Audio read_command(const std::string& command, int channel);

// The checks of read_audio for samples that come from elsewhere; what overshoots full scale a little is clipped.
void check_samples(std::vector<float>& samples, int sample_rate, const std::string& name);

// Throws Error where no sample reaches a thousandth of a 16-bit step.
void refuse_silence(const Audio& audio, const std::string& name);

// `audio` at `sample_rate`, clipped to full scale.
Audio resampled(Audio audio, int sample_rate);

}  // namespace speaker
