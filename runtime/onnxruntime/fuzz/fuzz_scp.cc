// Any bytes as a list: read, or refused by an Error; ids never make a path that leaves its folder.
#include <cstddef>
#include <cstdint>
#include <sstream>

#include "speaker_engine/error.h"
#include "utils/output_file.h"
#include "utils/scp_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  speaker::ScpReader list(std::make_unique<std::istringstream>(std::string(reinterpret_cast<const char*>(data), size)),
                          "wav.scp");
  try {
    for (speaker::ScpEntry entry; list.next(entry);) {
      const std::string name = speaker::file_name_of(entry.id);
      const bool is_good = !entry.id.empty() && !entry.source.empty() && !name.empty() && name[0] != '.' &&
                           name.find('/') == std::string::npos && name.size() < 240;
      if (!is_good) __builtin_trap();
      if (entry.is_command()) entry.command();
    }
  } catch (const speaker::Error&) {
  }
  return 0;
}
