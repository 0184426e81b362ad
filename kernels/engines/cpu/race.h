// Draws over rows on the CPU: the race of a row's categories, and the scores of a relaxed draw.
//
// rows.py puts elementary.h and noise.h before this and compiles them for one dtype W of the weights. Noise is made
// a tile at a time in the order of the draw's elements, whatever rows a tile touches. Work is cut by element number
// only, winners are compared exactly, and sums add up in element order: the threads' number changes no bit.
namespace rsample {

// ---------------------------------------------------------------------------------------------------------- weights

// Weights that are half as wide as float, in which all computation with them is.
struct BFloat16 {
  static constexpr uint16_t ONE = 0x3F80;
  uint16_t bits;
};

struct Half {
  static constexpr uint16_t ONE = 0x3C00;
  uint16_t bits;
};

inline float wide(BFloat16 x) { return as_float(static_cast<uint32_t>(x.bits) << 16); }

inline float wide(Half x) {
  const uint32_t size = x.bits & 0x7FFFu, sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  const float normal = as_float((size << 13) + (112u << 23)), infinite_or_nan = as_float((size << 13) | 0x7F800000u);
  const float subnormal = static_cast<float>(static_cast<int32_t>(size)) * 0x1p-24f;
  const float magnitude = select(size < 0x400u, subnormal, select(size < 0x7C00u, normal, infinite_or_nan));
  return as_float(as_bits(magnitude) | sign);
}

// The n weights from `weights` on, in the compute dtype; narrow ones are widened into `buffer`.
template <class W, class T>
inline const T* widened(const W* weights, int64_t n, T* buffer) {
  if constexpr (std::is_same_v<W, T>) {
    return weights;
  } else {
    for (int64_t i = 0; i < n; ++i) buffer[i] = wide(weights[i]);
    return buffer;
  }
}

template <class W>
constexpr W one() {
  if constexpr (sizeof(W) == 2) {
    return {W::ONE};
  } else {
    return 1;
  }
}

// ------------------------------------------------------------------------------------------------------------- rows

// Elements of a task: several short rows, or a part of a long one.
constexpr int64_t TASK = 1 << 14;

// Rows of K weights side by side; rows begin where sizes and strides, outermost first, say.
template <class W>
struct Rows {
  const W* data;
  int64_t rank;
  const int64_t* sizes;
  const int64_t* strides;

  const W* row(int64_t number) const {
    const W* at = data;
    for (int64_t d = rank - 1; d > 0; --d) {
      at += number % sizes[d] * strides[d];
      number /= sizes[d];
    }
    return at + number * strides[0];
  }
};

// The elements begin .. end of a draw that one task handles: whole rows, or a part of one.
struct Task {
  int64_t begin, end;
};

// How a draw of rows of k elements is cut into tasks.
struct Cut {
  int64_t rows, k;
  int64_t rows_per_task = max<int64_t>(TASK / k, 1);
  int64_t parts = k <= TASK ? 1 : k / TASK + 2;  // of a row

  int64_t tasks() const { return parts == 1 ? (rows + rows_per_task - 1) / rows_per_task : rows * parts; }

  Task task(int64_t number) const {
    if (parts == 1) return {number * rows_per_task * k, min((number + 1) * rows_per_task, rows) * k};
    const int64_t begin = number / parts * k, from = (begin / TASK + number % parts) * TASK;
    const int64_t first = max(begin, from);
    return {first, max(first, min(begin + k, from + TASK))};
  }

