// WAV files: the header alone, or the samples of one channel. PCM of 8 to 32 bits, float, mu-law and A-law, RIFF and
// RF64, any chunks, and the lengths that writers to a pipe state.
//   const WavFormat wav = read_wav_format(source, "a.wav"); read_wav_channel(source, wav, 0, "a.wav");
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "utils/byte_source.h"

namespace speaker {

enum class WavEncoding { kPcm, kFloat, kMuLaw, kALaw };

struct WavFormat {
  WavEncoding encoding = WavEncoding::kPcm;
  int sample_rate = 0;
  int num_channels = 0;
  int bits_per_sample = 0;
  int sample_bytes = 0;  // of one sample of one channel, with the bits that are only room
  std::uint64_t data_offset = 0;
  std::uint64_t num_frames = 0;  // samples of each channel
};

// Whether `source` begins as a WAV file does.
bool is_wav(const ByteSource& source);

// Throws Error, which names `name`, where the file is damaged, cut off, or of an encoding that is not read.
WavFormat read_wav_format(const ByteSource& source, const std::string& name);

// Samples of `channel`, from 0, full scale at 1. The channel must be there.
std::vector<float> read_wav_channel(const ByteSource& source, const WavFormat& wav, int channel,
                                    const std::string& name);

}  // namespace speaker
