// Stick breaking on the CPU: K numbers of a row to a point of K + 1 coordinates, and the gradient.
//
// simplex.py has the formulas; row_loops.h goes before this.

namespace rsample {

// How the numbers of a row are read: the logarithms of how many coordinates are left, and where shares end.
template <class T>
struct Sticks {
  int64_t rows, k;
  Array<T> log_left = Array<T>(k);

  Sticks(int64_t rows, int64_t k) : rows(rows), k(k) {
    for (int64_t i = 0; i < k; ++i) log_left[i] = libm::log(static_cast<T>(k - i));
  }

  // What each coordinate takes of what is left. NaN stays.
  void shares(const T* x, T* z) const {
    constexpr T least = std::numeric_limits<T>::min(), most = 1 - std::numeric_limits<T>::epsilon();
    for (int64_t i = 0; i < k; ++i) {
      const T share = 1 / (1 + libm::exp(log_left[i] - x[i]));
      const T some = share < least ? least : share;
      z[i] = some > most ? most : some;
    }
  }
};

template <class T>
void stick_breaking(const T* x, int64_t rows, int64_t k, T* y) {
  const Sticks<T> sticks(rows, k);
  each_part(rows, 2 * k, [&](int64_t begin, int64_t end) {
    Array<T> z(k);
    for (int64_t row = begin; row < end; ++row) {
      sticks.shares(x + row * k, z.data());
      T* out = y + row * (k + 1);
      double left = 1;
      for (int64_t i = 0; i < k; ++i) {
        out[i] = z[i] * static_cast<T>(left);
        left *= 1 - z[i];
      }
      out[k] = static_cast<T>(left);
    }
  });
}

template <class T>
void stick_breaking_backward(const T* x, const T* grad, int64_t rows, int64_t k, T* of_x) {
  const Sticks<T> sticks(rows, k);
  each_part(rows, 4 * k, [&](int64_t begin, int64_t end) {
    Array<T> z(k);
    Array<double> weighted(k + 1);
    for (int64_t row = begin; row < end; ++row) {
      sticks.shares(x + row * k, z.data());
      const T* g = grad + row * (k + 1);
      double left = 1;
      for (int64_t i = 0; i < k; ++i) {
        weighted[i] = g[i] * (z[i] * left);
        left *= 1 - z[i];
      }
      double behind = g[k] * left;  // of all coordinates behind
      for (int64_t i = k - 1; i >= 0; --i) {
        of_x[row * k + i] = static_cast<T>(weighted[i] * (1 - z[i]) - z[i] * behind);
        behind += weighted[i];
      }
    }
  });
}

}  // namespace rsample
