// Loops that ATen's threads share.
//
// vectors.h goes before this. ATen's header takes a compiler a second to read, for what is a loop over OpenMP's threads.
// Where that is what ATen has, it is written here.

#include <ATen/Config.h>

#if AT_PARALLEL_OPENMP && defined(_OPENMP)

#include <omp.h>

namespace at {

int get_num_threads();
bool in_parallel_region();

}  // namespace at

namespace rsample {

// Calls body(begin, end) for parts of begin .. end of `grain` numbers at least, one of them a thread. `grain` is positive,
// and nothing is thrown: it could not be caught.
template <class Body>
inline void parallel_for(int64_t begin, int64_t end, int64_t grain, const Body& body) {
  if (begin >= end) return;
  // Where there is a team to be made, ATen is asked how many threads it is to have, which also tells OpenMP.
  if (end - begin <= grain || at::in_parallel_region() || at::get_num_threads() == 1) {
    return body(begin, end);
  }
#pragma omp parallel
  {
    const int64_t most = (end - begin + grain - 1) / grain;
    const int64_t threads = min<int64_t>(omp_get_num_threads(), most);
    const int64_t size = (end - begin + threads - 1) / threads, from = begin + omp_get_thread_num() * size;
    if (from < end) body(from, min(end, from + size));
  }
}

}  // namespace rsample

#else

#include <ATen/Parallel.h>

namespace rsample {
using at::parallel_for;
}  // namespace rsample

#endif
