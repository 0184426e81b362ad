// Draws that are a matrix product, on the CPU: loc + factor @ eps + scale * e, and the gradient of the factor.
//
// product_library.py puts elementary.h, noise.h and product_noise.h before this. engines/matrix_product.py says what is drawn. Noise is made in
// the cache for the rows at hand, forward and backward. Rows that share a factor, one after the other, are multiplied
// together, one in a lane of a vector; others row by row. Work is cut by row number only, and sums add up in that order:
// the threads' number changes no bit.

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

// --------------------------------------------------------------------------- rows that share a factor, one in a lane

// The products of N rows of a factor, from row i on, with the noise of ROWS draws, of which `vectors` vectors count.
// eps[k][draw], x[row][draw].
template <int N, int V, class T>
inline void lanes_block(const Draw& draw, const Factor<T>& factor, const T* matrix, int64_t i, const T* eps, T* x) {
  Vector<T> sums[N][V];
#pragma GCC unroll 4
  for (int r = 0; r < N; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sums[r][v] = Vector<T>(T(0));
  }
  const T* from = matrix + i * factor.row;
  const int64_t end = draw.end(i);
  for (int64_t j = 0; j < end; ++j) {
    Vector<T> e[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) e[v] = Vector<T>::loadu(eps + j * ROWS<T> + v * LANES<T>);
#pragma GCC unroll 4
    for (int r = 0; r < N; ++r) {
      const Vector<T> number(from[r * factor.row + j * factor.column]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[r][v] = fmadd(number, e[v], sums[r][v]);
    }
  }
  if (draw.triangular) {
#pragma GCC unroll 4
    for (int r = 1; r < N; ++r) {
      for (int64_t j = end; j < end + r; ++j) {
        const Vector<T> number(from[r * factor.row + j * factor.column]);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          sums[r][v] = fmadd(number, Vector<T>::loadu(eps + j * ROWS<T> + v * LANES<T>), sums[r][v]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < N; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sums[r][v].store(x + r * ROWS<T> + v * LANES<T>);
  }
}

template <int N, class T>
inline void lanes_rows(const Draw& draw, const Factor<T>& factor, const T* matrix, int64_t i, int64_t vectors,
                         const T* eps, T* x) {
  if (vectors == VECTORS) return lanes_block<N, VECTORS>(draw, factor, matrix, i, eps, x);
  for (int64_t v = 0; v < vectors; ++v) {
    lanes_block<N, 1>(draw, factor, matrix, i, eps + v * LANES<T>, x + v * LANES<T>);
  }
}

// Writes N numbers of each of `rows` rows, from number i on.
template <int N, class T>
inline void write_rows(const Forward<T>& f, int64_t i, int64_t rows, const T* x, const T* loc, const T* scale,
                       const T* own, T* out) {
  const int64_t n = f.draw.n;
  for (int64_t r = 0; r < rows; ++r) {
    for (int c = 0; c < N; ++c) {
      T value = loc[r * f.loc.after + (i + c) * f.loc.step] + x[c * ROWS<T> + r];
      if (scale) value = multiply_add(scale[r * f.scale.after + (i + c) * f.scale.step], own[r * n + i + c], value);
      out[r * n + i + c] = value;
    }
  }
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

template <class T>
void forward_lanes(const Forward<T>& f) {
  const Draw& d = f.draw;
  const int64_t tiles = ceil_div(d.rows.after, ROWS<T>), runs = d.rows.before * d.rows.factors;
  parallel_for(0, runs * tiles, units(GRAIN, work(d, ROWS<T>)), [&](int64_t begin, int64_t end) {
    Normals<T> normals, own_normals;
    std::vector<T> turned(ROWS<T> * d.k);
    alignas(64) T x[BLOCK * ROWS<T>];
    for (int64_t task = begin; task < end; ++task) {
      const int64_t run = task / tiles, t = task % tiles * ROWS<T>;
      const int64_t s = run / d.rows.factors, b = run % d.rows.factors;
      const int64_t rows = std::min<int64_t>(d.rows.after - t, ROWS<T>), row = run * d.rows.after + t;
      const int64_t vectors = ceil_div(rows, LANES<T>);
      turn(normals.of(d.seed, d.offset, d.stream, row * d.k, rows * d.k), rows, d.k, turned.data());
      const T* own = f.scale.data ? own_normals.of(d.seed, d.offset, 0, row * d.n, rows * d.n) : nullptr;
      const T *loc = f.loc.at(s, b, t), *scale = f.scale.data ? f.scale.at(s, b, t) : nullptr;
      const T* matrix = f.factor.data + b * f.factor.factors;
      T* out = f.out + row * d.n;
      int64_t i = 0;
      for (; i + BLOCK <= d.n; i += BLOCK) {
        lanes_rows<BLOCK>(d, f.factor, matrix, i, vectors, turned.data(), x);
        write_rows<BLOCK>(f, i, rows, x, loc, scale, own, out);
      }
      for (; i < d.n; ++i) {
        lanes_rows<1>(d, f.factor, matrix, i, vectors, turned.data(), x);
        write_rows<1>(f, i, rows, x, loc, scale, own, out);
      }
      if (f.norm) {
        std::fill_n(x, ROWS<T>, T(0));
        for (int64_t j = 0; j < d.k; ++j) {
          for (int r = 0; r < ROWS<T>; ++r) {
            x[r] = multiply_add(turned[j * ROWS<T> + r], turned[j * ROWS<T> + r], x[r]);
          }
        }
        copy_n(x, rows, f.norm + row);
      }
    }
  });
}

// ------------------------------------------------------------------------ rows that share a factor, numbers in lanes

// A factor with numbers of a column side by side: columns[k][width], zeros where nothing counts.
template <class T>
struct Columns {
  int64_t width;
  std::vector<T> numbers;

  explicit Columns(const Draw& d) : width(ceil_div(d.n, LANES<T>) * LANES<T>), numbers(d.k * width) {}

  void pack(const Draw& d, const Factor<T>& factor, const T* matrix) {
    // Some columns at a time, whose ends stay in the cache.
    for (int64_t first = 0; first < d.k; first += LANES<T>) {
      for (int64_t i = d.triangular ? first : 0; i < d.n; ++i) {
        for (int64_t j = first; j < std::min<int64_t>(first + LANES<T>, d.end(i)); ++j) {
          numbers[j * width + i] = matrix[i * factor.row + j * factor.column];
        }
      }
    }
  }
};

// sums += eps[row][j] columns[j], j in [begin, end), for N rows and those of V vectors that are not before FIRST.
template <int FIRST, int N, int V, class T>
inline void add_columns(Vector<T> (&sums)[N][V], const T* columns, int64_t width, const T* eps, int64_t k,
                        int64_t begin, int64_t end) {
  for (int64_t j = begin; j < end; ++j) {
    Vector<T> column[V];
#pragma GCC unroll 4
    for (int v = FIRST; v < V; ++v) column[v] = Vector<T>::loadu(columns + j * width + v * LANES<T>);
#pragma GCC unroll 4
    for (int r = 0; r < N; ++r) {
      const Vector<T> e(eps[r * k + j]);
#pragma GCC unroll 4
      for (int v = FIRST; v < V; ++v) sums[r][v] = fmadd(e, column[v], sums[r][v]);
    }
  }
}

// x[row] = factor @ eps[row] for N rows, numbers i to i + V vectors.
template <int N, int V, class T>
inline void columns_block(const Draw& d, const Columns<T>& columns, int64_t i, const T* eps, T* x) {
  Vector<T> sums[N][V];
#pragma GCC unroll 4
  for (int r = 0; r < N; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sums[r][v] = Vector<T>(T(0));
  }
  const T* from = columns.numbers.data() + i;
  const int64_t whole = d.triangular ? std::min(d.k, i + LANES<T>) : d.k;
  add_columns<0>(sums, from, columns.width, eps, d.k, 0, whole);
  // The triangle's end: each vector has one vector of columns more than the one before.
  if constexpr (V > 1) add_columns<1>(sums, from, columns.width, eps, d.k, whole, std::min(d.k, whole + LANES<T>));
  if constexpr (V > 2) {
    add_columns<2>(sums, from, columns.width, eps, d.k, whole + LANES<T>, std::min(d.k, whole + 2 * LANES<T>));
  }
  if constexpr (V > 3) {
    add_columns<3>(sums, from, columns.width, eps, d.k, whole + 2 * LANES<T>, std::min(d.k, whole + 3 * LANES<T>));
  }
#pragma GCC unroll 4
  for (int r = 0; r < N; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sums[r][v].store(x + r * columns.width + i + v * LANES<T>);
  }
}

template <int N, class T>
inline void columns_rows(const Draw& d, const Columns<T>& columns, const T* eps, T* x) {
  for (int64_t i = 0; i < d.n; i += VECTORS * LANES<T>) {
    switch (std::min<int64_t>((columns.width - i) / LANES<T>, VECTORS)) {
      case 1: columns_block<N, 1>(d, columns, i, eps, x); break;
      case 2: columns_block<N, 2>(d, columns, i, eps, x); break;
      case 3: columns_block<N, 3>(d, columns, i, eps, x); break;
      default: columns_block<N, 4>(d, columns, i, eps, x);
    }
  }
}

// out[i] = loc[i] + x[i] + scale[i] own[i] for i in [begin, end) of row (s, b, t), the last term where there is one.
template <class T>
__attribute__((noinline)) void write_row(const Forward<T>& f, int64_t s, int64_t b, int64_t t, int64_t begin, int64_t end, const T* x,
                      const T* own, T* out) {
  const T* loc = f.loc.at(s, b, t);
  if (f.loc.step == 1) {
    for (int64_t i = begin; i < end; ++i) out[i] = loc[i] + x[i];
  } else {
    for (int64_t i = begin; i < end; ++i) out[i] = loc[i * f.loc.step] + x[i];
  }
  if (f.scale.data) {
    const T* scale = f.scale.at(s, b, t);
    for (int64_t i = begin; i < end; ++i) out[i] = multiply_add(scale[i * f.scale.step], own[i], out[i]);
  }
}

template <class T>
void forward_columns(const Forward<T>& f) {
  const Draw& d = f.draw;
  const int64_t tiles = ceil_div(d.rows.after, ROWS<T>), runs = d.rows.before * d.rows.factors;
  parallel_for(0, runs * tiles, units(GRAIN, work(d, ROWS<T>)), [&](int64_t begin, int64_t end) {
    Normals<T> normals, own_normals;
    Columns<T> columns(d);
    std::vector<T> x(BLOCK * columns.width);
    int64_t packed = -1;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t run = task / tiles, t = task % tiles * ROWS<T>;
      const int64_t s = run / d.rows.factors, b = run % d.rows.factors;
      const int64_t rows = std::min<int64_t>(d.rows.after - t, ROWS<T>), row = run * d.rows.after + t;
      if (b != packed) columns.pack(d, f.factor, f.factor.data + b * f.factor.factors);
      packed = b;
      const T* eps = normals.of(d.seed, d.offset, d.stream, row * d.k, rows * d.k);
      const T* own = f.scale.data ? own_normals.of(d.seed, d.offset, 0, row * d.n, rows * d.n) : nullptr;
      for (int64_t r = 0; r < rows; r += BLOCK) {
        const int64_t together = std::min<int64_t>(rows - r, BLOCK);
        if (together == BLOCK) {
          columns_rows<BLOCK>(d, columns, eps + r * d.k, x.data());
        } else {
          for (int64_t c = 0; c < together; ++c) {
            columns_rows<1>(d, columns, eps + (r + c) * d.k, x.data() + c * columns.width);
          }
        }
        for (int64_t c = 0; c < together; ++c) {
          write_row(f, s, b, t + r + c, 0, d.n, x.data() + c * columns.width, own + (r + c) * d.n,
                    f.out + (row + r + c) * d.n);
        }
      }
      if (f.norm) {
        for (int64_t r = 0; r < rows; ++r) f.norm[row + r] = dot(eps + r * d.k, eps + r * d.k, d.k);
      }
    }
  });
}

// --------------------------------------------------------------------------------------------------------- row by row

// x[i] = factor[i] @ eps for i in [begin, end), where numbers of a row of the factor lie side by side.
template <class T>
inline void product_by_rows(const Draw& d, const Factor<T>& factor, const T* matrix, int64_t begin, int64_t end,
                            const T* eps, T* x) {
  int64_t i = begin;
  for (; i + BLOCK <= end; i += BLOCK) {
    // The rows' sums grow together, so that none waits for the last addition.
    const T* from = matrix + i * factor.row;
    const int64_t length = d.end(i);
    Vector<T> sums[BLOCK];
    for (auto& sum : sums) sum = Vector<T>(T(0));
    int64_t j = 0;
    for (; j + LANES<T> <= length; j += LANES<T>) {
      const Vector<T> e = Vector<T>::loadu(eps + j);
#pragma GCC unroll 4
      for (int r = 0; r < BLOCK; ++r) sums[r] = fmadd(Vector<T>::loadu(from + r * factor.row + j), e, sums[r]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < BLOCK; ++r) {
      const int64_t rest = d.end(i + r) - j;
      x[i + r] = sum_of_lanes(sums[r]) + (rest > 0 ? dot(from + r * factor.row + j, eps + j, rest) : T(0));
    }
  }
  for (; i < end; ++i) x[i] = dot(matrix + i * factor.row, eps, d.end(i));
}

// The same where numbers of a column lie side by side.
template <class T>
inline void product_by_columns(const Draw& d, const Factor<T>& factor, const T* matrix, int64_t begin, int64_t end,
                               const T* eps, T* x) {
  std::fill(x + begin, x + end, T(0));
  int64_t j = 0;
  const int64_t columns = d.triangular ? end : d.k;
  for (; j + BLOCK <= columns; j += BLOCK) {
    const T* from = matrix + j * factor.column;
    // Rows from `whole` on have numbers in all of the columns.
    const int64_t whole = d.triangular ? std::min(std::max(begin, j + BLOCK - 1), end) : begin;
    if (d.triangular) {
      for (int64_t i = std::max(begin, j); i < whole; ++i) {
        for (int64_t c = 0; c <= i - j; ++c) x[i] = multiply_add(from[c * factor.column + i], eps[j + c], x[i]);
      }
    }
    int64_t i = whole;
    for (; i < end; i += LANES<T>) {
      const int64_t count = std::min<int64_t>(end - i, LANES<T>);
      Vector<T> sum = Vector<T>::loadu(x + i, count);
      for (int c = 0; c < BLOCK; ++c) {
        sum = fmadd(Vector<T>::loadu(from + c * factor.column + i, count), Vector<T>(eps[j + c]), sum);
      }
      sum.store(x + i, count);
    }
  }
  for (; j < columns; ++j) {
    const T* from = matrix + j * factor.column;
    for (int64_t i = d.triangular ? std::max(begin, j) : begin; i < end; ++i) {
      x[i] = multiply_add(from[i], eps[j], x[i]);
    }
  }
}

template <class T>
inline void short_product(const Draw& d, const Factor<T>& factor, const T* matrix, int64_t begin, int64_t end,
                          const T* eps, T* x) {
  for (int64_t i = begin; i < end; ++i) {
    T sum = 0;
    for (int64_t j = 0; j < d.end(i); ++j) sum = multiply_add(matrix[i * factor.row + j * factor.column], eps[j], sum);
    x[i] = sum;
  }
}

// Row by row: a task has several rows, or a part of one whose products take as long as those of the others.
template <class T>
void forward_rows(const Forward<T>& f) {
  const Draw& d = f.draw;
  const int64_t size = std::max<int64_t>(d.n * d.k, 1), rows = d.rows.count();
  const int64_t rows_per_task = std::max<int64_t>(TASK / size, 1);
  const int64_t parts = std::min(ceil_div(size, LARGE), ceil_div(d.n, 16 * LANES<T>));
  const auto bound = [&](int64_t part) {
    const double share = static_cast<double>(part) / static_cast<double>(parts);
    const double rows_before = static_cast<double>(d.n) * (d.triangular ? std::sqrt(share) : share);
    return part == parts ? d.n : static_cast<int64_t>(rows_before);
  };
  const auto multiply = d.k < SHORT             ? short_product<T>
                        : f.factor.column == 1 ? product_by_rows<T>
                        : f.factor.row == 1    ? product_by_columns<T>
                                               : short_product<T>;
  const int64_t grain = units(GRAIN, work(d, rows_per_task) / parts);
  parallel_for(0, ceil_div(rows, rows_per_task) * parts, grain, [&](int64_t task_begin, int64_t task_end) {
    Normals<T> normals, own_normals;
    std::vector<T> x(d.n);
    for (int64_t task = task_begin; task < task_end; ++task) {
      const int64_t first = task / parts * rows_per_task, last = std::min(first + rows_per_task, rows);
      const int64_t begin = bound(task % parts), end = bound(task % parts + 1);
      const int64_t read = parts > 1 && !f.norm ? d.end(end - 1) : d.k;  // of a row
      const T* eps = normals.of(d.seed, d.offset, d.stream, first * d.k, (last - first - 1) * d.k + read);
      const T* own = f.scale.data ? own_normals.of(d.seed, d.offset, 0, first * d.n, (last - first) * d.n) : nullptr;
      int64_t t = first % d.rows.after, b = first / d.rows.after % d.rows.factors;
      int64_t s = first / d.rows.after / d.rows.factors;
      for (int64_t row = first; row < last; ++row, eps += d.k) {
        multiply(d, f.factor, f.factor.data + b * f.factor.factors, begin, end, eps, x.data());
        write_row(f, s, b, t, begin, end, x.data(), own + (row - first) * d.n, f.out + row * d.n);
        if (f.norm && begin == 0) f.norm[row] = dot(eps, eps, d.k);
        if (++t == d.rows.after) {
          t = 0;
          if (++b == d.rows.factors) {
            b = 0;
            ++s;
          }
        }
      }
    }
  });
}

template <class T>
void forward(const Forward<T>& f) {
  const Draw& d = f.draw;
  if (d.n < LANES<T> && d.k < LANES<T>) return d.rows.after < SHARED ? forward_rows(f) : forward_lanes(f);
  d.rows.after < PACKED ? forward_rows(f) : forward_columns(f);
}

// ----------------------------------------------------------------------------------------- the gradient of the factor

// sums[i][j] += the sum over rows of grad[row][i] eps[row][j], for N rows of the factor and V vectors of its columns.
template <int N, int V, class T>
inline void outer_block(const T* grad, int64_t n, const T* eps, int64_t k, int64_t rows, T* sums, int64_t width) {
  Vector<T> sum[N][V];
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[i][v] = Vector<T>::loadu(sums + i * width + v * LANES<T>);
  }
  for (int64_t r = 0; r < rows; ++r) {
    Vector<T> e[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) e[v] = Vector<T>::loadu(eps + r * k + v * LANES<T>);
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
      const Vector<T> g(grad[r * n + i]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[i][v] = fmadd(g, e[v], sum[i][v]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[i][v].store(sums + i * width + v * LANES<T>);
  }
}

// The same for all columns of N rows of the factor, of which `end` count.
template <int N, class T>
inline void outer_rows(const T* grad, int64_t n, const T* eps, int64_t k, int64_t rows, int64_t end, T* sums,
                       int64_t width) {
  for (int64_t j = 0; j < end; j += VECTORS * LANES<T>) {
    switch (std::min<int64_t>(ceil_div(end - j, LANES<T>), VECTORS)) {
      case 1: outer_block<N, 1>(grad, n, eps + j, k, rows, sums + j, width); break;
      case 2: outer_block<N, 2>(grad, n, eps + j, k, rows, sums + j, width); break;
      case 3: outer_block<N, 3>(grad, n, eps + j, k, rows, sums + j, width); break;
      default: outer_block<N, 4>(grad, n, eps + j, k, rows, sums + j, width);
    }
  }
}

// The gradient of one factor, a sum over rows, in vectors along its columns. In place, unless vectors would reach into
// the next row.
template <class T>
struct ColumnSums {
  const Draw& d;
  int64_t width = ceil_div(d.k, LANES<T>) * LANES<T>;
  std::vector<T> beside = std::vector<T>(width == d.k ? 0 : d.n * width);
  T *out = nullptr, *sums = nullptr;

  explicit ColumnSums(const Draw& draw) : d(draw) {}

  void begin(T* result) {
    out = result;
    sums = width == d.k ? out : beside.data();
    std::fill_n(sums, d.n * width, T(0));
  }

  void add(const T* grad, const T* eps, int64_t rows) {
    int64_t i = 0;
    for (; i + BLOCK <= d.n; i += BLOCK) {
      outer_rows<BLOCK>(grad + i, d.n, eps, d.k, rows, d.end(i + BLOCK - 1), sums + i * width, width);
    }
    for (; i < d.n; ++i) outer_rows<1>(grad + i, d.n, eps, d.k, rows, d.end(i), sums + i * width, width);
  }

  void finish() {
    for (int64_t i = 0; i < d.n; ++i) {
      if (sums != out) copy_n(sums + i * width, d.end(i), out + i * d.k);
      std::fill(out + i * d.k + d.end(i), out + (i + 1) * d.k, T(0));
    }
  }
};

// The same in vectors along the rows, for short ones: sums[n][k][lane].
template <class T>
struct LaneSums {
  const Draw& d;
  std::vector<T> sums = std::vector<T>(d.n * d.k * LANES<T>);
  std::vector<T> grads = std::vector<T>(d.n * ROWS<T>), noise = std::vector<T>(d.k * ROWS<T>);

  T* out = nullptr;

  explicit LaneSums(const Draw& draw) : d(draw) {}

  void begin(T* result) {
    out = result;
    std::fill(sums.begin(), sums.end(), T(0));
  }

  void add(const T* grad, const T* eps, int64_t rows) {
    if (rows < ROWS<T>) std::fill(grads.begin(), grads.end(), T(0));
    turn(grad, rows, d.n, grads.data());
    turn(eps, rows, d.k, noise.data());
    for (int64_t i = 0; i < d.n; ++i) {
      Vector<T> g[VECTORS];
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) g[v] = Vector<T>::loadu(grads.data() + i * ROWS<T> + v * LANES<T>);
      for (int64_t j = 0; j < d.end(i); ++j) {
        T* at = sums.data() + (i * d.k + j) * LANES<T>;
        Vector<T> sum = Vector<T>::loadu(at);
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; ++v) {
          sum = fmadd(g[v], Vector<T>::loadu(noise.data() + j * ROWS<T> + v * LANES<T>), sum);
        }
        sum.store(at);
      }
    }
  }

  void finish() {
    for (int64_t i = 0; i < d.n; ++i) {
      for (int64_t j = 0; j < d.end(i); ++j) {
        out[i * d.k + j] = sum_of_lanes(Vector<T>::loadu(sums.data() + (i * d.k + j) * LANES<T>));
      }
      std::fill(out + i * d.k + d.end(i), out + (i + 1) * d.k, T(0));
    }
  }
};

template <class Sums, class T>
void backward_shared(const Backward<T>& f) {
  const Draw& d = f.draw;
  const int64_t tiles_of_run = ceil_div(d.rows.after, ROWS<T>), tiles = d.rows.before * tiles_of_run;
  const int64_t size = d.n * d.k;
  const int64_t least = std::max<int64_t>(2 * TASK / (ROWS<T> * d.n), 4);  // tiles of a part
  const int64_t most = std::min(PARTS, std::max<int64_t>(PARTIAL / (size * d.rows.factors), 1));
  const int64_t tiles_of_part = std::max(ceil_div(tiles, most), std::min(least, tiles));
  const int64_t parts = ceil_div(tiles, tiles_of_part);
  std::vector<T> partial(parts > 1 ? parts * d.rows.factors * size : 0);
  const int64_t rows_of_part = std::min(tiles_of_part * ROWS<T>, d.rows.before * d.rows.after);
  parallel_for(0, d.rows.factors * parts, units(GRAIN, work(d, rows_of_part)), [&](int64_t begin, int64_t end) {
    Normals<T> normals;
    Sums sums(d);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / parts, first = task % parts * tiles_of_part;
      sums.begin((parts > 1 ? partial.data() : f.out) + task * size);
      for (int64_t tile = first; tile < std::min(first + tiles_of_part, tiles); ++tile) {
        const int64_t s = tile / tiles_of_run, t = tile % tiles_of_run * ROWS<T>;
        const int64_t row = (s * d.rows.factors + b) * d.rows.after + t;
        const int64_t rows = std::min<int64_t>(d.rows.after - t, ROWS<T>);
        const T* eps = normals.of(d.seed, d.offset, d.stream, row * d.k, rows * d.k);
        sums.add(f.grad + row * d.n, eps, rows);
      }
      sums.finish();
    }
  });
  if (parts == 1) return;
  for (int64_t b = 0; b < d.rows.factors; ++b) {
    parallel_for(0, size, units(GRAIN, parts), [&](int64_t begin, int64_t end) {
      for (int64_t e = begin; e < end; ++e) {
        double total = 0;
        for (int64_t part = b * parts; part < (b + 1) * parts; ++part) total += partial[part * size + e];
        f.out[b * size + e] = static_cast<T>(total);
      }
    });
  }
}

// Adds grad eps^T to rows begin .. end of a matrix, or writes them. Vectors may reach into the next of these rows, which
// are written later, or have zeros added to them.
template <bool ADD, class T>
inline void outer_product(const Draw& d, int64_t begin, int64_t end, const T* grad, const T* eps, const T* masks,
                          T* out) {
  for (int64_t i = begin; i < end; ++i) {
    const Vector<T> g(grad[i]);
    const int64_t counted = d.end(i);
    T* row = out + i * d.k;
    for (int64_t j = 0; j < (ADD ? counted : d.k); j += LANES<T>) {
      const int64_t masked = LANES<T> - std::min<int64_t>(std::max<int64_t>(counted - j, 0), LANES<T>);
      const int64_t count = std::min<int64_t>((end - i) * d.k - j, LANES<T>);
      Vector<T> value = (g * Vector<T>::loadu(eps + j)) & Vector<T>::loadu(masks + masked);
      if constexpr (ADD) value = value + Vector<T>::loadu(row + j, count);
      value.store(row + j, count);
    }
  }
}

// A task has the factors b of an interval, or some rows of a large one, and adds up the draw's rows one after the other.
template <class T>
void backward_rows(const Backward<T>& f) {
  const Draw& d = f.draw;
  const Rows& rows = d.rows;
  const int64_t size = d.n * d.k, factors_of_task = std::max<int64_t>(TASK / size, 1);
  const int64_t parts = std::min(ceil_div(size, LARGE), d.n);
  T masks[2 * LANES<T>];
  std::memset(masks, 0xFF, sizeof masks / 2);
  std::memset(masks + LANES<T>, 0, sizeof masks / 2);
  const int64_t grain = units(GRAIN, work(d, factors_of_task * rows.before * rows.after) / parts);
  parallel_for(0, ceil_div(rows.factors, factors_of_task) * parts, grain, [&](int64_t begin, int64_t end) {
    Normals<T> normals;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task / parts * factors_of_task, last = std::min(first + factors_of_task, rows.factors);
      const int64_t part = task % parts, from = part * d.n / parts, to = (part + 1) * d.n / parts;
      for (int64_t s = 0; s < rows.before; ++s) {
        int64_t row = (s * rows.factors + first) * rows.after;
        const T* eps = normals.of(d.seed, d.offset, d.stream, row * d.k, (last - first) * rows.after * d.k);
        for (int64_t b = first; b < last; ++b) {
          for (int64_t t = 0; t < rows.after; ++t, ++row, eps += d.k) {
            const auto multiply = s + t == 0 ? outer_product<false, T> : outer_product<true, T>;
            multiply(d, from, to, f.grad + row * d.n, eps, masks, f.out + b * size);
          }
        }
      }
    }
  });
}

template <class T>
void backward(const Backward<T>& f) {
  const Draw& d = f.draw;
  if (d.rows.after < SHARED) return backward_rows(f);
  d.k < LANES<T> ? backward_shared<LaneSums<T>>(f) : backward_shared<ColumnSums<T>>(f);
}

}  // namespace rsample
