#include "workplace.hpp"

#include <filesystem>

#include "index/index.hpp"
#include "memory_files.hpp"
#include "scene.hpp"

namespace runctl::sim {

Workplace::Workplace(std::string directory) : directory_(std::move(directory)) {
  std::filesystem::create_directories(directory_);
  use_connections(Connections::fresh);
  Machine none;
  none.index_path = *this / "empty";
  Scene::open(none, index::Index::Access::write);
  empty_ = tests::read_whole(none.index_path);
}

Workplace::~Workplace() { close_kept_connections(); }

void Workplace::begin(Connections use) {
  use_ = use;
  use_connections(use);
}

std::string Workplace::no_index(const std::string& name) const {
  std::string path = *this / (name + ".new");
  close_kept_connections(path);
  index::Index::remove(path);
  return path;
}

std::string Workplace::empty_index(const std::string& name) const {
  if (use_ == Connections::fresh) {
    std::string path = no_index(name);
    tests::write_whole(path, empty_);
    return path;
  }
  // Connections that wait have the files open, and find in them what a machine finds after it was switched
  // off: no log, and shared memory without a header, which SQLite makes anew.
  std::string path = *this / name;
  if (overwrite_in_memory(path, empty_)) {
    overwrite_in_memory(path + "-wal", "");
    zero_in_memory(path + "-shm");
  } else {
    tests::write_whole(path, empty_);
  }
  return path;
}

}  // namespace runctl::sim
