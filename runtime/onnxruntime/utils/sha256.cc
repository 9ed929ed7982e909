#include "utils/sha256.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace speaker {
namespace {

std::uint32_t turned(std::uint32_t value, int bits) { return value >> bits | value << (32 - bits); }

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
struct Constants {
  std::uint32_t k[64];
  Constants() {
    int found = 0;
    for (int candidate = 2; found < 64; ++candidate) {
      bool is_prime = true;
      for (int divisor = 2; divisor * divisor <= candidate; ++divisor) is_prime = is_prime && candidate % divisor != 0;
      if (!is_prime) continue;
      const long double root = std::cbrt(static_cast<long double>(candidate));
      k[found++] = static_cast<std::uint32_t>((root - std::floor(root)) * 4294967296.0L);
    }
  }
};

}  // namespace

void Sha256::block(const std::uint8_t* data) {
  static const Constants constants;
  std::uint32_t w[64];
  for (int n = 0; n < 16; ++n)
    w[n] = static_cast<std::uint32_t>(data[4 * n]) << 24 | static_cast<std::uint32_t>(data[4 * n + 1]) << 16 |
           static_cast<std::uint32_t>(data[4 * n + 2]) << 8 | data[4 * n + 3];
  for (int n = 16; n < 64; ++n) {
    const std::uint32_t a = w[n - 15], b = w[n - 2];
    w[n] = w[n - 16] + w[n - 7] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
  }
  std::uint32_t v[8];
  std::copy(state_, state_ + 8, v);
  for (int n = 0; n < 64; ++n) {
    const std::uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
    const std::uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
    const std::uint32_t first =
        v[7] + (turned(v[4], 6) ^ turned(v[4], 11) ^ turned(v[4], 25)) + choice + constants.k[n] + w[n];
    const std::uint32_t second = (turned(v[0], 2) ^ turned(v[0], 13) ^ turned(v[0], 22)) + majority;
    for (int m = 7; m > 0; --m) v[m] = v[m - 1];
    v[4] += first;
    v[0] = first + second;
  }
  for (int n = 0; n < 8; ++n) state_[n] += v[n];
}

void Sha256::add(const std::uint8_t* data, std::size_t size) {
  total_ += size;
  while (size > 0) {
    if (num_rest_ == 0 && size >= 64) {
      block(data);
      data += 64;
      size -= 64;
      continue;
    }
    const std::size_t part = std::min<std::size_t>(size, 64 - num_rest_);
    std::memcpy(rest_ + num_rest_, data, part);
    num_rest_ += part;
    data += part;
    size -= part;
    if (num_rest_ == 64) {
      block(rest_);
      num_rest_ = 0;
    }
  }
}

std::string Sha256::hex() {
  const std::uint64_t bits = total_ * 8;
  const std::uint8_t one = 0x80, zero = 0;
  add(&one, 1);
  while (num_rest_ != 56) add(&zero, 1);
  std::uint8_t length[8];
  for (int n = 0; n < 8; ++n) length[n] = static_cast<std::uint8_t>(bits >> (56 - 8 * n));
  add(length, 8);
  std::string text;
  for (const std::uint32_t word : state_)
    for (int shift = 28; shift >= 0; shift -= 4) text.push_back("0123456789abcdef"[word >> shift & 15]);
  return text;
}

std::string sha256_hex(const std::uint8_t* data, std::size_t size) {
  Sha256 digest;
  digest.add(data, size);
  return digest.hex();
}

}  // namespace speaker
