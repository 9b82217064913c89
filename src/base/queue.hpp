// A bounded queue between two threads: the producer waits while it is full, the consumer while it is empty.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace runctl::base {

template <typename Item>
class Queue {
 public:
  explicit Queue(std::size_t capacity) : capacity_(capacity) {}

  // False where the queue was closed: the item was not taken.
  bool push(Item item) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || items_.size() < capacity_; });
    if (closed_) return false;
    items_.push_back(std::move(item));
    changed_.notify_all();
    return true;
  }

  // For the only producer: the next push() will not wait. False where the queue was closed.
  bool wait_for_room() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || items_.size() < capacity_; });
    return !closed_;
  }

  // Absent once the queue is closed and empty.
  std::optional<Item> pop() { return pop_until({}); }

  // The same; also absent when this time has come, and there is nothing.
  std::optional<Item> pop_until(std::optional<std::chrono::steady_clock::time_point> until) {
    std::unique_lock lock(mutex_);
    const auto ready = [this] { return closed_ || !items_.empty(); };
    if (!until)
      changed_.wait(lock, ready);
    else if (!changed_.wait_until(lock, *until, ready))
      return std::nullopt;
    if (items_.empty()) return std::nullopt;
    Item item = std::move(items_.front());
    items_.pop_front();
    changed_.notify_all();
    return item;
  }

  // Closed, and all was popped.
  [[nodiscard]] bool ended() {
    const std::lock_guard lock(mutex_);
    return closed_ && items_.empty();
  }

  // No more items are taken; those in the queue can still be popped.
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  const std::size_t capacity_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> items_;
  bool closed_ = false;
};

}  // namespace runctl::base
