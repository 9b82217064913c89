#include "tree.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "output.hpp"

namespace runctl::cmd {

namespace {

constexpr std::size_t k_level = 3;         // columns a level moves to the right
constexpr std::size_t k_wanted_name = 16;  // what the tree's lines leave of the label, at least
constexpr std::size_t k_min_levels = 2;    // even where less is left
constexpr std::size_t k_min_bar = 10;
constexpr std::size_t k_latency = 6;
constexpr std::size_t k_max_type = 9;
constexpr std::size_t k_width_for_bar = 40;
constexpr std::size_t k_width_for_type = 80;

// The characters to draw with. All but `eighths` take as many columns in both sets.
struct Pens {
  const char* open = "\u2502  ";         // a line that goes on further down
  const char* branch = "\u251C\u2500 ";  // a child, others below it
  const char* corner = "\u2514\u2500 ";  // the last child
  const char* missing = "?\u2500 ";      // a root whose parent is missing
  const char* cycle = "\u21BB\u2500 ";   // a root that is its own ancestor
  const char* deeper = "\u22EF";         // before the depth
  const char* times = "\u00D7";
  const char* shared = "\u2591";  // a cell of a bar that several runs share
  const char* full = "\u2588";
  const char* right_half = "\u2590";
  const char* right_eighth = "\u2595";
  const char* eighths[9] = {"",       "\u258F", "\u258E", "\u258D", "\u258C",
                            "\u258B", "\u258A", "\u2589", "\u2588"};
};

Pens ascii_pens() {
  return {"|  ", "|- ", "`- ", "?- ", "@- ", "~",
          "x",   "-",   "#",   "#",   "#",   {"", "#", "#", "#", "#", "#", "#", "#", "#"}};
}

std::string blanks(std::size_t count) { return std::string(count, ' '); }

class Drawing {
 public:
  Drawing(const std::vector<run::Facts>& runs, std::string_view trace, Collapse collapse,
          const Screen& screen)
      : runs_(runs), screen_(screen), tree_(arrange(runs, collapse)) {
    if (!screen.unicode) pens_ = ascii_pens();
    draw_head(trace);
    measure();
    draw_axis();
    for (std::size_t i = 0; i < tree_.lines.size(); ++i) draw_line(tree_.lines[i], labels_[i]);
  }

  std::string take() { return std::move(out_); }

 private:
  struct Label {
    std::string prefix;
    std::size_t prefix_width = 0;
    Shown name;
  };

  void draw_head(std::string_view trace) {
    add_head(fmt::format("trace {}", trace), k_bold);
    std::string facts;
    if (tree_.start != base::k_no_time) {
      facts = fmt::format("{}, {}, ", local_time_text(tree_.start, TimeForm::seconds, 0),
                          duration_text(run::latency(tree_.start, tree_.end)));
    }
    facts += counted(runs_.size(), "run", "runs");
    if (tree_.errors == 0) {
      add_head(facts + ", no errors", nullptr);
    } else {
      add_head(facts + ", " + counted(tree_.errors, "error", "errors"), k_red);
    }
    if (tree_.parents_missing > 0) {
      add_head(fmt::format("{} {} whose parent is not in this trace", trimmed(pens_.missing),
                           counted(tree_.parents_missing, "run", "runs")),
               k_dim);
    }
    if (tree_.cycles > 0) {
      add_head(fmt::format("{} {}, cut open", trimmed(pens_.cycle),
                           counted(tree_.cycles, "cycle of parents", "cycles of parents")),
               k_dim);
    }
    if (tree_.collapsed > 0) {
      add_head(fmt::format("{} {} on shared lines; --all-runs draws each", pens_.times,
                           counted(tree_.collapsed, "run", "runs")),
               k_dim);
    }
  }

  static std::string_view trimmed(std::string_view pen) { return pen.substr(0, pen.find(' ')); }

  void add_head(const std::string& text, const char* style) {
    const std::string line = show(text, screen_.width, screen_).text;
    out_ += (style == nullptr ? line : styled(line, style, screen_)) + "\n";
  }

  // Decides the widths of the columns.
  void measure() {
    if (screen_.width >= k_width_for_type) {
      for (const TreeLine& line : tree_.lines)
        type_ = std::max(type_, show(runs_[line.run].run_type, k_max_type, screen_).width);
    }
    const bool has_bar = screen_.width >= k_width_for_bar && tree_.start != base::k_no_time;
    const std::size_t fixed = 1 + 1 + 1 + (type_ > 0 ? type_ + 1 : 0) + k_latency + (has_bar ? 2 : 0);
    const std::size_t rest = screen_.width - std::min(screen_.width, fixed);
    const std::size_t most =
        has_bar ? rest - std::max(k_min_bar, rest * 2 / 5) : std::max<std::size_t>(rest, 1);
    const std::size_t levels = std::max((most - std::min(most, k_wanted_name)) / k_level, k_min_levels);
    labels_.reserve(tree_.lines.size());
    for (const TreeLine& line : tree_.lines) {
      labels_.push_back(label_of(line, levels, most));
      label_ = std::max(label_, labels_.back().prefix_width + labels_.back().name.width);
    }
    if (has_bar) bar_ = rest - label_;
  }

