// Noise that counts, on the CPU. loops.h goes before this; counts.py, poisson.py and binomial.py are the specification.

namespace rsample {
namespace counts {

// std::floor, which may raise a floating-point exception, keeps a loop from being vectorised.
template <class T>
inline T floor(T x) {
  const T nearest = std::nearbyint(x);
  return nearest - select(nearest > x, T(1), T(0));
}

constexpr double LARGE_MEAN = 10.0, HALF_LOG_2_PI = 0.9189385332046727, SQRT_2_PI = 2.5066282746310002;

// ---------------------------------------------------------------------------------------------------------- arrivals

template <class T>
constexpr int PER_BLOCK = 16 / sizeof(T);  // exponentials

// The standard exponentials of an attempt: element i's are PER_BLOCK numbers from out[PER_BLOCK * i] on.
template <class T>
inline void exponentials(uint64_t seed, const Pending<T>& pending, uint32_t attempt, uint32_t stream, T* out) {
  uint32_t words[4 * TILE<T>];
  attempt_words<T>(seed, pending.block, pending.count, attempt, stream, words);
  constexpr int NUMBERS = TILE_WORDS * sizeof(uint32_t) / sizeof(T);  // that a tile of words makes
  for (int i = 0; i < (4 * pending.count + TILE_WORDS - 1) / TILE_WORDS; ++i) {
    exponential::fill(words + TILE_WORDS * i, 0, out + NUMBERS * i);
  }
}

// Leaves in `small` the elements with a mean below LARGE_MEAN and in `large` the others, NaN among them.
template <class T>
inline void split(const T* mean, Pending<T>& small, Pending<T>& large) {
  int32_t is_small[TILE<T>], is_large[TILE<T>], count = 0;
  const int all = small.count;
  for (int i = 0; i < all; ++i) {
    is_small[i] = mean[i] < T(LARGE_MEAN);
    is_large[i] = !is_small[i];
    count += is_small[i];
  }
  if (count == all) {
    large.count = 0;
  } else if (count == 0) {
    small.count = 0;
  } else {
    small.keep(is_small);
    large.keep(is_large);
  }
}

// The numbers, in order, of those among n for which `again` is not 0; returns how many.
inline int survivors(const int32_t* again, int n, int* from) {
  int kept = 0;
  for (int i = 0; i < n; ++i) {
    from[kept] = i;
    kept += again[i] != 0;
  }
  return kept;
}

template <class T>
inline void move_up(const int* from, int kept, T* numbers) {
  for (int i = 0; i < kept; ++i) numbers[i] = numbers[from[i]];
}

template <class T>
inline void move_up(const int* from, int kept, Pending<T>& pending) {
  move_up(from, kept, pending.index);
  move_up(from, kept, pending.block);
  pending.count = kept;
}

// -------------------------------------------------------------------------------------------------------------- mass

template <class T>
inline T at_least_one(T k) {
  return select(k < T(1), T(1), k);
}

// log(k! / (sqrt(k) (k / e)**k)) - log(2 pi) / 2, where the k under the root is at least 1.
template <class T>
inline T stirling(T k) {
  const T inverse = T(1) / at_least_one(k), square = inverse * inverse;
  T series = T(0.000175787016960612);
  series = multiply_add(series, square, T(-0.0004499224069420971));
  series = multiply_add(series, square, T(0.0007795300536326786));
  series = multiply_add(series, square, T(-0.002777255875585051));
  series = multiply_add(series, square, T(0.0833333282118195));
  return select(k < T(1), T(-HALF_LOG_2_PI), inverse * series);
}

// k log(k / mean) + mean - k, where the difference is k - mean.
template <class T>
inline T deviance(T k, T mean, T difference) {
  const T v = difference / (k + mean), square = v * v;
  T series = T(1) / 11;
  series = multiply_add(series, square, T(1) / 9);
  series = multiply_add(series, square, T(1) / 7);
  series = multiply_add(series, square, T(1) / 5);
  series = multiply_add(series, square, T(1) / 3);
  const T near = difference * v + 2 * k * v * square * series;
  const T far = k * log(at_least_one(k) / mean) - difference;
  return select(std::abs(v) < T(0.1), near, far);
}

// --------------------------------------------------------------------------------------------------------- rejection

// Candidates (t, v) of an attempt, CANDIDATES per element: number j of element i at [j][i].
template <class T>
constexpr int CANDIDATES = sizeof(T) == 4 ? 2 : 1;

inline void candidates(uint64_t seed, const Pending<float>& pending, uint32_t attempt, uint32_t stream,
                       float (*t)[TILE<float>], float (*v)[TILE<float>]) {
  uint32_t words[4 * TILE<float>];
  attempt_words<float>(seed, pending.block, pending.count, attempt, stream, words);
  for (int i = 0; i < pending.count; ++i) {
    t[0][i] = centered_from_word(words[4 * i]);
    v[0][i] = open_unit(words[4 * i + 1]);
    t[1][i] = centered_from_word(words[4 * i + 2]);
    v[1][i] = open_unit(words[4 * i + 3]);
  }
}

inline void candidates(uint64_t seed, const Pending<double>& pending, uint32_t attempt, uint32_t stream,
                       double (*t)[TILE<double>], double (*v)[TILE<double>]) {
  uint32_t words[4 * TILE<double>];
  attempt_words<double>(seed, pending.block, pending.count, attempt, stream, words);
  for (int i = 0; i < pending.count; ++i) {
    const uint32_t* w = words + 4 * i;
    t[0][i] = centered_from_words(w);
    v[0][i] = open_unit(w[2], w[3]);
  }
}

// The counts k of n candidates (t, v), and whether they are rejected; parameter p of candidate i at of[p][i].
template <template <class> class Law, class T>
inline void judge(const T* t, const T* v, const T (*of)[TILE<T>], int n, T* counts, int32_t* rejected) {
  for (int i = 0; i < n; ++i) {
    const Law<T> law(of, i);
    const T s = std::abs(t[i]), inverse = T(1) / s;
    const T x = (2 * law.a * inverse + law.b) * (T(0.5) - s);
    const T k = floor(select(t[i] < T(0), -x, x) + law.center);
    counts[i] = k;
    rejected[i] = v[i] * law.bound > (law.a * inverse * inverse + law.b) * law.mass(k);
  }
}

// Writes the counts of the elements that are pending. Law<T> holds a law's PARAMETERS numbers, its hat and its mass.
template <template <class> class Law, class T>
inline void transformed_rejection(uint64_t seed, Pending<T>& pending, const T* const* parameters, uint32_t stream,
                                  T* out) {
  constexpr int SIZE = TILE<T>, PARAMETERS = Law<T>::PARAMETERS;
  T t[CANDIDATES<T>][SIZE], v[CANDIDATES<T>][SIZE], of[PARAMETERS][SIZE], counts[SIZE];
  int32_t rejected[SIZE];
  int from[SIZE];
  for (uint32_t attempt = 0; pending.count > 0; ++attempt) {
    candidates(seed, pending, attempt, stream, t, v);
    for (int p = 0; p < PARAMETERS; ++p) {
      for (int i = 0; i < pending.count; ++i) of[p][i] = parameters[p][pending.index[i]];
    }
    for (int j = 0; j < CANDIDATES<T>; ++j) {
      judge<Law, T>(t[j], v[j], of, pending.count, counts, rejected);
      for (int i = 0; i < pending.count; ++i) out[pending.index[i]] = counts[i];
      // Few are left for the next candidate.
      const int kept = survivors(rejected, pending.count, from);
      move_up(from, kept, pending);
      for (int p = 0; p < PARAMETERS; ++p) move_up(from, kept, of[p]);
      for (int next = j + 1; next < CANDIDATES<T>; ++next) {
        move_up(from, kept, t[next]);
        move_up(from, kept, v[next]);
      }
    }
  }
}

// ----------------------------------------------------------------------------------------------------------- Poisson

template <class T>
struct PoissonLaw {
  static constexpr int PARAMETERS = 1;
  T rate, center, a, b, bound;

