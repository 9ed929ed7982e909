#include "utils/sha256.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

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

const Constants& constants() {
  static const Constants found;
  return found;
}

#if defined(__x86_64__)

bool processor_has_sha() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3)) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1U << 29));
}

// The same rounds by the instructions of x86: four words of the message and four rounds at a time. Their registers hold
// the state as ABEF and CDGH, the last word first.
__attribute__((target("sha,sse4.1,ssse3"))) void instruction_blocks(std::uint32_t* state, const std::uint8_t* data,
                                                                    std::size_t count) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  const auto* k = reinterpret_cast<const __m128i*>(constants().k);
  auto* words = reinterpret_cast<__m128i*>(state);
  const __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128(words), 0xB1);
  const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(words + 1), 0x1B);
  __m128i abef = _mm_alignr_epi8(badc, efgh, 8);
  __m128i cdgh = _mm_blend_epi16(efgh, badc, 0xF0);
  for (; count > 0; --count, data += 64) {
    const __m128i abef_before = abef;
    const __m128i cdgh_before = cdgh;
    __m128i w[16];
    for (int n = 0; n < 16; ++n) {
      if (n < 4) {
        w[n] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data) + n), big_endian);
      } else {
        const __m128i sum =
            _mm_add_epi32(_mm_sha256msg1_epu32(w[n - 4], w[n - 3]), _mm_alignr_epi8(w[n - 1], w[n - 2], 4));
        w[n] = _mm_sha256msg2_epu32(sum, w[n - 1]);
      }
      const __m128i both = _mm_add_epi32(w[n], _mm_loadu_si128(k + n));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, both);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(both, 0x0E));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  const __m128i feba = _mm_shuffle_epi32(abef, 0x1B);
  const __m128i dchg = _mm_shuffle_epi32(cdgh, 0xB1);
  _mm_storeu_si128(words, _mm_blend_epi16(feba, dchg, 0xF0));
  _mm_storeu_si128(words + 1, _mm_alignr_epi8(dchg, feba, 8));
}

#else

bool processor_has_sha() { return false; }
void instruction_blocks(std::uint32_t*, const std::uint8_t*, std::size_t) {}

#endif

}  // namespace

Sha256::Sha256(bool may_use_instructions) : has_instructions_(may_use_instructions && processor_has_sha()) {}

void Sha256::blocks(const std::uint8_t* data, std::size_t count) {
  if (has_instructions_) {
    instruction_blocks(state_, data, count);
    return;
  }
  for (; count > 0; --count, data += 64) block(data);
}

void Sha256::block(const std::uint8_t* data) {
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
        v[7] + (turned(v[4], 6) ^ turned(v[4], 11) ^ turned(v[4], 25)) + choice + constants().k[n] + w[n];
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
      const std::size_t count = size / 64;
      blocks(data, count);
      data += 64 * count;
      size -= 64 * count;
      continue;
    }
    const std::size_t part = std::min<std::size_t>(size, 64 - num_rest_);
    std::memcpy(rest_ + num_rest_, data, part);
    num_rest_ += part;
    data += part;
    size -= part;
    if (num_rest_ == 64) {
      blocks(rest_, 1);
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
