// Bytes that grow at their end.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

namespace runctl::base {

// What is read goes to where it stays: the room for it is not filled with zeros first, as std::string's is.
class Text {
 public:
  Text() = default;
  explicit Text(std::string_view bytes) { append(bytes); }
  Text(Text&& other) noexcept { swap(other); }
  Text& operator=(Text&& other) noexcept {
    Text(std::move(other)).swap(*this);
    return *this;
  }
  ~Text() = default;

  // NOLINTNEXTLINE(google-explicit-constructor): it is read as any other text.
  operator std::string_view() const { return {bytes_.get(), size_}; }
  [[nodiscard]] std::string_view view() const { return *this; }
  [[nodiscard]] const char* data() const { return bytes_.get(); }
  [[nodiscard]] std::size_t size() const { return size_; }

  void append(std::string_view bytes) {
    if (bytes.empty()) return;
    std::memcpy(room(bytes.size()).data(), bytes.data(), bytes.size());
    size_ += bytes.size();
  }

  // At least `bytes` behind the end, of which grow() then takes what was written.
  std::span<char> room(std::size_t bytes) {
    if (bytes > capacity_ - size_) {
      // Doubled, so that many small pieces cost no more than twice their copying.
      const std::size_t capacity = std::max(size_ + bytes, 2 * capacity_);
      auto larger = std::make_unique_for_overwrite<char[]>(capacity);
      if (size_ > 0) std::memcpy(larger.get(), bytes_.get(), size_);
      bytes_ = std::move(larger);
      capacity_ = capacity;
    }
    return {bytes_.get() + size_, capacity_ - size_};
  }
  void grow(std::size_t bytes) { size_ += bytes; }

  void cut(std::size_t size) { size_ = std::min(size_, size); }

 private:
  void swap(Text& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

  std::unique_ptr<char[]> bytes_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace runctl::base
