// What loops over the rows of a draw begin with; row_loops.py puts vectors.h and parallel.h before it, and one of them
// behind it.

#include <utility>

namespace rsample {

// Calls `loop(first, last)` for parts of `rows` rows, in several threads where there is work for them; a row's is in
// elements of a draw.
template <class Loop>
void each_part(int64_t rows, int64_t work_of_row, const Loop& loop) {
  constexpr int64_t GRAIN = 1 << 15;  // as in noise.h
  parallel_for(0, rows, GRAIN / min(work_of_row, GRAIN), loop);
}

// Calls a function with pointers and integers from an array.
template <class... Arguments, size_t... I>
void apply(void (*function)(Arguments...), const int64_t* call, std::index_sequence<I...>) {
  function((Arguments)call[I]...);
}

template <class... Arguments>
void apply(void (*function)(Arguments...), const int64_t* call) {
  apply(function, call, std::index_sequence_for<Arguments...>());
}

}  // namespace rsample
