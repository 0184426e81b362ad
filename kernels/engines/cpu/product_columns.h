// Draws of rows that share a factor, whose numbers are in lanes.
//
// product_library.py puts product.h before this.

namespace rsample {

// A factor with numbers of a column side by side: columns[k][width], zeros where nothing counts.
template <class T>
struct Columns {
  int64_t width;
  Array<T> numbers;

  explicit Columns(const Draw& d) : width(ceil_div(d.n, LANES<T>) * LANES<T>), numbers(d.k * width) {}

  void pack(const Draw& d, const Factor<T>& factor, const T* matrix) {
    // Some columns at a time, whose ends stay in the cache.
    for (int64_t first = 0; first < d.k; first += LANES<T>) {
      for (int64_t i = d.triangular ? first : 0; i < d.n; ++i) {
        for (int64_t j = first; j < min<int64_t>(first + LANES<T>, d.end(i)); ++j) {
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
  const int64_t whole = d.triangular ? min(d.k, i + LANES<T>) : d.k;
  add_columns<0>(sums, from, columns.width, eps, d.k, 0, whole);
  // The triangle's end: each vector has one vector of columns more than the one before.
  if constexpr (V > 1) add_columns<1>(sums, from, columns.width, eps, d.k, whole, min(d.k, whole + LANES<T>));
  if constexpr (V > 2) {
    add_columns<2>(sums, from, columns.width, eps, d.k, whole + LANES<T>, min(d.k, whole + 2 * LANES<T>));
  }
  if constexpr (V > 3) {
    add_columns<3>(sums, from, columns.width, eps, d.k, whole + 2 * LANES<T>, min(d.k, whole + 3 * LANES<T>));
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
    switch (min<int64_t>((columns.width - i) / LANES<T>, VECTORS)) {
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
    Array<T> x(BLOCK * columns.width);
    int64_t packed = -1;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t run = task / tiles, t = task % tiles * ROWS<T>;
      const int64_t s = run / d.rows.factors, b = run % d.rows.factors;
      const int64_t rows = min<int64_t>(d.rows.after - t, ROWS<T>), row = run * d.rows.after + t;
      if (b != packed) columns.pack(d, f.factor, f.factor.data + b * f.factor.factors);
      packed = b;
      const T* eps = normals.of(d.seed, d.offset, d.stream, row * d.k, rows * d.k);
      const T* own = f.scale.data ? own_normals.of(d.seed, d.offset, 0, row * d.n, rows * d.n) : nullptr;
      for (int64_t r = 0; r < rows; r += BLOCK) {
        const int64_t together = min<int64_t>(rows - r, BLOCK);
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

}  // namespace rsample
