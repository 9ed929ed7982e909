#include "feature/speech_check.h"

#include <algorithm>
#include <cmath>

#include "feature/speech_frames.h"
#include "utils/text.h"

namespace speaker {
namespace {

using Mask = std::vector<bool>;

constexpr double kMinSpeechS = 1.0;
constexpr double kMinLevelDb = -65.0;
constexpr double kMaxClipped = 0.01;
constexpr double kMinVoicing = 0.5;
constexpr double kMaxLagStep = 0.12;
constexpr std::size_t kMinVoicedFrames = 5;
constexpr std::size_t kReachFrames = 15;
constexpr double kDynamicRangeDb = 30.0;
constexpr double kMinVoicedShare = 0.12;
constexpr double kMinLagSpread = 0.03;
constexpr double kMinShapeSpreadDb = 4.2;
constexpr double kBandFloorDb = 55.0;

// Linear between the two nearest values, as numpy.percentile.
double percentile(std::vector<double> values, double percent) {
  std::sort(values.begin(), values.end());
  const double place = percent / 100 * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

double deviation(const std::vector<double>& values) {
  double mean = 0;
  for (const double value : values) mean += value;
  mean /= static_cast<double>(values.size());
  double square = 0;
  for (const double value : values) square += (value - mean) * (value - mean);
  return std::sqrt(square / static_cast<double>(values.size()));
}

std::size_t count(const Mask& mask) { return static_cast<std::size_t>(std::count(mask.begin(), mask.end(), true)); }

// `mask` without its runs of fewer than `least`.
Mask in_runs(const Mask& mask, std::size_t least) {
  Mask kept(mask.size(), false);
  for (std::size_t start = 0; start < mask.size();) {
    std::size_t end = start;
    while (end < mask.size() && mask[end]) ++end;
    if (end - start >= least)
      std::fill(kept.begin() + static_cast<long>(start), kept.begin() + static_cast<long>(end), true);
    start = std::max(end, start + 1);
  }
  return kept;
}

double clipped_share(const std::vector<float>& samples) {
  float peak = 0;
  for (const float sample : samples) peak = std::max(peak, std::abs(sample));
  if (peak == 0) return 0;
  const auto level = static_cast<float>(0.999 * static_cast<double>(peak));
  double share = 0;
  for (const float sign : {1.0F, -1.0F}) {
    Mask at_top(samples.size());
    for (std::size_t n = 0; n < samples.size(); ++n) at_top[n] = sign * samples[n] >= level;
    share += static_cast<double>(count(in_runs(at_top, 3))) / static_cast<double>(samples.size());
  }
  return share;
}

Mask active_frames(const SpeechFrames& frames, double level_db) {
  Mask active;
  for (const double energy : frames.energy_db)
    active.push_back(energy > std::max(level_db - kDynamicRangeDb, kMinLevelDb));
  return active;
}

// Frames whose pitch is strong and moves little from one of its neighbours, in runs.
Mask voiced_frames(const SpeechFrames& frames, const Mask& active) {
  const std::size_t size = active.size();
  const auto is_steady = [&frames](std::size_t n) {
    return std::abs(std::log(frames.lag_s[n + 1]) - std::log(frames.lag_s[n])) < kMaxLagStep;
  };
  Mask voiced(size);
  for (std::size_t n = 0; n < size; ++n) {
    const bool follows = (n + 1 < size && is_steady(n)) || (n > 0 && is_steady(n - 1));
    voiced[n] = active[n] && follows && frames.voicing[n] > kMinVoicing;
  }
  return in_runs(voiced, kMinVoicedFrames);
}

// Active frames near voiced ones: unvoiced sounds lie around them.
std::vector<std::size_t> speech_frames(const Mask& active, const Mask& voiced) {
  Mask near(voiced.size(), false);
  for (std::size_t n = 0; n < voiced.size(); ++n)
    if (voiced[n])
      for (std::size_t m = n > kReachFrames ? n - kReachFrames : 0; m < std::min(voiced.size(), n + kReachFrames + 1);
           ++m)
        near[m] = true;
  std::vector<std::size_t> found;
  for (std::size_t n = 0; n < voiced.size(); ++n)
    if (active[n] && near[n]) found.push_back(n);
  return found;
}

// How much the shape of the spectrum changes: mean over bands of the deviation of energies without their level.
double shape_spread(const SpeechFrames& frames, const std::vector<std::size_t>& speech) {
  std::vector<std::vector<double>> shapes(kNumBands);
  for (const std::size_t n : speech) {
    double mean = 0;
    for (const double band : frames.bands_db[n]) mean += band / kNumBands;
    for (std::size_t b = 0; b < kNumBands; ++b) shapes[b].push_back(frames.bands_db[n][b] - mean);
  }
  double sum = 0;
  for (const auto& band : shapes) sum += deviation(band) / kNumBands;
  return sum;
}

// Seconds of speech; 0 where the whole does not behave as a talker does.
double speech_seconds(const SpeechFrames& frames, double level_db) {
  const Mask active = active_frames(frames, level_db);
  const Mask voiced = voiced_frames(frames, active);
  const std::size_t num_voiced = count(voiced);
  if (num_voiced == 0 || static_cast<double>(num_voiced) < kMinVoicedShare * static_cast<double>(count(active)))
    return 0;
  std::vector<double> lags;
  for (std::size_t n = 0; n < voiced.size(); ++n)
    if (voiced[n]) lags.push_back(std::log(frames.lag_s[n]));
  if (deviation(lags) < kMinLagSpread) return 0;
  const auto speech = speech_frames(active, voiced);
  return shape_spread(frames, speech) < kMinShapeSpreadDb ? 0 : static_cast<double>(speech.size()) * kSpeechShiftS;
}

double bandwidth(const SpeechFrames& frames, int sample_rate) {
  std::vector<double> loud;
  for (std::size_t b = 0; b < kNumBands; ++b) {
    std::vector<double> band;
    for (const auto& one : frames.bands_db) band.push_back(one[b]);
    loud.push_back(percentile(std::move(band), 95));
  }
  const double floor = *std::max_element(loud.begin(), loud.end()) - kBandFloorDb;
  std::size_t last = 0;
  for (std::size_t b = 0; b < kNumBands; ++b)
    if (loud[b] >= floor) last = b;
  return band_edges_hz(sample_rate)[last + 1];
}

std::string lack(const SpeechCheck& found) {
  if (found.speech_s >= kMinSpeechS) return "";
  if (found.level_db < kMinLevelDb) return formatted("silence: %.0f dB re full scale", found.level_db);
  if (found.duration_s < kMinSpeechS) return formatted("%.2f s long, 1 s of speech is the least", found.duration_s);
  return found.speech_s > 0 ? formatted("%.2f s of speech, 1 s is the least", found.speech_s) : "no speech found";
}

}  // namespace

SpeechCheck check_speech(const std::vector<float>& samples, int sample_rate) {
  const SpeechFrames frames = measure_frames(samples, sample_rate);
  SpeechCheck found;
  found.duration_s = static_cast<double>(samples.size()) / sample_rate;
  found.level_db = percentile(frames.energy_db, 95);
  found.clipped = clipped_share(samples);
  found.speech_s = speech_seconds(frames, found.level_db);
  found.bandwidth_hz = bandwidth(frames, sample_rate);
  if (const auto why = lack(found); !why.empty()) found.reasons.push_back(why);
  if (found.clipped > kMaxClipped && (found.speech_s > 0 || found.level_db >= kMinLevelDb))
    found.reasons.push_back(formatted("clipped: %.0f%% of the samples", 100 * found.clipped));
  return found;
}

}  // namespace speaker
