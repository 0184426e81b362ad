// Draws of rows that share a factor, one in a lane of a vector.
//
// product_library.py puts product.h before this.

namespace rsample {

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

template <class T>
void forward_lanes(const Forward<T>& f) {
  const Draw& d = f.draw;
  const int64_t tiles = ceil_div(d.rows.after, ROWS<T>), runs = d.rows.before * d.rows.factors;
  parallel_for(0, runs * tiles, units(GRAIN, work(d, ROWS<T>)), [&](int64_t begin, int64_t end) {
    Normals<T> normals, own_normals;
    Array<T> turned(ROWS<T> * d.k);
    alignas(64) T x[BLOCK * ROWS<T>];
    for (int64_t task = begin; task < end; ++task) {
      const int64_t run = task / tiles, t = task % tiles * ROWS<T>;
      const int64_t s = run / d.rows.factors, b = run % d.rows.factors;
      const int64_t rows = min<int64_t>(d.rows.after - t, ROWS<T>), row = run * d.rows.after + t;
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
        fill_n(x, ROWS<T>, T(0));
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

}  // namespace rsample
