// Cholesky factors of correlation matrices on the CPU, from squared distances and normal numbers.
//
// onion.py has the formulas; row_loops.h goes before this.

namespace rsample {

// `squares` has n numbers per matrix, `normals` and `out` n by n, of which those above the diagonal are not read.
template <class T>
void onion(const T* squares, const T* normals, int64_t matrices, int64_t n, T* out) {
  constexpr T tiny = std::numeric_limits<T>::min();
  each_part(matrices, 2 * n * n, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin * n; row < end * n; ++row) {
      const int64_t i = row % n;
      const T* direction = normals + row * n;
      T* to = out + row * n;
      double norm = 0, taken = 0;
      for (int64_t j = 0; j < i; ++j) norm += static_cast<double>(direction[j]) * direction[j];
      const double scale = libm::sqrt(static_cast<double>(squares[row]) / max<double>(norm, tiny));
      for (int64_t j = 0; j < i; ++j) {
        to[j] = static_cast<T>(scale * direction[j]);
        taken += static_cast<double>(to[j]) * to[j];
      }
      to[i] = static_cast<T>(libm::sqrt(max<double>(1 - taken, tiny)));
      fill(to + i + 1, to + n, T(0));
    }
  });
}

}  // namespace rsample
