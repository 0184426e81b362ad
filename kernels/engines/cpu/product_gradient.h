// The gradient of the factor.
//
// product_library.py puts product.h before this.

namespace rsample {

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
    switch (min<int64_t>(ceil_div(end - j, LANES<T>), VECTORS)) {
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
  Array<T> beside = Array<T>(width == d.k ? 0 : d.n * width);
  T *out = nullptr, *sums = nullptr;

  explicit ColumnSums(const Draw& draw) : d(draw) {}

  void begin(T* result) {
    out = result;
    sums = width == d.k ? out : beside.data();
    fill_n(sums, d.n * width, T(0));
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
      fill(out + i * d.k + d.end(i), out + (i + 1) * d.k, T(0));
    }
  }
};

// The same in vectors along the rows, for short ones: sums[n][k][lane].
template <class T>
struct LaneSums {
  const Draw& d;
  Array<T> sums = Array<T>(d.n * d.k * LANES<T>);
  Array<T> grads = Array<T>(d.n * ROWS<T>), noise = Array<T>(d.k * ROWS<T>);

  T* out = nullptr;

  explicit LaneSums(const Draw& draw) : d(draw) {}

  void begin(T* result) {
    out = result;
    fill(sums.begin(), sums.end(), T(0));
  }

  void add(const T* grad, const T* eps, int64_t rows) {
    if (rows < ROWS<T>) fill(grads.begin(), grads.end(), T(0));
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
      fill(out + i * d.k + d.end(i), out + (i + 1) * d.k, T(0));
    }
  }
};

template <class Sums, class T>
void backward_shared(const Backward<T>& f) {
  const Draw& d = f.draw;
  const int64_t tiles_of_run = ceil_div(d.rows.after, ROWS<T>), tiles = d.rows.before * tiles_of_run;
  const int64_t size = d.n * d.k;
  const int64_t least = max<int64_t>(2 * TASK / (ROWS<T> * d.n), 4);  // tiles of a part
  const int64_t most = min(PARTS, max<int64_t>(PARTIAL / (size * d.rows.factors), 1));
  const int64_t tiles_of_part = max(ceil_div(tiles, most), min(least, tiles));
  const int64_t parts = ceil_div(tiles, tiles_of_part);
  Array<T> partial(parts > 1 ? parts * d.rows.factors * size : 0);
  const int64_t rows_of_part = min(tiles_of_part * ROWS<T>, d.rows.before * d.rows.after);
  parallel_for(0, d.rows.factors * parts, units(GRAIN, work(d, rows_of_part)), [&](int64_t begin, int64_t end) {
    Normals<T> normals;
    Sums sums(d);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / parts, first = task % parts * tiles_of_part;
      sums.begin((parts > 1 ? partial.data() : f.out) + task * size);
      for (int64_t tile = first; tile < min(first + tiles_of_part, tiles); ++tile) {
        const int64_t s = tile / tiles_of_run, t = tile % tiles_of_run * ROWS<T>;
        const int64_t row = (s * d.rows.factors + b) * d.rows.after + t;
        const int64_t rows = min<int64_t>(d.rows.after - t, ROWS<T>);
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
      const int64_t masked = LANES<T> - min<int64_t>(max<int64_t>(counted - j, 0), LANES<T>);
      const int64_t count = min<int64_t>((end - i) * d.k - j, LANES<T>);
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
  const int64_t size = d.n * d.k, factors_of_task = max<int64_t>(TASK / size, 1);
  const int64_t parts = min(ceil_div(size, LARGE), d.n);
  T masks[2 * LANES<T>];
  std::memset(masks, 0xFF, sizeof masks / 2);
  std::memset(masks + LANES<T>, 0, sizeof masks / 2);
  const int64_t grain = units(GRAIN, work(d, factors_of_task * rows.before * rows.after) / parts);
  parallel_for(0, ceil_div(rows.factors, factors_of_task) * parts, grain, [&](int64_t begin, int64_t end) {
    Normals<T> normals;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task / parts * factors_of_task, last = min(first + factors_of_task, rows.factors);
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