  // The number of the result that a task has for a row.
  int64_t slot(int64_t number, int64_t row) const { return parts == 1 ? row : number; }
};

// The standard exponential noise of a tile. Not inlined, as all draws share it.
template <class T>
__attribute__((noinline)) void exponential_tile(uint64_t seed, uint64_t block, T* noise) {
  alignas(64) uint32_t words[TILE_WORDS];
  philox4x32_10(seed, block, words);
  exponential::fill(words, std::numeric_limits<T>::digits, noise);
}

// Calls body(row, first category, n, noise of these n elements) for every run of elements that share a row and a tile.
template <class T, class Body>
void walk(const Task& task, int64_t k, uint64_t seed, uint64_t offset, const Body& body) {
  constexpr int SIZE = TILE<T>;
  alignas(64) T noise[SIZE + Vector<T>::size()] = {};  // vectors may begin anywhere
  int64_t row = task.begin / k, category = task.begin % k;
  for (int64_t at = task.begin; at < task.end;) {
    const int64_t tile = at / SIZE, stop = min((tile + 1) * SIZE, task.end);
    exponential_tile(seed, offset + static_cast<uint64_t>(tile) * TILE_BLOCKS, noise);
    body.prepare(noise);
    while (at < stop) {
      const int64_t n = min(stop - at, k - category);
      body(row, category, n, at - tile * SIZE);
      at += n;
      category += n;
      if (category == k) {
        category = 0;
        ++row;
      }
    }
  }
}

// log(E) of a tile of standard exponential noise.
__attribute__((noinline)) inline void log_of_noise(const float* noise, float* result) {
  for (int i = 0; i < TILE<float>; ++i) result[i] = log_unit(noise[i]);
}

__attribute__((noinline)) inline void log_of_noise(const double* noise, double* result) {
  using V = Vector<double>;
  for (int i = 0; i < TILE<double>; i += V::size()) vectors::log(V::loadu(noise + i)).store(result + i);
}

template <class V>
inline V larger(const V& a, const V& b) {
  return V::blendv(a, b, b > a);  // a where b is NaN
}

// ------------------------------------------------------------------------------------------------------------- race

// What is known of the winner of a row, or of a part of one.
template <class T>
struct Winner {
  T score = -std::numeric_limits<T>::infinity();
  int64_t category = std::numeric_limits<int64_t>::max();
  // The sum of the weights: of probabilities, or exp(-top) times that of exp(logit).
  T top = -std::numeric_limits<T>::infinity();
  double total = 0;

  void add(const Winner& later) {
    if (later.score > score) {
      score = later.score;
      category = later.category;
    }
    if (later.total > 0) add_total(later.top, later.total);
  }

  void add_total(T other_top, double other_total) {
    const T larger = max(top, other_top);
    total = scaled(total, top, larger) + scaled(other_total, other_top, larger);
    top = larger;
  }

 private:
  static double scaled(double total, T top, T new_top) { return top == new_top ? total : total * libm::exp(top - new_top); }
};

template <class W, class T>
struct Race {
  using V = Vector<T>;
  const Rows<W>& weights;
  bool from_probs, log_prob;
  Winner<T>* winners;  // of the row that is first in the task, and the following ones
  int64_t first_row;
  T* noise;

  void prepare(T* exponential) const {
    if (from_probs) {
      copy_n(exponential, TILE<T>, noise);
    } else {
      log_of_noise(exponential, noise);
    }
  }

  void operator()(int64_t row, int64_t category, int64_t n, int64_t at) const {
    T buffer[TILE<T>];
    const T* w = widened(weights.row(row) + category, n, buffer);
    Winner<T>& winner = winners[row - first_row];
    const T* e = noise + at;
    from_probs ? follow_all<true>(w, e, category, n, winner) : follow_all<false>(w, e, category, n, winner);
    if (log_prob) from_probs ? add_weights<true>(w, n, winner) : add_weights<false>(w, n, winner);
  }