  PoissonLaw(const T (*of)[TILE<T>], int i) : rate(of[0][i]) {
    b = T(0.931) + T(2.53) * std::sqrt(rate);
    a = T(0.02483) * b - T(0.059);
    center = rate + T(0.43);
    bound = T(1.128 * SQRT_2_PI) + T(1.17 * SQRT_2_PI) / (b - T(3.4));
  }

  T mass(T k) const {
    return select(k < T(0), T(0), exp(-stirling(k) - deviance(k, rate, k - rate)) / std::sqrt(at_least_one(k)));
  }
};

template <class T>
inline void poisson_noise(uint64_t seed, const uint64_t* blocks, const T* rate, uint32_t stream, int n, T* count) {
  constexpr int SIZE = TILE<T>;
  Pending<T> small(blocks, n), large(blocks, n);
  split(rate, small, large);
  T e[4 * SIZE], time[SIZE] = {}, arrived[SIZE] = {}, until[SIZE];
  int32_t again[SIZE];
  int from[SIZE];
  for (int i = 0; i < small.count; ++i) until[i] = rate[small.index[i]];
  for (uint32_t attempt = 0; small.count > 0; ++attempt) {
    exponentials(seed, small, attempt, stream, e);
    for (int i = 0; i < small.count; ++i) {
      for (int j = 0; j < PER_BLOCK<T>; ++j) {
        time[i] += e[PER_BLOCK<T> * i + j];
        arrived[i] += select(time[i] <= until[i], T(1), T(0));
      }
      again[i] = time[i] <= until[i];
    }
    for (int i = 0; i < small.count; ++i) count[small.index[i]] = arrived[i];
    const int kept = survivors(again, small.count, from);
    move_up(from, kept, small);
    for (T* numbers : {time, arrived, until}) move_up(from, kept, numbers);
  }
  const T* parameters[] = {rate};
  transformed_rejection<PoissonLaw>(seed, large, parameters, stream, count);
  for (int i = 0; i < n; ++i) count[i] = select(rate[i] < std::numeric_limits<T>::infinity(), count[i], rate[i]);
}

// ------------------------------------------------------------------------------------------------- negative binomial

constexpr uint32_t POISSON_STREAM = 2;  // gamma noise takes streams 0 and 1

// The odds of success times exp(power).
struct OddsOfProbs {
  template <class T>
  static T scaled(T probs, T power) {
    return probs / (T(1) - probs) * exp(power);
  }
};

struct OddsOfLogits {
  template <class T>
  static T scaled(T logits, T power) {
    return exp(logits + power);
  }
};

template <class T, class Odds>
inline void negative_binomial_noise(uint64_t seed, const uint64_t* blocks, const T* total_count, const T* chances,
                                    int n, T* count) {
  constexpr int SIZE = TILE<T>;
  T ratio[SIZE], power[SIZE], rate[SIZE];
  gamma_noise(seed, blocks, total_count, 0, n, ratio, power);
  for (int i = 0; i < n; ++i) {
    const T mean = total_count[i] * ratio[i] * Odds::scaled(chances[i], power[i]);
    rate[i] = select(total_count[i] == T(0), T(0), mean);
  }
  poisson_noise(seed, blocks, rate, POISSON_STREAM, n, count);
}

// ---------------------------------------------------------------------------------------------------------- binomial

// The probability p of the rarer outcome, and -log(1 - p).
struct OfProbs {
  template <class T>
  static void rarer(T probs, T& p, T& hazard) {
    p = select(probs > T(0.5), T(1) - probs, probs);
    hazard = -log1p(-p);
  }
};

struct OfLogits {
  template <class T>
  static void rarer(T logits, T& p, T& hazard) {
    const T odds = exp(-std::fabs(logits));
    p = odds / (T(1) + odds);
    hazard = log1p(odds);
  }
};

template <class T>
struct BinomialLaw {
  static constexpr int PARAMETERS = 3;
  T n, mean, center, a, b, bound;

