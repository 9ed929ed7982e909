// Another sample rate: polyphase, a windowed sinc (Kaiser, beta 5, ten zero crossings of the lower rate on each side),
// as scipy.signal.resample_poly computes it.
//   std::vector<float> at_16k = resample(samples, 44100, 16000);
#pragma once

#include <vector>

namespace speaker {

std::vector<float> resample(const std::vector<float>& samples, int from_rate, int to_rate);

}  // namespace speaker
