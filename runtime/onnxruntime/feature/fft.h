// Fourier transforms of real signals: several of one size side by side, and one of any size.
//   LaneFft<8> fft(512); fft.power(frames, spectra);  // 8 frames, sample by sample beside each other
//   AnyFft fft(400); fft.power(frame, power);
#pragma once

#include <complex>
#include <cstddef>
#include <vector>

namespace speaker {

// Complex transforms of a size that is a power of two, of L signals at once: what stands side by side in memory is
// the same sample of each, so that every step is one vector operation. Radix 4, decimation in time.
template <int L>
class LaneFft {
 public:
  // `size` real samples: a power of two, at least 4.
  explicit LaneFft(std::size_t size);
  std::size_t size() const { return size_; }

  // Room that `power` works in, for one caller at a time.
  struct Work {
    std::vector<double> re, im;
  };
  Work make_work() const { return {std::vector<double>(size_ / 2 * L), std::vector<double>(size_ / 2 * L)}; }

  // Where in the work sample `index` of lane 0 belongs.
  double* slot(Work& work, std::size_t index) const {
    return (index & 1 ? work.im : work.re).data() + order_[index / 2] * L;
  }

  // Of samples that lie in their slots: |X|^2 of the bins 0 to size / 2, [size / 2 + 1, L].
  void power(Work& work, double* out) const;

 private:
  std::size_t size_;
  std::vector<std::size_t> order_;           // place of each complex sample, bits reversed
  std::vector<double> cos_, sin_;            // of 2 pi k / (size / 2)
  std::vector<double> real_cos_, real_sin_;  // of 2 pi k / size
};

extern template class LaneFft<8>;
extern template class LaneFft<1>;

// Power spectra of one signal of any even size, in double precision; other sizes than powers of two by Bluestein's
// chirp transform.
class AnyFft {
 public:
  explicit AnyFft(std::size_t size);
  // `samples` [size] -> |X|^2 of the bins 0 to size / 2.
  void power(const double* samples, double* out);

 private:
  void convolve();
  std::size_t size_;
  bool is_power_of_two_;
  LaneFft<1> plain_;
  LaneFft<1>::Work work_;
  std::vector<std::complex<double>> chirp_, filter_, buffer_;
};

// In place, of a size that is a power of two.
void complex_fft(std::vector<std::complex<double>>& values, bool inverse);

}  // namespace speaker
