#include "workplace.hpp"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "index/index.hpp"
#include "scene.hpp"

namespace runctl::sim {

namespace fs = std::filesystem;

Workplace::Workplace(std::string directory) : directory_(std::move(directory)) {
  fs::create_directories(directory_);
  use_connections(Connections::fresh);
  Machine none;
  none.index_path = *this / "empty";
  Scene::open(none, index::Index::Access::write);
  empty_ = tests::read_whole(none.index_path);
}

Workplace::~Workplace() { close_kept_connections(); }

void Workplace::begin(Connections use) { use_connections(use); }

void Workplace::remove_index(const std::string& path) {
  close_kept_connections();
  index::Index::remove(path);
}

void Workplace::place_empty_index(const std::string& path) const {
  const auto fill = [](const std::string& file, const std::string& bytes) {
    std::fstream(file, std::ios::binary | std::ios::in | std::ios::out) << bytes;
    fs::resize_file(file, bytes.size());
  };
  if (!fs::exists(path + "-shm")) {
    remove_index(path);
    tests::write_whole(path, empty_);
    return;
  }
  // Connections that wait have these files open, and find in them what a machine finds after a crash with an
  // empty log: SQLite builds the shared memory, which has no header then, anew.
  fill(path, empty_);
  fill(path + "-wal", "");
  std::string nothing(fs::file_size(path + "-shm"), '\0');
  fill(path + "-shm", nothing);
}

}  // namespace runctl::sim
