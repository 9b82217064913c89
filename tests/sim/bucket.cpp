#include "bucket.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.hpp"

namespace runctl::sim {

namespace {

using base::Error;
using base::ErrorKind;

// A listing is read in pages, between which others put objects.
constexpr std::size_t k_page = 3;
// What is newer may be missing in a short listing.
constexpr Time k_listing_lag = std::chrono::seconds(3);
// How late what was given up still happens, at most.
constexpr std::size_t k_late_ms = 6'000;

// Enough of a key to tell it from others.
std::string name_of(const std::string& key) {
  const std::size_t slash = key.rfind('/');
  return key.substr(0, slash == std::string::npos ? key.size() : slash + 7);
}

}  // namespace

bool Bucket::put(const std::string& key, const std::string& bytes) {
  const bool there = objects_.contains(key);
  if (there && conditional_) return false;
  std::int64_t modified = (world_.now() + clock_offset_).count();
  if (step_.count() > 0) {
    const std::int64_t step = std::chrono::nanoseconds(step_).count();
    modified -= modified % step;
  } else {
    modified = std::max(modified, last_modified_ns_ + 1);
  }
  last_modified_ns_ = modified;
  Object& object = objects_[key];
  object.overwritten = object.overwritten || (there && object.modified_ns != modified);
  object.bytes = bytes;
  object.modified_ns = modified;
  if (!there) object.created = world_.now();
  return true;
}

bool SimulatedStore::happens(double probability) {
  if (!process_.world().chance(probability)) return false;
  ++bucket_.faults_made;
  return true;
}

void SimulatedStore::fail(const std::string& key, const std::string& what) {
  process_.log(fmt::format("{}: {}", name_of(key), what));
  process_.step(Process::Next::write_index);
  throw Error(ErrorKind::remote, key + ": " + what);
}

void SimulatedStore::send(const std::string& key, const std::string& bytes) {
  ++requests_;
  begin();
  const Faults& faults = bucket_.faults;
  if (happens(faults.put_refused)) fail(key, "PUT failed");
  const auto later = [&] {
    process_.world().defer(std::chrono::milliseconds(process_.world().below(k_late_ms)),
                           [&bucket = bucket_, &world = process_.world(), key, bytes] {
                             const bool taken = bucket.put(key, bytes);
                             world.log("store", fmt::format("PUT {} comes late: {}", name_of(key),
                                                            taken ? "taken" : "there already"));
                           });
  };
  if (happens(faults.put_late)) {
    later();
    fail(key, "PUT timed out, and is still under way");
  }
  const bool taken = bucket_.put(key, bytes);
  written_ += bytes.size();
  process_.log(fmt::format("PUT {}: {}", name_of(key), taken ? "taken" : "there already"));
  if (happens(faults.put_twice)) {
    if (process_.world().chance(0.5)) {
      later();
    } else {
      process_.step(Process::Next::anything_else);
      bucket_.put(key, bytes);
    }
  }
  if (happens(faults.put_unanswered)) fail(key, "PUT was not answered");
  end();
}

// As the store of S3 does it.
store::PutResult SimulatedStore::put(const std::string& key, std::span<const std::string_view> parts,
                                     const base::Sha256Digest& /*digest*/) {
  std::string bytes;
  for (const std::string_view part : parts) bytes += part;
  if (!bucket_.conditional()) {
    // Overwriting would change no byte, but the time that tells which version of a run is the latest.
    if (auto info = head(key); info && info->size == bytes.size()) return {std::move(*info), false};
  }
  const bool there = bucket_.objects().contains(key);
  send(key, bytes);
  auto info = head(key);
  if (!info) throw Error(ErrorKind::remote, key + ": the server took the object, but does not have it");
  return {std::move(*info), !there};
}

void SimulatedStore::read(std::span<const store::Range> ranges, const RangeSink& sink) {
  // Answers come in any order.
  std::vector<std::size_t> order(ranges.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[process_.world().below(i)]);
  begin();
  for (const std::size_t which : order) {
    const store::Range& range = ranges[which];
    ++requests_;
    if (happens(bucket_.faults.read_failed)) fail(range.key, "GET failed");
    const auto object = bucket_.objects().find(range.key);
    if (object == bucket_.objects().end()) throw Error(ErrorKind::not_found, range.key + ": no such object");
    const bool is_short = happens(bucket_.faults.read_short);
    if (is_short) process_.met_corruption = true;
    const std::string& bytes = object->second.bytes;
    if (is_short || range.offset > bytes.size() || range.length > bytes.size() - range.offset) {
      process_.log(fmt::format("GET {} is short", name_of(range.key)));
      throw Error(ErrorKind::corrupt, range.key + ": the object is shorter than the range");
    }
    process_.log(fmt::format("GET {} {}+{}", name_of(range.key), range.offset, range.length));
    std::string part = bytes.substr(range.offset, range.length);
    read_ += part.size();
    end();
    sink(which, std::move(part));
  }
}

std::optional<store::ObjectInfo> SimulatedStore::head(const std::string& key) {
  ++requests_;
  begin();
  if (happens(bucket_.faults.head_failed)) fail(key, "HEAD failed");
  std::optional<store::ObjectInfo> info;
  if (const auto object = bucket_.objects().find(key); object != bucket_.objects().end())
    info = {key, object->second.bytes.size(), object->second.modified_ns};
  process_.log(fmt::format("HEAD {}: {}", name_of(key), info ? "there" : "not there"));
  end();
  return info;
}

bool SimulatedStore::is_hidden(const Bucket::Object& object, bool short_listing) const {
  return short_listing && process_.world().now() - object.created < k_listing_lag;
}

void SimulatedStore::visit_page(const std::string& prefix, std::string& last, bool short_listing,
                                std::vector<store::ObjectInfo>& page) {
  auto object = bucket_.objects().lower_bound(std::max(prefix, last));
  for (; object != bucket_.objects().end() && object->first.starts_with(prefix) && page.size() < k_page;
       ++object) {
    if (object->first == last || is_hidden(object->second, short_listing)) continue;
    page.push_back({object->first, object->second.bytes.size(), object->second.modified_ns});
  }
}

void SimulatedStore::list(const std::string& prefix,
                          const std::function<void(const store::ObjectInfo&)>& visit) {
  const bool short_listing = happens(bucket_.faults.list_short);
  std::string last;
  std::size_t listed = 0;
  while (true) {
    ++requests_;
    begin();
    if (happens(bucket_.faults.list_failed)) fail(prefix, "LIST failed");
    std::vector<store::ObjectInfo> page;
    visit_page(prefix, last, short_listing, page);
    for (const store::ObjectInfo& object : page) visit(object);
    listed += page.size();
    if (page.size() < k_page) break;
    last = page.back().key;
  }
  process_.log(fmt::format("LIST {}: {}{}", prefix, listed, short_listing ? ", perhaps short" : ""));
  end();
}

std::vector<std::string> SimulatedStore::list_groups(const std::string& prefix) {
  ++requests_;
  begin();
  if (happens(bucket_.faults.list_failed)) fail(prefix, "LIST failed");
  const bool short_listing = happens(bucket_.faults.list_short);
  std::vector<std::string> groups;
  for (const auto& [key, object] : bucket_.objects()) {
    const std::size_t slash = key.find('/', prefix.size());
    if (!key.starts_with(prefix) || slash == std::string::npos || is_hidden(object, short_listing)) continue;
    std::string group = key.substr(prefix.size(), slash - prefix.size());
    if (groups.empty() || groups.back() != group) groups.push_back(std::move(group));
  }
  process_.log(fmt::format("LIST groups: {}{}", groups.size(), short_listing ? ", perhaps short" : ""));
  end();
  return groups;
}

bool SimulatedStore::remove(const std::string& key) {
  throw Error(ErrorKind::usage, key + ": nothing in the house removes objects");
}

}  // namespace runctl::sim
