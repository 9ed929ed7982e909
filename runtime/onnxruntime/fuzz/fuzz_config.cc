// Any bytes as fbank_config.json: settings that a filter bank can be made of, or an Error.
#include <cstddef>
#include <cstdint>

#include "feature/fbank.h"
#include "speaker_engine/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto config = speaker::parse_fbank_config(std::string(reinterpret_cast<const char*>(data), size), "c.json");
    if (config.fft_size() > 1 << 14) return 0;  // slow, and no other code
    const speaker::Fbank fbank(config);
    const std::vector<float> samples(static_cast<std::size_t>(config.frame_length() + config.frame_shift()), 0.1F);
    fbank.compute(samples.data(), samples.size());
  } catch (const speaker::Error&) {
  }
  return 0;
}
