// Draws row by row, and which way a draw is multiplied.
//
// product_library.py puts product.h and the other ways before this.

namespace rsample {

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
  fill(x + begin, x + end, T(0));
  int64_t j = 0;
  const int64_t columns = d.triangular ? end : d.k;
  for (; j + BLOCK <= columns; j += BLOCK) {
    const T* from = matrix + j * factor.column;
    // Rows from `whole` on have numbers in all of the columns.
    const int64_t whole = d.triangular ? min(max(begin, j + BLOCK - 1), end) : begin;
    if (d.triangular) {
      for (int64_t i = max(begin, j); i < whole; ++i) {
        for (int64_t c = 0; c <= i - j; ++c) x[i] = multiply_add(from[c * factor.column + i], eps[j + c], x[i]);
      }
    }
    int64_t i = whole;
    for (; i < end; i += LANES<T>) {
      const int64_t count = min<int64_t>(end - i, LANES<T>);
      Vector<T> sum = Vector<T>::loadu(x + i, count);
      for (int c = 0; c < BLOCK; ++c) {
        sum = fmadd(Vector<T>::loadu(from + c * factor.column + i, count), Vector<T>(eps[j + c]), sum);
      }
      sum.store(x + i, count);
    }
  }
  for (; j < columns; ++j) {
    const T* from = matrix + j * factor.column;
    for (int64_t i = d.triangular ? max(begin, j) : begin; i < end; ++i) {
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
  const int64_t size = max<int64_t>(d.n * d.k, 1), rows = d.rows.count();
  const int64_t rows_per_task = max<int64_t>(TASK / size, 1);
  const int64_t parts = min(ceil_div(size, LARGE), ceil_div(d.n, 16 * LANES<T>));
  const auto bound = [&](int64_t part) {
    const double share = static_cast<double>(part) / static_cast<double>(parts);
    const double rows_before = static_cast<double>(d.n) * (d.triangular ? libm::sqrt(share) : share);
    return part == parts ? d.n : static_cast<int64_t>(rows_before);
  };
  const auto multiply = d.k < SHORT             ? short_product<T>
                        : f.factor.column == 1 ? product_by_rows<T>
                        : f.factor.row == 1    ? product_by_columns<T>
                                               : short_product<T>;
  const int64_t grain = units(GRAIN, work(d, rows_per_task) / parts);
  parallel_for(0, ceil_div(rows, rows_per_task) * parts, grain, [&](int64_t task_begin, int64_t task_end) {
    Normals<T> normals, own_normals;
    Array<T> x(d.n);
    for (int64_t task = task_begin; task < task_end; ++task) {
      const int64_t first = task / parts * rows_per_task, last = min(first + rows_per_task, rows);
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

}  // namespace rsample
