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

// Signals of two samples: a + b and a - b.
template <typename V>
SPEAKER_PART void radix_2(V* re, V* im, std::size_t size) {
  for (std::size_t at = 0; at < size; at += 2) {
    const V ar = re[at], ai = im[at], br = re[at + 1], bi = im[at + 1];
    re[at] = ar + br;
    im[at] = ai + bi;
    re[at + 1] = ar - br;
    im[at + 1] = ai - bi;
  }
}

// Four transforms, `step` apart, become one; c and s are cosines and sines of the turns of the third, second, fourth.
template <typename V>
SPEAKER_PART void butterfly(V* r, V* i, std::size_t step, const double* c, const double* s) {
  const V br = r[step] * c[1] + i[step] * s[1];
  const V bi = i[step] * c[1] - r[step] * s[1];
  const V cr = r[2 * step] * c[0] + i[2 * step] * s[0];
  const V ci = i[2 * step] * c[0] - r[2 * step] * s[0];
  const V dr = r[3 * step] * c[2] + i[3 * step] * s[2];
  const V di = i[3 * step] * c[2] - r[3 * step] * s[2];
  const V er = r[0] + br, ei = i[0] + bi, fr = r[0] - br, fi = i[0] - bi;
  const V gr = cr + dr, gi = ci + di, hr = cr - dr, hi = ci - di;
  r[0] = er + gr;
  i[0] = ei + gi;
  r[2 * step] = er - gr;
  i[2 * step] = ei - gi;
  r[step] = fr + hi;
  i[step] = fi - hr;
  r[3 * step] = fr - hi;
  i[3 * step] = fi + hr;
}

template <typename V>
SPEAKER_PART void all_stages(V* re, V* im, std::size_t size, const double* cosines, const double* sines) {
  std::size_t quarter = 1;
  std::size_t bits = 0;
  while ((std::size_t{1} << bits) < size) ++bits;
  if (bits % 2) {
    radix_2(re, im, size);
    quarter = 2;
  }
  for (; quarter < size; quarter *= 4) {
    const std::size_t stride = size / (4 * quarter);
    for (std::size_t k = 0; k < quarter; ++k) {
      const double c[3] = {cosines[k * stride], cosines[2 * k * stride], cosines[3 * k * stride]};
      const double s[3] = {sines[k * stride], sines[2 * k * stride], sines[3 * k * stride]};
      for (std::size_t at = k; at < size; at += 4 * quarter) butterfly(re + at, im + at, quarter, c, s);
    }
  }
}

// From the transform of even samples + i odd samples to the power of the whole.
template <typename V>
SPEAKER_PART void split_power(const V* re, const V* im, std::size_t half, const double* c, const double* s, V* out) {
  for (std::size_t k = 0; k <= half; ++k) {
    const std::size_t own = k % half;
    const std::size_t other = (half - k) % half;
    const V er = (re[own] + re[other]) * 0.5, ei = (im[own] - im[other]) * 0.5;
    const V dr = (im[own] + im[other]) * 0.5, di = (re[other] - re[own]) * 0.5;
    const V xr = er + dr * c[k] + di * s[k];
    const V xi = ei + di * c[k] - dr * s[k];
    out[k] = xr * xr + xi * xi;
  }
}

struct Tables {
  const double *cosines, *sines, *real_cosines, *real_sines;
};

SPEAKER_VECTORIZED void power_of_8(double* re, double* im, std::size_t half, const Tables& tables, double* out) {
  auto* r = reinterpret_cast<Eight*>(re);
  auto* i = reinterpret_cast<Eight*>(im);
  all_stages(r, i, half, tables.cosines, tables.sines);
  split_power<Eight>(r, i, half, tables.real_cosines, tables.real_sines, reinterpret_cast<Eight*>(out));
}

void power_of_1(double* re, double* im, std::size_t half, const Tables& tables, double* out) {
  all_stages(re, im, half, tables.cosines, tables.sines);
  split_power<double>(re, im, half, tables.real_cosines, tables.real_sines, out);
}

}  // namespace

template <int L>
LaneFft<L>::LaneFft(std::size_t size)
    : size_(size), order_(size / 2), cos_(size / 2), sin_(size / 2), real_cos_(size / 2 + 1), real_sin_(size / 2 + 1) {
  const std::size_t half = size / 2;
  for (std::size_t k = 0; k < half; ++k) {
    order_[k] = reversed(k, half);
    const double angle = 2 * kPi * static_cast<double>(k) / static_cast<double>(half);
    cos_[k] = (std::cos(angle));
    sin_[k] = (std::sin(angle));
  }
  for (std::size_t k = 0; k <= half; ++k) {
    const double angle = 2 * kPi * static_cast<double>(k) / static_cast<double>(size);
    real_cos_[k] = (std::cos(angle));
    real_sin_[k] = (std::sin(angle));
  }
}

template <int L>
void LaneFft<L>::power(Work& work, double* out) const {
  const auto run = L == 8 ? power_of_8 : power_of_1;
  run(work.re.data(), work.im.data(), size_ / 2, {cos_.data(), sin_.data(), real_cos_.data(), real_sin_.data()}, out);
}

template class LaneFft<8>;
template class LaneFft<1>;

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
    : size_(size),
      is_power_of_two_(size >= 4 && (size & (size - 1)) == 0),
      plain_(is_power_of_two_ ? size : 4),
      work_(plain_.make_work()) {
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
