#include "feature/fbank.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "utils/vectorized.h"

namespace speaker {
namespace {

constexpr double kPi = 3.14159265358979323846;

double mel_of(double hz) { return 1127.0 * std::log(1.0 + hz / 700.0); }
double hz_of(double mel) { return 700.0 * (std::exp(mel / 1127.0) - 1.0); }

double window_at(const FrameExtractionOptions& frame, double place) {  // place from 0 to 1
  const double angle = 2 * kPi * place;
  const double hann = 0.5 - 0.5 * std::cos(angle);
  if (frame.window_type == "povey") return std::pow(hann, 0.85);
  if (frame.window_type == "hanning") return hann;
  if (frame.window_type == "hamming") return 0.54 - 0.46 * std::cos(angle);
  if (frame.window_type == "sine") return std::sin(angle / 2);
  if (frame.window_type == "rectangular") return 1;
  const double b = frame.blackman_coefficient;
  return b - 0.5 * std::cos(angle) + (0.5 - b) * std::cos(2 * angle);
}

// Energies of one filter in eight spectra, [bins, 8] each.
SPEAKER_VECTORIZED void filter_lanes(const double* power, const double* weights, std::size_t num_bins, double* out) {
  const auto* eight = reinterpret_cast<const Eight*>(power);
  Eight sums = {};
  for (std::size_t bin = 0; bin < num_bins; ++bin) sums += weights[bin] * eight[bin];
  *reinterpret_cast<Eight*>(out) = sums;
}

SPEAKER_VECTORIZED void square_roots(double* values, std::size_t count) {
  for (std::size_t n = 0; n < count; ++n) values[n] = std::sqrt(values[n]);
}

SPEAKER_VECTORIZED void remove_mean(double* frame, std::size_t length) {
  double sums[8] = {};
  std::size_t n = 0;
  for (; n + 8 <= length; n += 8)
    for (std::size_t l = 0; l < 8; ++l) sums[l] += frame[n + l];
  double sum = 0;
  for (; n < length; ++n) sum += frame[n];
  for (const double part : sums) sum += part;
  const double mean = sum / static_cast<double>(length);
  for (n = 0; n < length; ++n) frame[n] -= mean;
}

// Each sample less a part of the one before, then the window; the first one is its own predecessor.
SPEAKER_VECTORIZED void emphasise(double* frame, std::size_t length, double part, const double* window) {
  double last = frame[0];
  for (std::size_t n = 0; n < length; ++n) {
    const double own = frame[n];
    frame[n] = (own - part * last) * window[n];
    last = own;
  }
}

}  // namespace

class Fbank::Dither {
 public:
  explicit Dither(double deviation) : deviation_(deviation) {}
  void add(double* frame, std::size_t length) {
    if (deviation_ == 0) return;
    for (std::size_t n = 0; n < length; ++n) frame[n] += deviation_ * normal_(generator_);
  }