 private:
  template <bool FROM_PROBS>
  static void follow_all(const T* w, const T* e, int64_t category, int64_t n, Winner<T>& winner) {
    V best(-std::numeric_limits<T>::infinity()), step(T(0));
    int64_t j = 0;
    for (; j + V::size() <= n; j += V::size()) follow(score<FROM_PROBS>(V::loadu(w + j), V::loadu(e + j)), j, best, step);
    if (j < n) {
      const V rest = score<FROM_PROBS>(V::loadu(w + j, n - j), V::loadu(e + j));
      follow(V::set(V(-std::numeric_limits<T>::infinity()), rest, n - j), j, best, step);
    }
    const T top = reduced([](const V& a, const V& b) { return larger(a, b); }, best);
    if (top > winner.score) {
      T scores[V::size()], steps[V::size()];
      best.store(scores);
      step.store(steps);
      T lowest = TILE<T>;
      for (int lane = 0; lane < V::size(); ++lane) {
        const T number = steps[lane] + T(lane);
        if (scores[lane] == top && number < lowest) lowest = number;
      }
      winner.score = top;
      winner.category = category + static_cast<int64_t>(lowest);
    }
  }

  template <bool FROM_PROBS>
  static V score(const V& w, const V& e) {
    if constexpr (FROM_PROBS) {
      return w / e;
    } else {
      return w - e;
    }
  }

  static void follow(const V& score, int64_t j, V& best, V& step) {
    const V better = score > best;
    best = V::blendv(best, score, better);
    step = V::blendv(step, V(static_cast<T>(j)), better);
  }

  template <bool FROM_PROBS>
  static void add_weights(const T* w, int64_t n, Winner<T>& winner) {
    const auto sum = [](const V& a, const V& b) { return a + b; };
    const V nothing(FROM_PROBS ? T(0) : -std::numeric_limits<T>::infinity());
    V total(T(0)), top(nothing);
    T shift = 0;
    if constexpr (!FROM_PROBS) {
      for (int64_t j = 0; j < n; j += V::size()) top = larger(top, loaded(w, j, n, nothing));
      shift = reduced([](const V& a, const V& b) { return larger(a, b); }, top);
      if (shift == -std::numeric_limits<T>::infinity()) return;
    }
    for (int64_t j = 0; j < n; j += V::size()) {
      const V x = loaded(w, j, n, nothing);
      total = total + (FROM_PROBS ? x : vectors::exp(x - V(shift)));
    }
    const double sum_of_all = reduced(sum, total);
    if constexpr (FROM_PROBS) {
      winner.total += sum_of_all;
      winner.top = 0;
    } else {
      winner.add_total(shift, sum_of_all);
    }
  }

  static V loaded(const T* w, int64_t j, int64_t n, const V& nothing) {
    return j + V::size() <= n ? V::loadu(w + j) : V::set(nothing, V::loadu(w + j, n - j), n - j);
  }
};

// For each row the winner's category; and, where asked for, the sample as one-hot rows and top + log(total).
template <class W, class T>
void race(const Rows<W>& weights, int64_t rows, int64_t k, uint64_t seed, uint64_t offset, bool from_probs,
          int64_t* index, W* one_hot, T* log_total) {
  const Cut cut{rows, k};
  const auto finish = [&](int64_t row, const Winner<T>& winner) {
    // No category has a score when no weight is a number above -inf: the result is 0.
    index[row] = winner.category < k ? winner.category : 0;
    if (one_hot) one_hot[row * k + index[row]] = one<W>();
    if (log_total) log_total[row] = winner.top + static_cast<T>(libm::log(winner.total));
  };
  Array<Winner<T>> parts(cut.parts == 1 ? 0 : cut.tasks());
  parallel_for(0, cut.tasks(), units(GRAIN, TASK), [&](int64_t task_begin, int64_t task_end) {
    alignas(64) T noise[TILE<T> + Vector<T>::size()] = {};
    const Array<Winner<T>> winners(cut.parts == 1 ? min(cut.rows_per_task, rows) : 1);
    for (int64_t number = task_begin; number < task_end; ++number) {
      const Task task = cut.task(number);
      if (task.begin == task.end) continue;
      if (one_hot) fill(one_hot + task.begin, one_hot + task.end, W{});
      const int64_t first_row = task.begin / k, last_row = (task.end - 1) / k;
      fill_n(winners.data(), last_row - first_row + 1, {});
      walk<T>(task, k, seed, offset, Race<W, T>{weights, from_probs, log_total != nullptr, winners.data(), first_row, noise});
      for (int64_t row = first_row; row <= last_row; ++row) {
        if (cut.parts == 1) {
          finish(row, winners[row - first_row]);
        } else {
          parts[number] = winners[0];
        }
      }
    }
  });
  if (cut.parts == 1) return;
  for (int64_t row = 0; row < rows; ++row) {
    Winner<T> winner;
    for (int64_t part = 0; part < cut.parts; ++part) winner.add(parts[row * cut.parts + part]);
    finish(row, winner);
  }
}

// ---------------------------------------------------------------------------------------------------------- relaxed

template <class W, class T>
struct Scores {
  using V = Vector<T>;
  const Rows<W>& logits;
  int64_t k;
  T inverse_temperature;
  T* scores;
  double *sums_of_logs, *totals;  // of the row that is first in the task, and the following ones; or null
  int64_t first_row;
  T *noise, *log_noise;

