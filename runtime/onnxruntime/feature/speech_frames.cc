#include "feature/speech_frames.h"

#include <algorithm>
#include <cmath>

#include "feature/fft.h"

namespace speaker {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kFrameS = 0.040;
constexpr double kTiny = 1e-12;  // far below one 16-bit step squared
constexpr double kLowPitchHz = 70, kHighPitchHz = 400;
constexpr double kVoicingLowHz = 60, kVoicingHighHz = 1500;
constexpr double kBandsLowHz = 100, kBandsHighHz = 7000;

std::size_t transform_size(std::size_t length) {
  std::size_t size = 1;
  while (size <= 3 * length / 2) size *= 2;
  return std::max<std::size_t>(size, 4);
}

// Everything that depends on the sample rate alone.
class Measures {
 public:
  explicit Measures(int rate)
      : rate_(rate),
        length_(static_cast<std::size_t>(std::nearbyint(kFrameS * rate))),
        size_(transform_size(length_)),
        fft_(size_),
        samples_(size_),
        power_(size_ / 2 + 1) {
    for (std::size_t n = 0; n < length_; ++n)
      window_.push_back(0.5 - 0.5 * std::cos(2 * kPi * static_cast<double>(n) / static_cast<double>(length_ - 1)));
    first_lag_ = static_cast<std::size_t>(rate / kHighPitchHz);
    last_lag_ = static_cast<std::size_t>(rate / kLowPitchHz);
    make_pitch_table();
    make_bands();
  }
  std::size_t length() const { return length_; }
  std::size_t shift() const { return static_cast<std::size_t>(std::nearbyint(kSpeechShiftS * rate_)); }

  void measure(const float* frame, SpeechFrames& out) {
    double mean = 0;
    for (std::size_t n = 0; n < length_; ++n) mean += static_cast<double>(frame[n]);
    mean /= static_cast<double>(length_);
    double energy = 0;
    std::fill(samples_.begin(), samples_.end(), 0.0);
    for (std::size_t n = 0; n < length_; ++n) {
      const double centred = static_cast<double>(frame[n]) - mean;
      energy += centred * centred;
      samples_[n] = centred * window_[n];
    }
    fft_.power(samples_.data(), power_.data());
    out.energy_db.push_back(decibels(energy / static_cast<double>(length_)));
    find_pitch(out);
    out.bands_db.push_back(bands());
  }

 private:
  static double decibels(double power) { return 10 * std::log10(power + kTiny); }
  double hz(std::size_t bin) const { return static_cast<double>(bin) * rate_ / static_cast<double>(size_); }

  // Rows of cosines that give the autocorrelation at a lag, the window's own divided out (Boersma 1993); lag 0 first.
  void make_pitch_table() {
    while (hz(low_bin_) < kVoicingLowHz) ++low_bin_;
    high_bin_ = low_bin_;
    while (high_bin_ <= size_ / 2 && hz(high_bin_) < kVoicingHighHz) ++high_bin_;
    add_lag(0);
    for (std::size_t lag = first_lag_ - 1; lag <= last_lag_ + 1; ++lag) add_lag(lag);
  }

  void add_lag(std::size_t lag) {
    double own = 0;
    double all = 0;
    for (std::size_t n = 0; n < length_; ++n) {
      all += window_[n] * window_[n];
      if (n + lag < length_) own += window_[n] * window_[n + lag];
    }
    std::vector<double> row;
    for (std::size_t bin = low_bin_; bin < high_bin_; ++bin) {
      const double twice = bin == 0 || bin == size_ / 2 ? 1 : 2;
      const double angle = 2 * kPi * static_cast<double>(bin * lag % size_) / static_cast<double>(size_);
      row.push_back(twice * std::cos(angle) / static_cast<double>(size_) * all / own);
    }
    lags_.push_back(std::move(row));
  }

  double correlation(std::size_t row) const {
    double sum = 0;
    for (std::size_t n = 0; n < lags_[row].size(); ++n) sum += lags_[row][n] * power_[low_bin_ + n];
    return sum;
  }

  void find_pitch(SpeechFrames& out) const {
    const double zero = std::max(correlation(0), kTiny);
    std::vector<double> ratio;
    for (std::size_t row = 1; row < lags_.size(); ++row) ratio.push_back(correlation(row) / zero);
    double best = 0;
    std::size_t place = 0;
    for (std::size_t n = 1; n + 1 < ratio.size(); ++n) {
      const bool is_peak = ratio[n] >= ratio[n - 1] && ratio[n] >= ratio[n + 1];
      if (!is_peak || ratio[n] <= best) continue;
      best = ratio[n];
      place = n - 1;
    }
    out.voicing.push_back(std::min(best, 1.0));
    out.lag_s.push_back(static_cast<double>(place + first_lag_) / rate_);
  }

  // The bins of each band, the nearest one where none lies within.
  void make_bands() {
    const auto edges = band_edges_hz(rate_);
    for (int band = 0; band < kNumBands; ++band) {
      const auto b = static_cast<std::size_t>(band);
      std::vector<std::size_t> bins;
      std::size_t nearest = 0;
      for (std::size_t bin = 0; bin <= size_ / 2; ++bin) {
        if (hz(bin) >= edges[b] && hz(bin) < edges[b + 1]) bins.push_back(bin);
        if (std::abs(hz(bin) - edges[b]) < std::abs(hz(nearest) - edges[b])) nearest = bin;
      }
      if (bins.empty()) bins.push_back(nearest);
      bands_[b] = bins;
    }
  }

  std::array<double, kNumBands> bands() const {
    std::array<double, kNumBands> found{};
    const double scale = 2 / (static_cast<double>(length_) * static_cast<double>(size_));
    for (std::size_t band = 0; band < bands_.size(); ++band) {
      double sum = 0;
      for (const std::size_t bin : bands_[band]) sum += power_[bin];
      found[band] = decibels(sum * scale);
    }
    return found;
  }

  int rate_;
  std::size_t length_, size_;
  AnyFft fft_;
  std::vector<double> samples_, power_, window_;
  std::size_t first_lag_ = 0, last_lag_ = 0, low_bin_ = 0, high_bin_ = 0;
  std::vector<std::vector<double>> lags_;
  std::array<std::vector<std::size_t>, kNumBands> bands_;
};

}  // namespace

std::vector<double> band_edges_hz(int sample_rate) {
  const double high = std::min(kBandsHighHz, 0.475 * sample_rate);
  std::vector<double> edges;
  for (int n = 0; n <= kNumBands; ++n)
    edges.push_back(kBandsLowHz * std::pow(high / kBandsLowHz, static_cast<double>(n) / kNumBands));
  return edges;
}

SpeechFrames measure_frames(const std::vector<float>& samples, int sample_rate) {
  Measures measures(sample_rate);
  std::vector<float> padded;
  const std::vector<float>* signal = &samples;
  if (samples.size() < measures.length()) {
    padded = samples;
    padded.resize(measures.length(), 0.0F);
    signal = &padded;
  }
  SpeechFrames frames;
  for (std::size_t start = 0; start + measures.length() <= signal->size(); start += measures.shift())
    measures.measure(signal->data() + start, frames);
  return frames;
}

}  // namespace speaker