  // At most `most` columns wide, the tree's lines at most `levels` deep.
  Label label_of(const TreeLine& line, std::size_t levels, std::size_t most) {
    Label label;
    label.prefix = prefix_of(line, levels);
    label.prefix_width = display_width(label.prefix);
    if (label.prefix_width >= most) {
      // On a screen too narrow for both, the name tells more.
      label.prefix.clear();
      label.prefix_width = 0;
    }
    label.name = show(name_of(line), most - label.prefix_width, screen_);
    return label;
  }

  std::string prefix_of(const TreeLine& line, std::size_t levels) {
    if (goes_on_.size() <= line.depth) goes_on_.resize(line.depth + 1);
    goes_on_[line.depth] = !line.last;
    if (line.depth == 0) {
      below_marked_ = line.root != Root::no_parent;
      if (!below_marked_) return {};
      return line.root == Root::cycle ? pens_.cycle : pens_.missing;
    }
    const bool deep = line.depth > levels;
    std::string prefix = below_marked_ ? blanks(k_level) : "";
    const std::size_t drawn = deep ? levels - std::min<std::size_t>(levels, 3) : line.depth - 1;
    for (std::size_t level = 1; level <= drawn; ++level)
      prefix += goes_on_[level] ? pens_.open : blanks(k_level);
    if (deep) prefix += fmt::format("{}{} ", pens_.deeper, line.depth);
    return prefix + (line.last ? pens_.corner : pens_.branch);
  }

  [[nodiscard]] std::string name_of(const TreeLine& line) const {
    const std::string& name = runs_[line.run].name;
    if (line.siblings == 1) return name;
    std::string text = fmt::format("{} {} ", pens_.times, human_count(line.siblings));
    if (line.runs > line.siblings) text += fmt::format("({} runs) ", human_count(line.runs));
    text += name;
    if (line.names > 1) text += fmt::format(" +{}", counted(line.names - 1, "other", "others"));
    return text;
  }

  void draw_axis() {
    if (bar_ == 0) return;
    const std::string duration = duration_text(run::latency(tree_.start, tree_.end));
    const std::size_t before = screen_.width - bar_;
    out_ +=
        blanks(before) + styled("0" + blanks(bar_ - 1 - duration.size()) + duration, k_dim, screen_) + "\n";
  }

  void draw_line(const TreeLine& line, const Label& label) {
    const run::Facts& run = runs_[line.run];
    const bool alone = line.siblings == 1;
    const bool error = alone && run.error;
    out_ += styled(label.prefix, k_dim, screen_);
    out_ += error ? styled(label.name.text, k_red, screen_) : label.name.text;
    out_ += blanks(label_ - label.prefix_width - label.name.width + 1);
    out_ += error ? styled(error_mark(screen_), k_red, screen_) : " ";
    if (type_ > 0) {
      const Shown type = alone || line.names == 1 ? show(run.run_type, type_, screen_) : Shown{};
      out_ += " " + styled(type.text, k_dim, screen_) + blanks(type_ - type.width);
    }
    const std::string latency = duration_text(run::latency(line.start, line.end));
    out_ += blanks(1 + k_latency - latency.size()) + latency;
    if (bar_ > 0 && line.start != base::k_no_time) draw_bar(line, error);
    out_ += '\n';
  }

  void draw_bar(const TreeLine& line, bool error) {
    const std::size_t eighths = bar_ * 8;
    std::size_t from = std::min(place_of(line.start), eighths - 1);
    std::size_t to = std::clamp(place_of(std::max(line.start, line.end)), from + 1, eighths);
    out_ += blanks(2 + from / 8);
    std::string bar;
    if (line.siblings > 1) {
      for (std::size_t cell = from / 8; cell * 8 < to; ++cell) bar += pens_.shared;
    } else if (from / 8 == (to - 1) / 8) {
      // In one cell; an eighth of it would hardly be seen.
      bar = pens_.eighths[std::max<std::size_t>(to - from, 2)];
    } else {
      const std::size_t first = 8 - from % 8;
      bar = first >= 6 ? pens_.full : first >= 3 ? pens_.right_half : pens_.right_eighth;
      for (from += first; to - from >= 8; from += 8) bar += pens_.full;
      bar += pens_.eighths[to - from];
    }
    out_ += styled(bar, error ? k_red : k_cyan, screen_);
  }

  // Where a time lies on the axis, in eighths of a cell.
  [[nodiscard]] std::size_t place_of(std::int64_t time) const {
    const auto whole = static_cast<double>(run::latency(tree_.start, tree_.end).value_or(0));
    const auto part = static_cast<double>(run::latency(tree_.start, time).value_or(0));
    if (whole <= 0) return 0;
    return static_cast<std::size_t>(std::lround(part / whole * static_cast<double>(bar_ * 8)));
  }

  const std::vector<run::Facts>& runs_;
  const Screen& screen_;
  TraceTree tree_;
  Pens pens_;
  std::vector<Label> labels_;
  std::vector<bool> goes_on_;  // for each depth, whether siblings of the run above follow
  bool below_marked_ = false;  // whether the root above has a mark, which its children stand behind
  std::size_t label_ = 0;      // widths in columns; 0 where there is no such column
  std::size_t type_ = 0;
  std::size_t bar_ = 0;
  std::string out_;
};

}  // namespace

std::string draw_trace(const std::vector<run::Facts>& runs, std::string_view trace, Collapse collapse,
                       const Screen& screen) {
  return Drawing(runs, trace, collapse, screen).take();
}

}  // namespace runctl::cmd
