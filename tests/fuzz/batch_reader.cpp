// The batch reader over a hostile object: what it accepts must hold together, lie within the object, be
// written again as it was read, and be sorted for the index without a fault.
#include <algorithm>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "batch/columns.hpp"
#include "batch/footer.hpp"
#include "batch/format.hpp"
#include "batch/frame.hpp"
#include "batch/reader.hpp"
#include "batch/writer.hpp"
#include "fuzz/target.hpp"
#include "index/table_keys.hpp"
#include "index/terms.hpp"

namespace {

using namespace runctl;
using fuzz::Input;
using fuzz::require;

// Random bytes have no right checksum: put it right, so that what lies behind it is reached.
void mend_checksum(std::string& object) {
  if (object.size() < batch::k_skippable_head + batch::k_seek_foot) return;
  std::optional<batch::Layout> layout;
  try {
    layout = batch::decode_layout(object, object.size());
  } catch (const base::Error&) {
    return;
  }
  if (!layout || layout->footer_size < batch::k_skippable_head + sizeof(std::uint64_t)) return;
  const std::size_t content = layout->footer_offset + batch::k_skippable_head;
  const std::size_t end = layout->footer_offset + layout->footer_size;
  const std::uint64_t sum =
      base::xxh3_64(std::string_view(object).substr(content, end - sizeof(std::uint64_t) - content));
  std::memcpy(object.data() + end - sizeof sum, &sum, sizeof sum);
}

bool is_position_of_text(const run::Table& table, std::uint32_t number) {
  return number <= table.texts.size();
}

void check_table(const run::Table& table, std::uint64_t object_size) {
  const std::size_t runs = table.size();
  for (const std::size_t column :
       {table.fingerprints.size(), table.lengths.size(), table.traces.size(), table.parents.size(),
        table.names.size(), table.run_types.size(), table.statuses.size(), table.starts.size(),
        table.ends.size(), table.errors.size(), table.tag_ends.size(), table.metadata_ends.size()}) {
    require(column == runs, "every column has an entry for each run");
  }
  std::uint64_t raw = 0;
  std::uint64_t stored = 0;
  for (const run::Frame& frame : table.frames) {
    require(frame.offset == stored && frame.raw_offset == raw, "frames lie one behind the other");
    require(frame.raw <= batch::k_max_frame_raw, "a frame is no larger than a reader takes");
    raw += frame.raw;
    stored += frame.stored;
  }
  require(stored <= object_size, "the frames lie within the object");
  std::uint64_t lines = 0;
  for (std::size_t i = 0; i < runs; ++i) {
    lines += std::uint64_t{table.lengths[i]} + 1;
    for (const auto* const column : {&table.names, &table.run_types, &table.statuses})
      require(is_position_of_text(table, (*column)[i]), "a text is one of the batch's");
    require(i == 0 || table.tag_ends[i - 1] <= table.tag_ends[i], "tags ascend");
    require(i == 0 || table.metadata_ends[i - 1] <= table.metadata_ends[i], "metadata ascends");
  }
  require(lines == raw, "the runs fill the frames");
  require(table.tags.size() == (runs == 0 ? 0 : table.tag_ends.back()), "all tags are of a run");
  require(table.metadata.size() == (runs == 0 ? 0 : table.metadata_ends.back()), "all metadata is of a run");
  for (const std::uint32_t number : table.tags)
    require(is_position_of_text(table, number), "a tag is a text");
  for (const std::uint32_t number : table.metadata)
    require(is_position_of_text(table, number), "metadata is a text");
  for (const run::FieldSpan& field : table.fields) {
    require(field.run < runs && is_position_of_text(table, field.name), "a field is of a run");
    require(std::uint64_t{field.offset} + field.length <= table.lengths[field.run],
            "a field lies in its run");
  }
}

// The index relies on all of this, and what it records is numbered by what is here.
void check_keys(const run::Table& table, const index::TableKeys& keys) {
  const auto is_before = [](const index::Posting& a, const index::Posting& b) {
    return std::tie(a.key, a.row) < std::tie(b.key, b.row);
  };
  require(keys.ids.size() == table.size(), "each run has an id");
  require(std::is_sorted(keys.ids.begin(), keys.ids.end(), is_before), "ids ascend");
  for (const index::Posting& id : keys.ids) require(id.row < table.size(), "an id is of a run");
  const std::uint64_t all = index::term_key(index::TermKind::all, "");
  bool has_all = false;
  const index::TableKeys::Term* last = nullptr;
  for (const index::TableKeys::Term& term : keys.terms) {
    require(last == nullptr || last->key < term.key, "terms ascend, and no two share a key");
    require(term.begin < term.end && term.end <= keys.positions.size(), "a term has runs");
    for (std::uint32_t i = term.begin; i < term.end; ++i) {
      const std::uint32_t run = keys.positions[i];
      require(run < table.size(), "a term is of runs");
      if (i == term.begin) continue;
      const std::uint32_t before = keys.positions[i - 1];
      require(std::pair(index::order_of(table.starts[before]), before) <
                  std::pair(index::order_of(table.starts[run]), run),
              "the runs of a term ascend, each once");
    }
    has_all = has_all || (term.key == all && term.end - term.begin == table.size());
    last = &term;
  }
  require(has_all || table.size() == 0, "every run is found without a condition");
}

bool same_table(const run::Table& a, const run::Table& b) {
  const auto same_field = [](const run::FieldSpan& x, const run::FieldSpan& y) {
    return x.run == y.run && x.name == y.name && x.offset == y.offset && x.length == y.length;
  };
  return a.ids == b.ids && a.fingerprints == b.fingerprints && a.lengths == b.lengths &&
         a.traces == b.traces && a.parents == b.parents && a.names == b.names && a.run_types == b.run_types &&
         a.statuses == b.statuses && a.starts == b.starts && a.ends == b.ends && a.errors == b.errors &&
         a.tag_ends == b.tag_ends && a.tags == b.tags && a.metadata_ends == b.metadata_ends &&
         a.metadata == b.metadata && a.texts.size() == b.texts.size() &&
         std::equal(a.fields.begin(), a.fields.end(), b.fields.begin(), b.fields.end(), same_field);
}

void read_object(const std::string& object, std::uint64_t claimed) {
  std::uint64_t asked = 0;
  const auto read = [&](std::uint64_t offset, std::uint64_t length) {
    require(length > 0 && offset <= claimed && length <= claimed - offset, "only what is there is asked for");
    asked += length;
    require(asked <= claimed, "nothing is asked for twice");
    // A server that claims more than it has ends the reading.
    if (claimed != object.size()) throw base::Error(base::ErrorKind::corrupt, "is shorter than it says");
    return object.substr(offset, length);
  };
  const run::Table table = batch::read_table(claimed, read);
  check_table(table, object.size());
  check_keys(table, index::keys_of(table));
  const std::string group = batch::group_of(table);
  require(group == batch::k_mixed_group || batch::is_day_group(group), "a batch has a group");
  const std::string footer = batch::encode_footer(table);
  batch::Layout layout;
  layout.frames = table.frames;
  require(same_table(table, batch::decode_footer(footer, layout)), "a table is written as it is read");
  for (const run::Frame& frame : table.frames) {
    const std::string raw =
        batch::decompress_frame(std::string_view(object).substr(frame.offset, frame.stored), frame.raw);
    require(raw.size() == frame.raw, "a frame has the size that was said");
  }
}

void read_columns(Input input) {
  const std::size_t count = input.number<std::uint16_t>();
  const std::string stored(input.rest());
  try {
    const auto numbers = batch::decode_numbers(stored, count);
    require(numbers.size() == count, "a column has as many numbers as were asked for");
    require(batch::decode_numbers(batch::encode_numbers(numbers), count) == numbers, "numbers round trip");
  } catch (const base::Error&) {
  }
  const std::string bytes = batch::decode_bytes(stored, batch::k_max_text_bytes);
  require(batch::decode_bytes(batch::encode_bytes(bytes), bytes.size()) == bytes, "bytes round trip");
}

void read_stream(std::string_view stored) {
  batch::StreamDecompressor stream;
  char out[4096];
  for (std::uint64_t written = 0; !stored.empty() && written < (1U << 20);) {
    const std::size_t before = stored.size();
    const std::size_t got = stream.read(stored, out);
    require(got > 0 || stored.size() < before || stream.complete(), "a stream goes on or ends");
    if (got == 0 && stored.size() == before) return;
    written += got;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(fuzz::bytes_of(data, size));
  try {
    switch (input.below(8)) {
      case 0:
        read_columns(input);
        break;
      case 1:
        read_stream(input.rest());
        break;
      case 2: {
        const auto claimed = input.number<std::uint64_t>();
        read_object(std::string(input.rest()), claimed);
        break;
      }
      case 3: {
        const std::string object(input.rest());
        read_object(object, object.size());
        break;
      }
      default: {
        std::string object(input.rest());
        mend_checksum(object);
        read_object(object, object.size());
      }
    }
  } catch (const base::Error& error) {
    fuzz::require_printable(error.what());
  }
  return 0;
}
