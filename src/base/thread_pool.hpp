// Workers that take tasks in the order they were given. A task may wait for tasks that were given before it,
// and for no others.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace runctl::base {

class ThreadPool {
 public:
  // Without threads, each task is done by whoever gives it, before submit() returns.
  explicit ThreadPool(std::size_t threads);
  // Finishes all tasks that were given.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // The future holds the task's result or what it threw.
  template <typename Task>
  auto submit(Task task) -> std::future<decltype(task())> {
    auto packaged = std::make_shared<std::packaged_task<decltype(task())()>>(std::move(task));
    auto result = packaged->get_future();
    push([packaged] { (*packaged)(); });
    return result;
  }

 private:
  void push(std::function<void()> task);
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace runctl::base