  BinomialLaw(const T (*of)[TILE<T>], int i) : n(of[0][i]), mean(of[1][i]) {
    const T p = of[2][i];
    b = T(1.15) + T(2.53) * std::sqrt(mean * (T(1) - p));
    a = T(0.0248) * b - T(0.0873) + T(0.01) * p;
    center = mean + T(0.5);
    bound = T(1.126 * SQRT_2_PI) + T(1.8 * SQRT_2_PI) / b;
  }

  T mass(T k) const {
    const T left = n - k, difference = k - mean;
    const T logarithm = stirling(n) - stirling(k) - stirling(left) - deviance(k, mean, difference) -
                        deviance(left, n - mean, -difference);
    const T mass = exp(logarithm) * std::sqrt(n / at_least_one(left) / at_least_one(k));
    return select((k < T(0)) | (left < T(0)), T(0), mass);
  }
};

template <class T, class Rarer>
inline void binomial_noise(uint64_t seed, const uint64_t* blocks, const T* total_count, const T* chances,
                           uint32_t stream, int n, T* count) {
  constexpr int SIZE = TILE<T>;
  Pending<T> small(blocks, n), large(blocks, n);
  T p[SIZE], mean[SIZE], limit[SIZE];
  for (int i = 0; i < n; ++i) {
    T hazard;
    Rarer::rarer(chances[i], p[i], hazard);
    mean[i] = total_count[i] * p[i];
    limit[i] = total_count[i] * hazard;
  }
  split(mean, small, large);
  T e[4 * SIZE], time[SIZE] = {}, occurred[SIZE] = {}, until[SIZE], trials[SIZE];
  int32_t again[SIZE];
  int from[SIZE];
  for (int i = 0; i < small.count; ++i) {
    until[i] = limit[small.index[i]];
    trials[i] = total_count[small.index[i]];
  }
  for (uint32_t attempt = 0; small.count > 0; ++attempt) {
    exponentials(seed, small, attempt, stream, e);
    for (int i = 0; i < small.count; ++i) {
      T left = trials[i] - occurred[i];
      const T inverse = T(1) / trials[i];
      for (int j = 0; j < PER_BLOCK<T>; ++j) {
        time[i] += e[PER_BLOCK<T> * i + j] / select(left > T(0), left * inverse, T(0));
        left -= T(1);
        occurred[i] += select(time[i] <= until[i], T(1), T(0));
      }
      again[i] = time[i] <= until[i];
    }
    for (int i = 0; i < small.count; ++i) count[small.index[i]] = occurred[i];
    const int kept = survivors(again, small.count, from);
    move_up(from, kept, small);
    for (T* numbers : {time, occurred, until, trials}) move_up(from, kept, numbers);
  }
  const T* parameters[] = {total_count, mean, p};
  transformed_rejection<BinomialLaw>(seed, large, parameters, stream, count);
}

}  // namespace counts

struct poisson {
  static constexpr int VALUES = 1;
  template <class T>
  static void fill(uint64_t seed, const uint64_t* blocks, const T* const* parameters, int n, T* noise) {
    counts::poisson_noise(seed, blocks, parameters[0], 0, n, noise);
  }
};

struct negative_binomial_probs {
  static constexpr int VALUES = 1;
  template <class T>
  static void fill(uint64_t seed, const uint64_t* blocks, const T* const* parameters, int n, T* noise) {
    counts::negative_binomial_noise<T, counts::OddsOfProbs>(seed, blocks, parameters[0], parameters[1], n, noise);
  }
};

struct negative_binomial_logits {
  static constexpr int VALUES = 1;
  template <class T>
  static void fill(uint64_t seed, const uint64_t* blocks, const T* const* parameters, int n, T* noise) {
    counts::negative_binomial_noise<T, counts::OddsOfLogits>(seed, blocks, parameters[0], parameters[1], n, noise);
  }
};

struct binomial_probs {
  static constexpr int VALUES = 1;
  template <class T>
  static void fill(uint64_t seed, const uint64_t* blocks, const T* const* parameters, int n, T* noise) {
    counts::binomial_noise<T, counts::OfProbs>(seed, blocks, parameters[0], parameters[1], 0, n, noise);
  }
};

struct binomial_logits {
  static constexpr int VALUES = 1;
  template <class T>
  static void fill(uint64_t seed, const uint64_t* blocks, const T* const* parameters, int n, T* noise) {
    counts::binomial_noise<T, counts::OfLogits>(seed, blocks, parameters[0], parameters[1], 0, n, noise);
  }
};

}  // namespace rsample
