#include "table.hpp"

#include <algorithm>

namespace runctl::cmd {

namespace {

constexpr std::size_t k_id = 36;
constexpr std::size_t k_latency = 7;       // as wide as its title
constexpr std::size_t k_max_type = 12;     // longer ones are cut on a terminal
constexpr std::size_t k_wanted_name = 16;  // with less than this, another column goes

std::size_t width_of(TimeForm form) {
  switch (form) {
    case TimeForm::seconds:
      return 19;
    case TimeForm::minutes:
      return 16;
    case TimeForm::brief:
      return 11;
  }
  return 0;
}

// `shown` and the blanks that fill the column up, on the side that is named.
enum class Align { left, right };
std::string padded(const Shown& shown, std::size_t width, Align align) {
  const std::string blanks(width - std::min(shown.width, width), ' ');
  return align == Align::left ? shown.text + blanks : blanks + shown.text;
}

Shown plain(std::string text) {
  const std::size_t width = text.size();
  return {std::move(text), width};
}

}  // namespace

std::string SearchTable::page(const std::vector<run::Facts>& runs) {
  std::string out;
  if (runs.empty()) return out;
  if (!begun_) {
    begun_ = true;
    layout_ = layout_for(runs);
    out += header();
  }
  for (const run::Facts& run : runs) append_line(out, run);
  return out;
}

SearchTable::Layout SearchTable::layout_for(const std::vector<run::Facts>& runs) const {
  std::size_t type = 4;  // the title
  std::size_t name = 4;
  for (const run::Facts& run : runs) {
    type = std::max(type, show(run.run_type, k_max_type, screen_).width);
    name = std::max(name, show(run.name, k_wanted_name, screen_).width);
  }
  Layout layout{TimeForm::seconds, width_of(TimeForm::seconds), k_latency, 1, type, 2, k_unlimited};
  if (!screen_.terminal) return layout;
  // What is left for the name, less than nothing where the others are too wide.
  const auto fits = [&] {
    std::size_t others = k_id;
    for (const std::size_t column : {layout.start, layout.latency, layout.mark, layout.type}) {
      if (column > 0) others += column + layout.gap;
    }
    const std::size_t left = screen_.width - std::min(screen_.width, others + layout.gap);
    layout.name = left;
    return left;
  };
  const auto give_way = [&](std::size_t wanted, auto change) {
    if (fits() < wanted) change();
    fits();
  };
  const auto shorten = [&](TimeForm form) {
    layout.form = form;
    layout.start = width_of(form);
  };
  give_way(name, [&] { layout.type = 0; });
  give_way(name, [&] { shorten(TimeForm::minutes); });
  give_way(name, [&] { shorten(TimeForm::brief); });
  give_way(std::min<std::size_t>(name, 12), [&] { layout.gap = 1; });
  give_way(std::min<std::size_t>(name, 8), [&] { layout.latency = 0; });
  give_way(4, [&] { layout.start = 0; });
  if (screen_.width < k_id + layout.mark + layout.gap) layout.mark = 0;
  fits();
  return layout;
}

std::string SearchTable::header() const {
  const std::string gap(layout_.gap, ' ');
  std::string line;
  if (layout_.start > 0) line += padded(plain("START"), layout_.start, Align::left) + gap;
  if (layout_.latency > 0) line += padded(plain("LATENCY"), layout_.latency, Align::right) + gap;
  if (layout_.mark > 0) line += " " + gap;
  if (layout_.type > 0) line += padded(plain("TYPE"), layout_.type, Align::left) + gap;
  line += "ID";
  if (layout_.name >= 4) line += std::string(k_id - 2, ' ') + gap + "NAME";
  return styled(line, k_bold, screen_) + "\n";
}

void SearchTable::append_line(std::string& out, const run::Facts& run) const {
  const std::string gap(layout_.gap, ' ');
  if (layout_.start > 0)
    out += padded(plain(local_time_text(run.start, layout_.form, now_)), layout_.start, Align::left) + gap;
  if (layout_.latency > 0)
    out +=
        padded(plain(duration_text(run::latency(run.start, run.end))), layout_.latency, Align::right) + gap;
  if (layout_.mark > 0) out += (run.error ? styled(error_mark(screen_), k_red, screen_) : " ") + gap;
  if (layout_.type > 0) {
    const Shown type = show(run.run_type, screen_.terminal ? layout_.type : k_unlimited, screen_);
    out += padded({styled(type.text, k_dim, screen_), type.width}, layout_.type, Align::left) + gap;
  }
  out += run::uuid_text(run.id);
  const Shown name = show(run.name, layout_.name, screen_);
  if (name.width > 0) out += gap + (run.error ? styled(name.text, k_red, screen_) : name.text);
  out += '\n';
}

}  // namespace runctl::cmd
