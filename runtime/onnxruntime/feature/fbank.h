// Kaldi's log mel energies, computed in double precision: in single precision quiet bins are off by some thousandths,
// in Kaldi and torchaudio too. Immutable after it is made: many threads may share one.
//   Fbank fbank(config); Matrix features = fbank.compute(samples.data(), samples.size());
#pragma once

#include <cstddef>
#include <vector>

#include "feature/fbank_config.h"
#include "feature/fft.h"
#include "feature/matrix.h"

namespace speaker {

class Fbank {
 public:
  explicit Fbank(const FbankConfig& config);
  const FbankConfig& config() const { return config_; }
  // Frames that so many samples give.
  std::size_t num_frames(std::size_t num_samples) const;
  // Features [frames, dim] of samples in [-1, 1]; no rows where there are too few for a frame.
  Matrix compute(const float* samples, std::size_t num_samples) const;

 private:
  struct Filter {
    std::size_t first_bin = 0;
    std::vector<double> weights;
  };
  class Dither;
  static constexpr int kLanes = 8;
  void make_window();
  void make_filters();
  void make_filter(double left, double centre, double right, double bin_hz, std::size_t num_bins);
  double warped_mel(double mel) const;
  void cut(const float* samples, std::size_t num_samples, std::size_t frame, double* to) const;
  float prepare(double* frame, Dither& dither) const;
  void eight_frames(const double* frames, LaneFft<kLanes>::Work& work, double* power, double* mel) const;
  void one_frame(const double* frame, AnyFft& fft, double* mel) const;
  void store(const double* mel, std::size_t stride, float energy, float* row) const;
  FbankConfig config_;
  std::size_t length_, shift_, fft_size_;
  std::vector<double> window_;
  std::vector<Filter> filters_;
  LaneFft<kLanes> fft_;
};

}  // namespace speaker
