// libfmt's functions that are no templates, compiled here once and for all: the distribution has them only as
// a shared library, which each start of the program would pay for, and as headers, which every file would.
#include <fmt/format-inl.h>

FMT_BEGIN_NAMESPACE
namespace detail {

// What <fmt/format.h> declares "extern template".
template FMT_API auto thousands_sep_impl(locale_ref) -> thousands_sep_result<char>;
template FMT_API auto decimal_point_impl(locale_ref) -> char;

}  // namespace detail
FMT_END_NAMESPACE
