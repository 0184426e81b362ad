// Draws that are a matrix product, on the CPU: loc + factor @ eps + scale * e, and the gradient of the factor. Here is
// what the ways to multiply share.
//
// product_library.py puts elementary.h, noise.h and product_noise.h before this. engines/matrix_product.py says what is
// drawn. Noise is made in the cache for the rows at hand, forward and backward. Rows that share a factor, one after the
// other, are multiplied together (product_lanes.h, product_columns.h); others row by row (product_rows.h). Work is cut
// by row number only, and sums add up in that order: the threads' number changes no bit.

namespace rsample {

template <class T>
constexpr int LANES = Vector<T>::size();
constexpr int VECTORS = 4;  // of the registers' block: VECTORS vectors by BLOCK numbers
constexpr int BLOCK = 4;
template <class T>
constexpr int ROWS = VECTORS * LANES<T>;  // rows that are multiplied together
constexpr int64_t SHARED = 8;             // rows with one factor, from which on they are multiplied together
constexpr int64_t PACKED = 24;            // rows for which laying out their factor again pays
constexpr int64_t SHORT = 8;              // shorter products take no vectors
constexpr int64_t TASK = 1 << 14;         // elements of a factor, or of a result, in the unit of work
constexpr int64_t LARGE = 1 << 20;        // elements of a factor that are cut, as threads take as long to start
constexpr int64_t PARTS = 64;             // partial sums of the gradient of one factor, at most
constexpr int64_t PARTIAL = 1 << 22;      // elements of all partial sums, at most

template <class T>
inline T sum_of_lanes(const Vector<T>& x) {
  return reduced([](const Vector<T>& a, const Vector<T>& b) { return a + b; }, x);
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Row (s, b, t) of a draw has number (s * factors + b) * after + t and factor b. All fields are 8 bytes wide.
struct Rows {
  int64_t before, factors, after;

  int64_t count() const { return before * factors * after; }
};

// An operand of the draw's shape: its steps along s, b and t, and within a row. No operand: null.
template <class T>
struct Operand {
  const T* data;
  int64_t before, factors, after, step;

  const T* at(int64_t s, int64_t b, int64_t t) const { return data + s * before + b * factors + t * after; }
};

template <class T>
struct Factor {
  const T* data;
  int64_t factors, row, column;  // steps
};

struct Draw {
  uint64_t seed, offset, stream;
  Rows rows;
  int64_t n, k, triangular;

  // Where the numbers of row i of a factor that count end.
  int64_t end(int64_t i) const { return triangular ? i + 1 : k; }
};

// The work of some rows, in elements of noise: 32 multiplications take as long.
inline int64_t work(const Draw& d, int64_t rows) { return rows * (d.k + d.n * d.k / 32); }

template <class T>
struct Forward {
  Draw draw;
  T *out, *norm;  // no norm: null
  Operand<T> loc;
  Factor<T> factor;
  Operand<T> scale;
};

template <class T>
struct Backward {
  Draw draw;
  T* out;         // as the factors, row-major
  const T* grad;  // as the sample
};

template <class T>
inline T dot(const T* a, const T* b, int64_t n) {
  Vector<T> sum(T(0));
  int64_t i = 0;
  for (; i + LANES<T> <= n; i += LANES<T>) {
    sum = fmadd(Vector<T>::loadu(a + i), Vector<T>::loadu(b + i), sum);
  }
  if (i < n) sum = fmadd(Vector<T>::loadu(a + i, n - i), Vector<T>::loadu(b + i, n - i), sum);
  return sum_of_lanes(sum);
}

// noise[row][k] as turned[k][row]; K is k, or 0 for any.
template <int K, class T>
inline void turn_rows(const T* noise, int64_t rows, int64_t k, T* turned) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < (K ? K : k); ++j) turned[j * ROWS<T> + r] = noise[r * (K ? K : k) + j];
  }
}

template <class T>
inline void turn(const T* noise, int64_t rows, int64_t k, T* turned) {
  switch (k) {
    case 2: return turn_rows<2>(noise, rows, k, turned);
    case 3: return turn_rows<3>(noise, rows, k, turned);
    case 4: return turn_rows<4>(noise, rows, k, turned);
    case 5: return turn_rows<5>(noise, rows, k, turned);
    case 6: return turn_rows<6>(noise, rows, k, turned);
    case 7: return turn_rows<7>(noise, rows, k, turned);
    case 8: return turn_rows<8>(noise, rows, k, turned);
    default: turn_rows<0>(noise, rows, k, turned);
  }
}

}  // namespace rsample
