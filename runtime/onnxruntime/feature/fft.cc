#include "feature/fft.h"

#include <cmath>

#include "utils/vectorized.h"

namespace speaker {
namespace {

constexpr double kPi = 3.14159265358979323846;

std::size_t reversed(std::size_t index, std::size_t size) {
  std::size_t result = 0;
  for (std::size_t bit = 1; bit < size; bit <<= 1) {
    result = result << 1 | (index & 1);
    index >>= 1;
  }
  return result;
}

std::size_t next_power_of_two(std::size_t least) {
  std::size_t size = 4;
  while (size < least) size <<= 1;
  return size;
}

// Of signals without a step between: a + b and a - b.
template <typename T, int L>
inline void radix_2(T* re, T* im, std::size_t size) {
  for (std::size_t at = 0; at < size; at += 2) {
    T* r = re + at * L;
    T* i = im + at * L;
    for (int l = 0; l < L; ++l) {
      const T dr = r[l] - r[l + L];
      const T di = i[l] - i[l + L];
      r[l] += r[l + L];
      i[l] += i[l + L];
      r[l + L] = dr;
      i[l + L] = di;
    }
  }
}

// Four transforms of `quarter` samples each become one; w1, w2, w3 are the turns of the second to fourth.
template <typename T, int L>
inline void butterfly(T* re, T* im, std::size_t quarter, const T* c, const T* s) {
  const std::size_t step = quarter * L;
  for (int l = 0; l < L; ++l) {
    T* r = re + l;
    T* i = im + l;
    const T br = r[step] * c[1] + i[step] * s[1];
    const T bi = i[step] * c[1] - r[step] * s[1];
    const T cr = r[2 * step] * c[0] + i[2 * step] * s[0];
    const T ci = i[2 * step] * c[0] - r[2 * step] * s[0];
    const T dr = r[3 * step] * c[2] + i[3 * step] * s[2];
    const T di = i[3 * step] * c[2] - r[3 * step] * s[2];
    const T er = r[0] + br, ei = i[0] + bi;
    const T fr = r[0] - br, fi = i[0] - bi;
    const T gr = cr + dr, gi = ci + di;
    const T hr = cr - dr, hi = ci - di;
    r[0] = er + gr;
    i[0] = ei + gi;
    r[2 * step] = er - gr;
    i[2 * step] = ei - gi;
    r[step] = fr + hi;
    i[step] = fi - hr;
    r[3 * step] = fr - hi;
    i[3 * step] = fi + hr;
  }
}

template <typename T, int L>
inline void all_stages(T* re, T* im, std::size_t size, const T* cosines, const T* sines) {
  std::size_t quarter = 1;
  std::size_t bits = 0;
  while ((std::size_t{1} << bits) < size) ++bits;
  if (bits % 2) {
    radix_2<T, L>(re, im, size);
    quarter = 2;
  }
  for (; quarter < size; quarter *= 4) {
    const std::size_t stride = size / (4 * quarter);
    for (std::size_t k = 0; k < quarter; ++k) {
      const T c[3] = {cosines[k * stride], cosines[2 * k * stride], cosines[3 * k * stride]};
      const T s[3] = {sines[k * stride], sines[2 * k * stride], sines[3 * k * stride]};
      for (std::size_t at = k; at < size; at += 4 * quarter) butterfly<T, L>(re + at * L, im + at * L, quarter, c, s);
    }
  }
}

// From the transform of even samples + i odd samples to the power of the whole.
template <typename T, int L>
inline void split_power(const T* re, const T* im, std::size_t half, const T* c, const T* s, T* out) {
  for (std::size_t k = 0; k <= half; ++k) {
    const T* zr = re + (k % half) * L;
    const T* zi = im + (k % half) * L;
    const T* yr = re + ((half - k) % half) * L;
    const T* yi = im + ((half - k) % half) * L;
    for (int l = 0; l < L; ++l) {
      const T er = (zr[l] + yr[l]) / 2, ei = (zi[l] - yi[l]) / 2;
      const T dr = (zi[l] + yi[l]) / 2, di = (yr[l] - zr[l]) / 2;
      const T xr = er + dr * c[k] + di * s[k];
      const T xi = ei + di * c[k] - dr * s[k];
      out[k * L + static_cast<std::size_t>(l)] = xr * xr + xi * xi;
    }
  }
}

SPEAKER_VECTORIZED void run_stages(float* re, float* im, std::size_t size, const float* c, const float* s) {
  all_stages<float, 8>(re, im, size, c, s);
}
void run_stages(double* re, double* im, std::size_t size, const double* c, const double* s) { all_stages<double, 1>(re, im, size, c, s); }

SPEAKER_VECTORIZED void run_split(const float* re, const float* im, std::size_t half, const float* c, const float* s, float* out) {
  split_power<float, 8>(re, im, half, c, s, out);
}
void run_split(const double* re, const double* im, std::size_t half, const double* c, const double* s, double* out) {
  split_power<double, 1>(re, im, half, c, s, out);
}

}  // namespace

template <typename T, int L>
LaneFft<T, L>::LaneFft(std::size_t size) : size_(size), order_(size / 2), cos_(size / 2), sin_(size / 2), real_cos_(size / 2 + 1), real_sin_(size / 2 + 1) {
  const std::size_t half = size / 2;
  for (std::size_t k = 0; k < half; ++k) {
    order_[k] = reversed(k, half);
    const double angle = 2 * kPi * static_cast<double>(k) / static_cast<double>(half);
    cos_[k] = static_cast<T>(std::cos(angle));
    sin_[k] = static_cast<T>(std::sin(angle));
  }
  for (std::size_t k = 0; k <= half; ++k) {
    const double angle = 2 * kPi * static_cast<double>(k) / static_cast<double>(size);
    real_cos_[k] = static_cast<T>(std::cos(angle));
    real_sin_[k] = static_cast<T>(std::sin(angle));
  }
}

template <typename T, int L>
void LaneFft<T, L>::power(Work& work, T* out) const {
  run_stages(work.re.data(), work.im.data(), size_ / 2, cos_.data(), sin_.data());
  run_split(work.re.data(), work.im.data(), size_ / 2, real_cos_.data(), real_sin_.data(), out);
}

template class LaneFft<float, 8>;
template class LaneFft<double, 1>;

void complex_fft(std::vector<std::complex<double>>& values, bool inverse) {
  const std::size_t size = values.size();
  for (std::size_t n = 0; n < size; ++n) {
    const std::size_t other = reversed(n, size);
    if (n < other) std::swap(values[n], values[other]);
  }
  for (std::size_t half = 1; half < size; half *= 2) {
    for (std::size_t k = 0; k < half; ++k) {
      const auto turn = std::polar(1.0, (inverse ? kPi : -kPi) * static_cast<double>(k) / static_cast<double>(half));
      for (std::size_t at = k; at < size; at += 2 * half) {
        const auto second = values[at + half] * turn;
        values[at + half] = values[at] - second;
        values[at] += second;
      }
    }
  }
}

AnyFft::AnyFft(std::size_t size)
    : size_(size), is_power_of_two_(size >= 4 && (size & (size - 1)) == 0), plain_(is_power_of_two_ ? size : 4), work_(plain_.make_work()) {
  if (is_power_of_two_) return;
  const std::size_t room = next_power_of_two(2 * size);
  filter_.assign(room, 0);
  buffer_.assign(room, 0);
  for (std::size_t n = 0; n < size; ++n) {
    chirp_.push_back(std::polar(1.0, -kPi * static_cast<double>(n * n % (2 * size)) / static_cast<double>(size)));
    filter_[n] = std::conj(chirp_[n]);
    if (n) filter_[room - n] = filter_[n];
  }
  complex_fft(filter_, false);
}

void AnyFft::convolve() {
  complex_fft(buffer_, false);
  for (std::size_t n = 0; n < buffer_.size(); ++n) buffer_[n] *= filter_[n];
  complex_fft(buffer_, true);
}

void AnyFft::power(const double* samples, double* out) {
  if (is_power_of_two_) {
    for (std::size_t n = 0; n < size_; ++n) *plain_.slot(work_, n) = samples[n];
    plain_.power(work_, out);
    return;
  }
  for (std::size_t n = 0; n < buffer_.size(); ++n) buffer_[n] = n < size_ ? samples[n] * chirp_[n] : 0;
  convolve();
  const double scale = 1.0 / static_cast<double>(buffer_.size());
  for (std::size_t k = 0; k <= size_ / 2; ++k) out[k] = std::norm(buffer_[k] * scale);
}

}  // namespace speaker
