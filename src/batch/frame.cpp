#include "batch/frame.hpp"

#include <zstd.h>

#include <algorithm>

#include "base/bytes.hpp"
#include "base/error.hpp"

namespace runctl::batch {

namespace {

using base::Error;
using base::ErrorKind;

// Windows of up to 2^27 bytes are read, as `zstd --long` writes them.
constexpr int k_max_window_log = 27;

// For sources above 256 KiB level 3 of zstd looks for matches of 8 and of 5 bytes in tables of 2^17 and 2^16
// positions (its clevels.h): 768 KiB, made for windows of 2 MiB. A frame has no more than 1 MiB. With tables
// that stay in a core's cache compressing on two cores took 0 to 12 % less time for sets of real runs, prose
// and source code, cut into frames as a batch is; seven sets became 1.4 % smaller to 2.0 % larger, 0.2 %
// larger together. From 128 KiB on that is as good as what zstd has for sources of this size, below it is
// not.
constexpr std::size_t k_large_source = 128U << 10;
struct Search {
  int long_matches_log;   // hashLog, which the strategy "dfast" has for matches of 8 bytes
  int short_matches_log;  // chainLog, for those of min_match
  int min_match;
};
constexpr Search k_zstds_own{0, 0, 0};
constexpr Search k_in_cache{14, 13, 5};

struct CompressorDeleter {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};
struct DecompressorDeleter {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};
using Compressor = std::unique_ptr<ZSTD_CCtx, CompressorDeleter>;
using Decompressor = std::unique_ptr<ZSTD_DCtx, DecompressorDeleter>;

// Setting up a context costs more than compressing a small frame, so each thread keeps one.
ZSTD_CCtx* thread_compressor() {
  thread_local const Compressor context(ZSTD_createCCtx());
  return context.get();
}
ZSTD_DCtx* thread_decompressor() {
  thread_local const Decompressor context(ZSTD_createDCtx());
  return context.get();
}

}  // namespace

std::string compress_frame(std::string_view raw, int level) {
  ZSTD_CCtx* const context = thread_compressor();
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  const Search& search = level == k_default_level && raw.size() > k_large_source ? k_in_cache : k_zstds_own;
  ZSTD_CCtx_setParameter(context, ZSTD_c_hashLog, search.long_matches_log);
  ZSTD_CCtx_setParameter(context, ZSTD_c_chainLog, search.short_matches_log);
  ZSTD_CCtx_setParameter(context, ZSTD_c_minMatch, search.min_match);
  // Fresh memory for the largest size that may come costs more than copying what does come.
  thread_local std::string bound;
  bound.resize(std::max(bound.size(), ZSTD_compressBound(raw.size())));
  const std::size_t size = ZSTD_compress2(context, bound.data(), bound.size(), raw.data(), raw.size());
  if (ZSTD_isError(size) != 0) throw Error(ErrorKind::io, std::string("zstd: ") + ZSTD_getErrorName(size));
  return bound.substr(0, size);
}

std::string decompress_frame(std::string_view stored, std::uint64_t raw_size) {
  if (ZSTD_getFrameContentSize(stored.data(), stored.size()) != raw_size) {
    throw Error(ErrorKind::corrupt, "a frame's header does not name the size that the footer says");
  }
  std::string raw(raw_size, '\0');
  const std::size_t size =
      ZSTD_decompressDCtx(thread_decompressor(), raw.data(), raw.size(), stored.data(), stored.size());
  if (ZSTD_isError(size) != 0) {
    throw Error(ErrorKind::corrupt,
                std::string("a frame cannot be decompressed: ") + ZSTD_getErrorName(size));
  }
  if (size != raw_size) throw Error(ErrorKind::corrupt, "a frame is shorter than its header says");
  return raw;
}

bool is_zstd(std::string_view bytes) {
  if (bytes.size() < 4) return false;
  const auto magic = base::load_number<std::uint32_t>(bytes.data());
  return magic == ZSTD_MAGICNUMBER || (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

struct StreamDecompressor::Context {
  Decompressor handle{ZSTD_createDCtx()};
};

StreamDecompressor::StreamDecompressor() : context_(std::make_unique<Context>()) {
  ZSTD_DCtx_setParameter(context_->handle.get(), ZSTD_d_windowLogMax, k_max_window_log);
}

StreamDecompressor::~StreamDecompressor() = default;

std::size_t StreamDecompressor::read(std::string_view& stored, std::span<char> out) {
  ZSTD_inBuffer from{stored.data(), stored.size(), 0};
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  const std::size_t hint = ZSTD_decompressStream(context_->handle.get(), &to, &from);
  if (ZSTD_isError(hint) != 0) {
    throw Error(ErrorKind::input, std::string("the zstd stream is broken: ") + ZSTD_getErrorName(hint));
  }
  complete_ = hint == 0;
  stored.remove_prefix(from.pos);
  return to.pos;
}

}  // namespace runctl::batch
