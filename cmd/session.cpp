#include "session.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "output.hpp"
#include "store/directory_store.hpp"

namespace runctl::cmd {

namespace {

std::unique_ptr<store::ObjectStore> open_store(const Setting& setting) {
  const std::string& url = setting.value;
  if (url.starts_with("file://")) {
    const std::string path = url.substr(7);
    if (!path.starts_with('/')) {
      throw base::Error(
          base::ErrorKind::usage,
          fmt::format("{}: \"{}\" must name an absolute path: file:///DIR", setting.source, url));
    }
    return store::open_directory(path);
  }
  if (url.find("://") != std::string::npos) {
    throw base::Error(
        base::ErrorKind::usage,
        fmt::format("{}: \"{}\" is no store: give a directory or file:///DIR", setting.source, url));
  }
  return store::open_directory(url);
}

}  // namespace

Session::Session(const GlobalFlags& flags) : settings_(resolve(flags)), store_(open_store(settings_.store)) {
  set_message_color(settings_.color == When::always ||
                    (settings_.color == When::automatic && stderr_is_terminal()));
  index_path_ = settings_.index.value.empty() ? default_index(store_->url()) : settings_.index.value;
}

index::Index Session::index_for_writing() const {
  return std::move(*index::Index::open(index_path_, store_->url(), index::Index::Access::write));
}

std::optional<index::Index> Session::index_for_reading() const {
  return index::Index::open(index_path_, store_->url(), index::Index::Access::read);
}

void Session::report_traffic() const {
  if (!settings_.verbose) return;
  const store::Traffic traffic = store_->traffic();
  note(fmt::format("{}, {} read, {} written", counted(traffic.requests, "request", "requests"),
                   human_bytes(traffic.bytes_read), human_bytes(traffic.bytes_written)));
}

}  // namespace runctl::cmd
