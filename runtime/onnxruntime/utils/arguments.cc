#include "utils/arguments.h"

#include <cstdlib>
#include <iostream>
#include <new>

#include "speaker_engine/error.h"
#include "utils/text.h"

namespace speaker {

Arguments::Arguments(int argc, char** argv, std::size_t num_positions, const std::set<std::string>& options,
                     const std::set<std::string>& flags) {
  bool is_only_positions = false;
  for (int n = 1; n < argc; ++n) {
    std::string name = argv[n];
    if (is_only_positions || name.rfind("--", 0) != 0) {
      positions_.push_back(name);
      continue;
    }
    if (name == "--") {
      is_only_positions = true;
      continue;
    }
    const auto equals = name.find('=');
    const bool has_value = equals != std::string::npos;
    std::string value = has_value ? name.substr(equals + 1) : "";
    name = name.substr(0, equals);
    if (!options.count(name) && (!flags.count(name) || has_value)) throw UsageError{"unknown option " + name};
    if (options.count(name) && !has_value) {
      if (n + 1 == argc) throw UsageError{name + " lacks its value"};
      value = argv[++n];
    }
    given_[name] = value;
  }
  if (positions_.size() != num_positions)
    throw UsageError{std::to_string(positions_.size()) + " arguments are given, " + std::to_string(num_positions) +
                     " are needed"};
}

std::string Arguments::text(const std::string& name, const std::string& otherwise) const {
  const auto found = given_.find(name);
  return found == given_.end() ? otherwise : found->second;
}

double Arguments::number(const std::string& name, double otherwise, double least, double most) const {
  const auto found = given_.find(name);
  if (found == given_.end()) return otherwise;
  char* end = nullptr;
  const double value = std::strtod(found->second.c_str(), &end);
  if (found->second.empty() || *end != '\0' || !(value >= least && value <= most))
    throw UsageError{name + " is '" + found->second + "', not a number from " + formatted("%g to %g", least, most)};
  return value;
}

int Arguments::whole(const std::string& name, int otherwise, int least, int most) const {
  const double value = number(name, otherwise, least, most);
  if (value != static_cast<int>(value)) throw UsageError{name + " is no whole number"};
  return static_cast<int>(value);
}

int run_program(int argc, char** argv, const std::string& usage, const std::function<int()>& work) {
  for (int n = 1; n < argc; ++n) {
    if (std::string(argv[n]) != "--help") continue;
    std::cout << usage;
    return 0;
  }
  try {
    return work();
  } catch (const UsageError& error) {
    std::cerr << usage << "\n" << error.what << "\n";
    return 2;
  } catch (const Error& error) {
    std::cerr << error.what() << "\n";
  } catch (const std::bad_alloc&) {
    std::cerr << "out of memory\n";
  }
  return 1;
}

}  // namespace speaker
