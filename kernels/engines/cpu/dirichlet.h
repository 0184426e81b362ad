// The gradient of Dirichlet draws on the CPU, in one pass over each row.
//
// dirichlet_gradient.py puts elementary.h, noise.h, elementwise.h and gradients.h before this, and behind it the
// gradient of a share, translated from its torch reference.

namespace rsample {

// What the shares of a row have in common. What is left besides the greatest one, and how it moves, keep their precision.
template <class T>
struct Simplex {
  using V = Vector<T>;
  int64_t top;            // the greatest share
  double concentration;   // in all
  T grad, mean;           // of the sample: at the greatest share; and, beside it, the mean of the others, by their shares
  T log_total, log_rest;  // of the numbers' sum; and of the part of it that is not the greatest share

  // `shares` is memory for a row.
  Simplex(const T* logs, const T* grads, const T* concentrations, int64_t k, T* shares)
      : top(greatest(logs, k)), grad(grads[top]) {
    write_over(k, shares, [&](int64_t i, int64_t n) { return vectors::exp(read(logs + i, n) - V(logs[top])); });
    shares[top] = 0;
    const T rest = static_cast<T>(sum_over<T>(k, [&](int64_t i, int64_t n) { return read(shares + i, n); }));
    const double moved =
        sum_over<T>(k, [&](int64_t i, int64_t n) { return read(shares + i, n) * (read(grads + i, n) - V(grad)); });
    const T log_sum = log1p(rest);
    mean = static_cast<T>(moved) / (T(1) + rest);
    log_total = logs[top] + log_sum;
    log_rest = log(max(rest, std::numeric_limits<T>::min())) - log_sum;
    concentration = 0;
    for (int64_t i = 0; i < k; ++i) concentration += concentrations[i];
  }
};

// Elements of a draw, one behind the other, up to a tile.
template <class T, class Formula>
struct Shares {
  static constexpr int SIZE = TILE<T>;
  const Formula& formula;
  const T *grads, *concentrations, *logs;
  T* results;
  int count = 0;
  alignas(64) T inputs[5][SIZE], outputs[SIZE];

  // Elements begin .. end, all of one row.
  void add(const Simplex<T>& row, int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t n = min<int64_t>(end - begin, SIZE - count);
      for (int64_t i = 0; i < n; ++i) {
        inputs[0][count + i] = (grads[begin + i] - row.grad) - row.mean;
        inputs[1][count + i] = concentrations[begin + i];
        inputs[2][count + i] = static_cast<T>(row.concentration - concentrations[begin + i]);
        inputs[3][count + i] = logs[begin + i] - row.log_total;
        inputs[4][count + i] = row.log_rest;
      }
      begin += n;
      count += static_cast<int>(n);
      if (count == SIZE) flush(begin);
    }
  }

  void flush(int64_t end) {
    const T* in[] = {inputs[0], inputs[1], inputs[2], inputs[3], inputs[4]};
    T* out[] = {outputs};
    formula.tile(in[0], in, out, count);
    copy_n(outputs, count, results + end - count);
    count = 0;
  }
};

// `formula`, of (gradient, concentration, the others' sum, log(share), log(1 - share)), gives a concentration's gradient.
template <class T, class Formula>
void dirichlet_gradient(const Formula& formula, const T* grads, const T* concentrations, const T* logs, int64_t rows,
                        int64_t k, T* results) {
  const auto simplex = [&](int64_t row) {
    const int64_t at = row * k;
    return Simplex<T>(logs + at, grads + at, concentrations + at, k, results + at);
  };
  if (k <= GRAIN_OF_LOOPS) {
    parallel_for(0, rows, units(GRAIN_OF_LOOPS, k), [&](int64_t begin, int64_t end) {
      Shares<T, Formula> shares{formula, grads, concentrations, logs, results};
      for (int64_t row = begin; row < end; ++row) shares.add(simplex(row), row * k, (row + 1) * k);
      shares.flush(end * k);
    });
    return;
  }
  for (int64_t row = 0; row < rows; ++row) {
    const Simplex<T> own = simplex(row);
    parallel_for(row * k, (row + 1) * k, GRAIN_OF_LOOPS, [&](int64_t begin, int64_t end) {
      Shares<T, Formula> shares{formula, grads, concentrations, logs, results};
      shares.add(own, begin, end);
      shares.flush(end);
    });
  }
}

}  // namespace rsample
