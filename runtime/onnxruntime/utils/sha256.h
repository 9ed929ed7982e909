// SHA-256 (FIPS 180-4).
//   sha256_hex(bytes.data(), bytes.size())
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace speaker {

class Sha256 {
 public:
  // `may_use_instructions`: the processor's own, where it has them; the result is the same.
  explicit Sha256(bool may_use_instructions = true);
  void add(const std::uint8_t* data, std::size_t size);
  // 64 hexadecimal digits; nothing may be added afterwards.
  std::string hex();

 private:
  void blocks(const std::uint8_t* data, std::size_t count);
  void block(const std::uint8_t* data);
  bool has_instructions_;
  std::uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                             0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::uint8_t rest_[64] = {};
  std::size_t num_rest_ = 0;
  std::uint64_t total_ = 0;
};

std::string sha256_hex(const std::uint8_t* data, std::size_t size);

}  // namespace speaker
