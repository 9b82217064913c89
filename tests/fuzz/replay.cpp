// Gives a target every file below the paths that are named: what was found once must stay mended.
// usage: fuzz_TARGET FILE|DIRECTORY...
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "fuzz/target.hpp"

namespace {

namespace fs = std::filesystem;

void replay(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  const std::string bytes = content.str();
  // Whoever reads this log after a crash wants to know which file it was.
  std::cout << path.string() << std::endl;
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t files = 0;
  for (int i = 1; i < argc; ++i) {
    if (!fs::is_directory(argv[i])) {
      replay(argv[i]);
      ++files;
      continue;
    }
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(argv[i])) {
      if (!entry.is_regular_file()) continue;
      replay(entry.path());
      ++files;
    }
  }
  if (files == 0) {
    std::cerr << "replay: there is nothing to replay\n";
    return 1;
  }
  std::cout << "Ran " << files << " tests in all\n";
  return 0;
}
