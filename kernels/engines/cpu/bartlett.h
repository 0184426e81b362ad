// Wishart matrices on the CPU, of few rows, and their gradients.
//
// bartlett.py has the formulas; row_loops.h goes before this. All is computed in double precision.

namespace rsample {

constexpr int64_t MOST_ROWS = 16;  // as in bartlett.py

// Lower triangular matrices A with roots of chi-squared numbers on the diagonal, and normal ones below.
struct Bartlett {
  int64_t p;
  double epsilon;  // of the dtype
  double a[MOST_ROWS][MOST_ROWS], slope[MOST_ROWS];  // of each root as a function of the chi-squared number

  // From p chi-squared numbers and p by p normal ones, of which those below the diagonal are read.
  template <class T>
  void make(const T* squares, const T* normals) {
    double greatest = 0;
    for (int64_t i = 0; i < p; ++i) {
      double diagonal = squares[i];
      for (int64_t j = 0; j < i; ++j) {
        a[i][j] = normals[i * p + j];
        diagonal += a[i][j] * a[i][j];
      }
      greatest = max(greatest, diagonal);
    }
    const double least = 256.0 * static_cast<double>(p) * epsilon * greatest;
    double above[MOST_ROWS];  // the roots, except for growth
    for (int64_t i = 0; i < p; ++i) {
      double growth = 1;
      for (int64_t j = 0; j < i; ++j) growth += libm::fabs(a[i][j]) / above[j];
      const double square = squares[i], lowest = least * growth;
      above[i] = libm::sqrt(max(square, least));
      a[i][i] = libm::sqrt(max(square, lowest));
      slope[i] = (square > lowest ? 0.5 : square == lowest ? 0.25 : 0) / a[i][i];
      fill(a[i] + i + 1, a[i] + p, 0.0);
    }
  }

  // c = factor A
  template <class T>
  void times(const T* factor, double (&c)[MOST_ROWS][MOST_ROWS]) const {
    for (int64_t i = 0; i < p; ++i) {
      fill_n(c[i], p, 0.0);
      for (int64_t k = 0; k < p; ++k) {
        const double number = factor[i * p + k];
        for (int64_t j = 0; j <= k; ++j) c[i][j] += number * a[k][j];
      }
    }
  }
};

// Matrix number i has factor i % factors.
template <class T>
void bartlett(const T* squares, const T* normals, const T* factor, int64_t factors, int64_t matrices, int64_t p,
              T* out) {
  each_part(matrices, p * p * p / 2 + 8 * p, [&](int64_t begin, int64_t end) {
    Bartlett bartlett{p, std::numeric_limits<T>::epsilon()};
    double c[MOST_ROWS][MOST_ROWS];
    for (int64_t m = begin; m < end; ++m) {
      bartlett.make(squares + m * p, normals + m * p * p);
      bartlett.times(factor + m % factors * p * p, c);
      T* x = out + m * p * p;
      for (int64_t i = 0; i < p; ++i) {
        for (int64_t j = 0; j <= i; ++j) {
          double sum = 0;
          for (int64_t k = 0; k < p; ++k) sum += c[i][k] * c[j][k];
          x[i * p + j] = x[j * p + i] = static_cast<T>(sum);
        }
      }
    }
  });
}

// Of each matrix the gradients of its squares and of its factor.
template <class T>
void bartlett_backward(const T* grad, const T* squares, const T* normals, const T* factor, int64_t factors,
                       int64_t matrices, int64_t p, T* of_squares, T* of_factor) {
  each_part(matrices, 2 * p * p * p + 8 * p, [&](int64_t begin, int64_t end) {
    Bartlett bartlett{p, std::numeric_limits<T>::epsilon()};
    double c[MOST_ROWS][MOST_ROWS], of_c[MOST_ROWS][MOST_ROWS];
    for (int64_t m = begin; m < end; ++m) {
      const T *g = grad + m * p * p, *l = factor + m % factors * p * p;
      bartlett.make(squares + m * p, normals + m * p * p);
      bartlett.times(l, c);
      for (int64_t i = 0; i < p; ++i) {
        fill_n(of_c[i], p, 0.0);
        for (int64_t k = 0; k < p; ++k) {
          const double both = static_cast<double>(g[i * p + k]) + g[k * p + i];
          for (int64_t j = 0; j < p; ++j) of_c[i][j] += both * c[k][j];
        }
      }
      T* of_l = of_factor + m * p * p;
      for (int64_t i = 0; i < p; ++i) {
        for (int64_t k = 0; k < p; ++k) {
          double sum = 0;
          for (int64_t j = 0; j <= k; ++j) sum += of_c[i][j] * bartlett.a[k][j];
          of_l[i * p + k] = static_cast<T>(sum);
        }
      }
      for (int64_t i = 0; i < p; ++i) {
        double of_root = 0;
        for (int64_t k = 0; k < p; ++k) of_root += l[k * p + i] * of_c[k][i];
        of_squares[m * p + i] = static_cast<T>(of_root * bartlett.slope[i]);
      }
    }
  });
}

}  // namespace rsample