 private:
  double deviation_;
  std::mt19937 generator_{0};  // the same noise in each call: features stay a function of the samples
  std::normal_distribution<double> normal_{0.0, 1.0};
};

Fbank::Fbank(const FbankConfig& config)
    : config_(config),
      length_(static_cast<std::size_t>(config.frame_length())),
      shift_(static_cast<std::size_t>(config.frame_shift())),
      fft_size_(static_cast<std::size_t>(config.fft_size())),
      fft_(config.frame.round_to_power_of_two ? fft_size_ : 4) {
  config.check("fbank");
  make_window();
  make_filters();
}

void Fbank::make_window() {
  for (std::size_t n = 0; n < length_; ++n)
    window_.push_back(
        window_at(config_.frame, length_ > 1 ? static_cast<double>(n) / static_cast<double>(length_ - 1) : 0));
}

// The vocal tract length normalisation of Kaldi: linear by the warp in the middle, bent at both ends so that low_freq
// and high_freq stay where they are.
double Fbank::warped_mel(double mel) const {
  const double warp = config_.vtln_warp;
  if (warp == 1) return mel;
  const double nyquist = config_.frame.sample_freq / 2;
  const double low = config_.mel.low_freq;
  const double high = config_.mel.high_freq > 0 ? config_.mel.high_freq : nyquist + config_.mel.high_freq;
  const double vtln_high = config_.mel.vtln_high < 0 ? nyquist + config_.mel.vtln_high : config_.mel.vtln_high;
  const double hz = hz_of(mel);
  if (hz < low || hz > high) return mel;
  const double first = config_.mel.vtln_low * std::max(1.0, warp);
  const double last = vtln_high * std::min(1.0, warp);
  if (hz < first) return mel_of(low + (first / warp - low) / (first - low) * (hz - low));
  if (hz < last) return mel_of(hz / warp);
  return mel_of(high + (high - last / warp) / (high - last) * (hz - high));
}

void Fbank::make_filters() {
  const double nyquist = config_.frame.sample_freq / 2;
  const double high = config_.mel.high_freq > 0 ? config_.mel.high_freq : nyquist + config_.mel.high_freq;
  const double low_mel = mel_of(config_.mel.low_freq);
  const double step = (mel_of(high) - low_mel) / (config_.mel.num_bins + 1);
  for (int n = 0; n < config_.mel.num_bins; ++n)
    make_filter(warped_mel(low_mel + n * step), warped_mel(low_mel + (n + 1) * step),
                warped_mel(low_mel + (n + 2) * step), config_.frame.sample_freq / static_cast<double>(fft_size_),
                fft_size_ / 2);
}

// A triangle in mel; the bin at the Nyquist frequency is in none, as in Kaldi.
void Fbank::make_filter(double left, double centre, double right, double bin_hz, std::size_t num_bins) {
  Filter filter;
  for (std::size_t bin = 0; bin < num_bins; ++bin) {
    const double mel = mel_of(bin_hz * static_cast<double>(bin));
    const double weight = std::max(0.0, std::min((mel - left) / (centre - left), (right - mel) / (right - centre)));
    if (weight > 0 && filter.weights.empty()) filter.first_bin = bin;
    if (weight > 0 || !filter.weights.empty()) filter.weights.push_back(weight);
  }
  while (!filter.weights.empty() && filter.weights.back() == 0) filter.weights.pop_back();
  filters_.push_back(std::move(filter));
}

std::size_t Fbank::num_frames(std::size_t num_samples) const {
  if (!config_.frame.snip_edges) return (num_samples + shift_ / 2) / shift_;
  return num_samples < length_ ? 0 : (num_samples - length_) / shift_ + 1;
}

// Frame `frame`, scaled; without snip_edges it lies around its place, and the signal is mirrored at its ends.
void Fbank::cut(const float* samples, std::size_t num_samples, std::size_t frame, double* to) const {
  const double scale = config_.scale;
  if (config_.frame.snip_edges) {
    for (std::size_t n = 0; n < length_; ++n) to[n] = static_cast<double>(samples[frame * shift_ + n]) * scale;
    return;
  }
  const auto total = static_cast<long>(num_samples);
  const long start = static_cast<long>(frame * shift_ + shift_ / 2) - static_cast<long>(length_ / 2);
  for (long n = 0; n < static_cast<long>(length_); ++n) {
    long place = start + n;
    while (place < 0 || place >= total) place = place < 0 ? -place - 1 : 2 * total - 1 - place;
    to[n] = static_cast<double>(samples[place]) * scale;
  }
}

// The steps before the transform, in place; the log energy of the frame, where it is asked for.
float Fbank::prepare(double* frame, Dither& dither) const {
  dither.add(frame, length_);
  if (config_.frame.remove_dc_offset) remove_mean(frame, length_);
  const auto log_energy = [&] {
    double sum = 0;
    for (std::size_t n = 0; n < length_; ++n) sum += frame[n] * frame[n];
    const double energy = std::log(std::max(sum, 1.1920928955078125e-07));
    return static_cast<float>(config_.energy_floor > 0 ? std::max(energy, std::log(config_.energy_floor)) : energy);
  };
  float energy = config_.use_energy && config_.raw_energy ? log_energy() : 0;
  emphasise(frame, length_, config_.frame.pre_emphasis_coefficient, window_.data());
  if (config_.use_energy && !config_.raw_energy) energy = log_energy();
  return energy;
}

// Mel energies [num_bins, 8] of eight prepared frames.
void Fbank::eight_frames(const double* frames, LaneFft<kLanes>::Work& work, double* power, double* mel) const {
  for (std::size_t n = 0; n < fft_size_; ++n) {
    double* slot = fft_.slot(work, n);
    for (std::size_t l = 0; l < kLanes; ++l) slot[l] = n < length_ ? frames[l * length_ + n] : 0.0;
  }
  fft_.power(work, power);
  if (!config_.use_power) square_roots(power, (fft_size_ / 2 + 1) * kLanes);
  for (std::size_t b = 0; b < filters_.size(); ++b)
    filter_lanes(power + filters_[b].first_bin * kLanes, filters_[b].weights.data(), filters_[b].weights.size(),
                 mel + b * kLanes);
}

void Fbank::one_frame(const double* frame, AnyFft& fft, double* mel) const {
  std::vector<double> samples(fft_size_, 0.0);
  std::copy(frame, frame + length_, samples.begin());
  std::vector<double> power(fft_size_ / 2 + 1);
  fft.power(samples.data(), power.data());
  for (std::size_t b = 0; b < filters_.size(); ++b) {
    double sum = 0;
    for (std::size_t n = 0; n < filters_[b].weights.size(); ++n) {
      const double value = power[filters_[b].first_bin + n];
      sum += filters_[b].weights[n] * (config_.use_power ? value : std::sqrt(value));
    }
    mel[b] = sum;
  }
}

void Fbank::store(const double* mel, std::size_t stride, float energy, float* row) const {
  const auto floor = static_cast<float>(config_.log_floor);
  if (config_.use_energy) *row++ = energy;
  for (std::size_t b = 0; b < filters_.size(); ++b) {
    const auto value = static_cast<float>(mel[b * stride]);
    row[b] = config_.use_log_fbank ? std::log(std::max(value, floor)) : value;
  }
}

Matrix Fbank::compute(const float* samples, std::size_t num_samples) const {
  Matrix features(num_frames(num_samples), static_cast<std::size_t>(config_.dim()));
  Dither dither(config_.frame.dither);
  std::vector<double> frames(kLanes * length_);
  std::vector<double> power((fft_size_ / 2 + 1) * kLanes);
  std::vector<double> mel(filters_.size() * kLanes);
  auto work = fft_.make_work();
  AnyFft any(config_.frame.round_to_power_of_two ? 4 : fft_size_);
  for (std::size_t start = 0; start < features.rows; start += kLanes) {
    const std::size_t count = std::min<std::size_t>(kLanes, features.rows - start);
    float energies[kLanes] = {};
    for (std::size_t l = 0; l < count; ++l) {
      cut(samples, num_samples, start + l, frames.data() + l * length_);
      energies[l] = prepare(frames.data() + l * length_, dither);
    }
    if (config_.frame.round_to_power_of_two) eight_frames(frames.data(), work, power.data(), mel.data());
    for (std::size_t l = 0; l < count; ++l) {
      if (!config_.frame.round_to_power_of_two)
        one_frame(frames.data() + l * length_, any, mel.data() + l * filters_.size());
      const bool is_lane = config_.frame.round_to_power_of_two;
      store(mel.data() + (is_lane ? l : l * filters_.size()), is_lane ? kLanes : 1, energies[l],
            features.row(start + l));
    }
  }
  const auto most = config_.frame.max_feature_vectors;
  if (most > 0 && features.rows > static_cast<std::size_t>(most)) {  // Kaldi keeps the latest
    features.values.erase(features.values.begin(),
                          features.values.end() - static_cast<long>(most) * static_cast<long>(features.columns));
    features.rows = static_cast<std::size_t>(most);
  }
  return features;
}

}  // namespace speaker
