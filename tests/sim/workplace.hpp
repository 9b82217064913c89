// A thread's directory, and what its histories have in common there.
#pragma once

#include <string>

#include "connections.hpp"

namespace runctl::sim {

class Workplace {
 public:
  // Makes the directory, and an empty index in it: making one costs more than most histories.
  explicit Workplace(std::string directory);
  // Closes what is open there. The directory stays.
  ~Workplace();
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;

  [[nodiscard]] std::string operator/(const std::string& name) const { return directory_ + "/" + name; }

  // Nobody has an index there open; how it is opened from now on.
  void begin(Connections use);
  // Afterwards there is none at `path`.
  static void remove_index(const std::string& path);
  // Afterwards there is an empty one, the same each time to the last byte.
  void place_empty_index(const std::string& path) const;

 private:
  const std::string directory_;
  std::string empty_;
};

}  // namespace runctl::sim
