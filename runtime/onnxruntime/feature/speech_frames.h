// What is measured in each frame of 40 ms: energy, voicing, pitch period and the energies of bands.
//   const SpeechFrames frames = measure_frames(samples, 16000);
#pragma once

#include <array>
#include <vector>

namespace speaker {

constexpr int kNumBands = 20;
constexpr double kSpeechShiftS = 0.010;

struct SpeechFrames {
  std::vector<double> energy_db;
  std::vector<double> voicing;  // height of the highest peak of the normalised autocorrelation
  std::vector<double> lag_s;    // pitch period
  std::vector<std::array<double, kNumBands>> bands_db;
};

SpeechFrames measure_frames(const std::vector<float>& samples, int sample_rate);

// Edges of the bands in Hz, kNumBands + 1.
std::vector<double> band_edges_hz(int sample_rate);

}  // namespace speaker
