#include "interrupt.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>

#include "base/error.hpp"

namespace runctl::cmd {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int k_signals[] = {SIGINT, SIGTERM};
// timeout(1) signals the program and then its group, to which the program belongs: what comes so soon after
// the first is no second wish.
constexpr std::chrono::milliseconds k_same_wish{500};
// What a store gets to answer after the signal.
constexpr std::chrono::seconds k_patience{10};

// What the handler may touch.
std::atomic<int> wake_fd{-1};
std::atomic<int> received{0};
std::array<std::atomic<const char*>, 4> files{};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<const char*>::is_always_lock_free);

// Since the clock's start; 0 where no signal came.
std::atomic<Clock::rep> deadline{0};
std::atomic<Clock::rep> first_at{0};

Clock::rep now() { return Clock::now().time_since_epoch().count(); }

void on_signal(int signal) {
  const int saved = errno;
  int none = 0;
  if (wake_fd >= 0 && received.compare_exchange_strong(none, signal)) {
    first_at = now();
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake_fd, &one, sizeof one);
    errno = saved;
    return;
  }
  if (received != 0 && (first_at == 0 || now() < first_at + Clock::duration(k_same_wish).count())) {
    errno = saved;
    return;
  }
  for (const auto& file : files) {
    if (const char* const path = file) ::unlink(path);
  }
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void install() {
  for (const int signal : k_signals) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) != 0 || action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace

Interruption::Interruption() : wake_(::eventfd(0, EFD_CLOEXEC)) {
  if (!wake_) base::throw_errno("eventfd", errno);
  wake_fd = wake_.get();
  install();
  thread_ = std::thread([this] { watch(); });
}

Interruption::~Interruption() {
  wake_fd = -1;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
  thread_.join();
}

// The handler itself may do next to nothing.
void Interruption::watch() {
  std::uint64_t count = 0;
  while (::read(wake_.get(), &count, sizeof count) < 0 && errno == EINTR) {
  }
  if (received == 0) return;
  deadline = (Clock::now() + k_patience).time_since_epoch().count();
  source_.request_stop();
}

int Interruption::signal() { return received; }

bool Interruption::is_overdue() { return deadline != 0 && now() > deadline; }

RemovedOnSignal::RemovedOnSignal(std::string path) : path_(std::move(path)) {
  for (auto& file : files) {
    const char* none = nullptr;
    if (file.compare_exchange_strong(none, path_.c_str())) break;
  }
  install();  // who catches signals knows the file already
}

RemovedOnSignal::~RemovedOnSignal() {
  for (auto& file : files) {
    const char* mine = path_.c_str();
    if (file.compare_exchange_strong(mine, nullptr)) return;
  }
}

}  // namespace runctl::cmd
