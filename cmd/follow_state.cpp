#include "follow_state.hpp"

#include <filesystem>

#include <nlohmann/json.hpp>

#include "base/file.hpp"
#include "settings.hpp"

namespace runctl::cmd {

namespace {

constexpr std::size_t k_max_state = 1U << 16;

}  // namespace

FollowState::FollowState(const std::string& store_url, const std::string& file)
    : store_url_(store_url),
      file_(std::filesystem::absolute(file).lexically_normal().string()),
      path_(state_path("follow", store_url_ + "\n" + file_) + ".json") {}

std::optional<flow::FilePlace> FollowState::load() const {
  const auto text = base::read_file(path_, k_max_state);
  if (!text) return std::nullopt;
  const nlohmann::json state = nlohmann::json::parse(*text, nullptr, false);
  flow::FilePlace place;
  try {
    state.at("device").get_to(place.device);
    state.at("inode").get_to(place.inode);
    state.at("offset").get_to(place.offset);
    state.at("line").get_to(place.line);
    state.at("tail_length").get_to(place.tail_length);
    state.at("tail_hash").get_to(place.tail_hash);
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
  if (place.tail_length > flow::k_tail || place.tail_length > place.offset) return std::nullopt;
  return place;
}

void FollowState::save(const flow::FilePlace& place) const {
  const nlohmann::ordered_json state = {{"file", file_},
                                        {"store", store_url_},
                                        {"device", place.device},
                                        {"inode", place.inode},
                                        {"offset", place.offset},
                                        {"line", place.line},
                                        {"tail_length", place.tail_length},
                                        {"tail_hash", place.tail_hash}};
  base::make_directories(std::filesystem::path(path_).parent_path().string());
  base::AtomicFile file(path_);
  // A name of the file system need not be UTF-8.
  file.write(state.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  file.commit(base::AtomicFile::Replace::yes);
}

}  // namespace runctl::cmd