  void prepare(T* exponential) const {
    copy_n(exponential, TILE<T>, noise);
    log_of_noise(exponential, log_noise);
  }

  void operator()(int64_t row, int64_t category, int64_t n, int64_t at) const {
    T buffer[TILE<T>];
    const T* w = widened(logits.row(row) + category, n, buffer);
    T* out = scores + row * k + category;
    for (int64_t j = 0; j < n; ++j) out[j] = (w[j] - log_noise[at + j]) * inverse_temperature;
    if (!totals) return;
    const auto sum = [](const V& a, const V& b) { return a + b; };
    V total(T(0)), sum_of_logs(T(0));
    for (int64_t j = 0; j < n; j += V::size()) {
      const int64_t count = min<int64_t>(n - j, V::size());
      total = total + V::set(V(T(0)), V::loadu(noise + at + j), count);
      sum_of_logs = sum_of_logs + V::set(V(T(0)), V::loadu(log_noise + at + j), count);
    }
    totals[row - first_row] += reduced(sum, total);
    sums_of_logs[row - first_row] += reduced(sum, sum_of_logs);
  }
};

// scores = (logits - log E) / temperature and, where asked for, the sums over each row of log E and of E.
template <class W, class T>
void relaxed_scores(const Rows<W>& logits, int64_t rows, int64_t k, uint64_t seed, uint64_t offset, double temperature,
                    T* scores, double* sums_of_logs, double* totals) {
  const Cut cut{rows, k};
  Array<double> partial_logs, partial_totals;
  if (totals && cut.parts > 1) {
    partial_logs = Array<double>(cut.tasks());
    partial_totals = Array<double>(cut.tasks());
  }
  parallel_for(0, cut.tasks(), units(GRAIN, TASK), [&](int64_t task_begin, int64_t task_end) {
    alignas(64) T noise[TILE<T> + Vector<T>::size()] = {}, log_noise[TILE<T> + Vector<T>::size()] = {};
    for (int64_t number = task_begin; number < task_end; ++number) {
      const Task task = cut.task(number);
      if (task.begin == task.end) continue;
      const int64_t first_row = task.begin / k;
      double *logs = nullptr, *sums = nullptr;
      if (totals) {
        logs = cut.parts == 1 ? sums_of_logs + first_row : &partial_logs[number];
        sums = cut.parts == 1 ? totals + first_row : &partial_totals[number];
      }
      walk<T>(task, k, seed, offset,
              Scores<W, T>{logits, k, static_cast<T>(1 / temperature), scores, logs, sums, first_row, noise, log_noise});
    }
  });
  for (int64_t number = 0; number < partial_totals.size(); ++number) {
    sums_of_logs[number / cut.parts] += partial_logs[number];
    totals[number / cut.parts] += partial_totals[number];
  }
}

}  // namespace rsample
