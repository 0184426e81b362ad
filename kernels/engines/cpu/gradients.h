// Gradients of draws over rows on the CPU: each takes the rows one by one, as they come.
//
// rows.py puts elementary.h and noise.h before this. autograd.py has the same as torch operations, which can be
// differentiated again. Sums over a row add up vectors, and these sums in float64; no bit depends on the threads' number.

namespace rsample {

// The number of the first of the greatest of k numbers.
template <class T>
inline int64_t greatest(const T* x, int64_t k) {
  int64_t best = 0;
  for (int64_t i = 1; i < k; ++i) best = x[best] < x[i] ? i : best;
  return best;
}

constexpr int64_t PART = 512;  // elements whose sum is one of the dtype to compute in

// The sum over i < k of term(i, count), vectors of which the first `count` numbers count.
template <class T, class Term>
inline double sum_over(int64_t k, const Term& term) {
  using V = Vector<T>;
  const auto add = [](const V& a, const V& b) { return a + b; };
  double total = 0;
  for (int64_t begin = 0; begin < k; begin += PART) {
    const int64_t end = min(begin + PART, k);
    V part(T(0));
    int64_t i = begin;
    for (; i + V::size() <= end; i += V::size()) part = part + term(i, V::size());
    if (i < end) part = part + V::set(V(T(0)), term(i, end - i), end - i);
    total += reduced(add, part);
  }
  return total;
}

// Writes value(i, count) to out[i] for i < k.
template <class T, class Value>
inline void write_over(int64_t k, T* out, const Value& value) {
  using V = Vector<T>;
  for (int64_t i = 0; i < k; i += V::size()) {
    const int64_t count = min<int64_t>(k - i, V::size());
    value(i, count).store(out + i, static_cast<int>(count));
  }
}

template <class T>
inline Vector<T> read(const T* x, int64_t count) {
  using V = Vector<T>;
  return count == V::size() ? V::loadu(x) : V::loadu(x, count);
}

// Calls body(row) for each of the rows, on several threads where these are long.
template <class Body>
inline void each_row(int64_t rows, int64_t k, const Body& body) {
  parallel_for(0, rows, units(GRAIN, k), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}

// The gradient of the logits of a relaxed draw, of the sample's shape, and, unless it is null, that of the temperature.
// Samples are points of the simplex where `exponentiated`, or their logarithms.
template <class T, bool EXPONENTIATED>
void relaxed_gradient(const T* samples, const T* grads, int64_t rows, int64_t k, double temperature, T* results,
                      double* of_temperature) {
  using V = Vector<T>;
  const V t(static_cast<T>(temperature)), least(std::numeric_limits<T>::min());
  Array<double> moved(of_temperature ? rows : 0);
  each_row(rows, k, [&](int64_t row) {
    const T *sample = samples + row * k, *grad = grads + row * k;
    T* result = results + row * k;
    const auto share = [&](int64_t i, int64_t n) {
      const V x = read(sample + i, n);
      return EXPONENTIATED ? x : vectors::exp(x);
    };
    const auto of_log = [&](int64_t i, int64_t n) {  // the gradient of the sample's logarithm
      const V g = read(grad + i, n);
      return EXPONENTIATED ? share(i, n) * g : g;
    };
    const V total(static_cast<T>(sum_over<T>(k, of_log)));
    write_over(k, result, [&](int64_t i, int64_t n) { return (of_log(i, n) - share(i, n) * total) / t; });
    if (!of_temperature) return;
    moved[row] = sum_over<T>(k, [&](int64_t i, int64_t n) {
      const V x = read(sample + i, n);
      return read(result + i, n) * (EXPONENTIATED ? vectors::log(maximum(x, least)) : x);
    });
  });
  if (!of_temperature) return;
  double total = 0;
  for (double x : moved) total += x;
  *of_temperature = -total;
}

// The gradient of probabilities or logits for that of the normalised probabilities.
template <class T, bool FROM_PROBS>
void probs_gradient(const T* weights, const T* grads, int64_t rows, int64_t k, T* results) {
  using V = Vector<T>;
  each_row(rows, k, [&](int64_t row) {
    const T *w = weights + row * k, *grad = grads + row * k;
    T* result = results + row * k;  // the probabilities, for the time being
    if constexpr (FROM_PROBS) {
      copy_n(w, k, result);
    } else {
      const V top(w[greatest(w, k)]);
      write_over(k, result, [&](int64_t i, int64_t n) { return vectors::exp(read(w + i, n) - top); });
    }
    const V total(static_cast<T>(sum_over<T>(k, [&](int64_t i, int64_t n) { return read(result + i, n); })));
    write_over(k, result, [&](int64_t i, int64_t n) { return read(result + i, n) / total; });
    const V mean(static_cast<T>(
        sum_over<T>(k, [&](int64_t i, int64_t n) { return read(grad + i, n) * read(result + i, n); })));
    write_over(k, result, [&](int64_t i, int64_t n) {
      const V centred = read(grad + i, n) - mean;
      return FROM_PROBS ? centred / total : centred * read(result + i, n);
    });
  });
}

}  // namespace rsample
