// Any bytes as an audio file: read, or refused by an Error.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "speaker_engine/error.h"
#include "utils/wav_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const speaker::MemorySource source(std::vector<std::uint8_t>(data, data + size));
  try {
    const speaker::WavFormat wav = speaker::read_wav_format(source, "a.wav");
    for (int channel = 0; channel < wav.num_channels && channel < 3; ++channel)
      if (speaker::read_wav_channel(source, wav, channel, "a.wav").size() != wav.num_frames) __builtin_trap();
  } catch (const speaker::Error&) {
  }
  return 0;
}
