// log, log1p, exp, expm1 and tanh of float32 on the CPU: within two units in the last place, subnormal results and the
// ends of the range included, in a fraction of the vector library's time. Loops over the scalar functions vectorise.

namespace rsample {

inline float as_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

inline uint32_t as_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

// a * b + c, fused where that is one instruction: the build turns contraction off, so that laws round as torch does.
inline float multiply_add(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

inline double multiply_add(double a, double b, double c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

// `condition ? yes : no` that compilers never turn into a jump, which would keep a loop from being vectorised.
inline float select(bool condition, float yes, float no) {
  const uint32_t mask = -static_cast<uint32_t>(condition);
  return as_float((as_bits(yes) & mask) | (as_bits(no) & ~mask));
}

// So that templates over both types have one name for each function; those of float are below.
inline double select(bool condition, double yes, double no) { return condition ? yes : no; }
inline double log(double x) { return libm::log(x); }
inline double log1p(double x) { return libm::log1p(x); }
inline double exp(double x) { return libm::exp(x); }

// ------------------------------------------------------------------------------------------------------- logarithms

// e log(2) + log(1 + f) for f in [sqrt(1/2) - 1, sqrt(2) - 1). The polynomial is the minimax one of degree 9 for
// log(1 + f) with the first two terms of the series kept: relative error 3.2e-8 before rounding.
inline float log_split(int32_t e, float f) {
  float p = 8.7004356e-02f;
  p = multiply_add(p, f, -1.4267486e-01f);
  p = multiply_add(p, f, 1.4914767e-01f);
  p = multiply_add(p, f, -1.6577585e-01f);
  p = multiply_add(p, f, 1.9963063e-01f);
  p = multiply_add(p, f, -2.5001338e-01f);
  p = multiply_add(p, f, 3.333391e-01f);
  const float square = f * f;
  const float tail = multiply_add(p * f, square, -0.5f * square);
  return multiply_add(static_cast<float>(e), 0.693147182f, f + tail);
}

// The exponent of a normal number u for which u / 2**e lies in [sqrt(1/2), sqrt(2)).
inline int32_t exponent(float u) { return static_cast<int32_t>(as_bits(u) - 0x3F3504F3u) >> 23; }

// u / 2**e
inline float mantissa(float u, int32_t e) { return as_float(as_bits(u) - (static_cast<uint32_t>(e) << 23)); }

// log(u) for u in [2**-33, 1].
inline float log_unit(float u) {
  const int32_t e = exponent(u);
  return log_split(e, mantissa(u, e) - 1.0f);
}

// log(x), given what it is where x is positive and finite.
inline float log_limits(float x, float finite) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const float not_positive = select(x == 0.0f, -infinity, std::numeric_limits<float>::quiet_NaN());
  return select(x > 0.0f, select(x < infinity, finite, x), not_positive);
}

inline float log(float x) {
  const bool subnormal = x < std::numeric_limits<float>::min();
  const float y = x * select(subnormal, 0x1p24f, 1.0f);
  const int32_t e = exponent(y);
  return log_limits(x, log_split(e - 24 * static_cast<int32_t>(subnormal), mantissa(y, e) - 1.0f));
}

// log(1 + x)
inline float log1p(float x) {
  const float u = 1.0f + x;
  const int32_t e = exponent(u);
  // What the sum lost, exactly for x up to 1 (Dekker, "A floating-point technique for extending the available
  // precision", 1971); beyond, half a unit in the last place of u counts for less than that of the result.
  const float lost = select(x < 1.0f, x - (u - 1.0f), 0.0f);
  const float scale = as_float(static_cast<uint32_t>(127 - min(e, 1)) << 23);
  return log_limits(u, log_split(e, multiply_add(lost, scale, mantissa(u, e) - 1.0f)));
}

// ----------------------------------------------------------------------------------------------------- exponentials

// x = n log(2) + r, |r| <= log(2) / 2, for |x| <= 127 log(2) or so.
struct Reduced {
  int32_t n;
  float rise;  // exp(r) - 1
};

inline Reduced reduce(float x) {
  constexpr float TO_INTEGER = 0x1.8p23f;  // added to a small number it leaves the nearest integer in the low bits
  const float shifted = multiply_add(x, 1.44269504f, TO_INTEGER);
  const float n = shifted - TO_INTEGER;
  const float r = multiply_add(n, 2.12194440e-04f, multiply_add(n, -0.693359375f, x));
  // Minimax for (exp(r) - 1 - r) / r**2: relative error of exp(r) - 1 1.7e-8 before rounding.
  float p = 1.3947599e-03f;
  p = multiply_add(p, r, 8.367247e-03f);
  p = multiply_add(p, r, 4.1666266e-02f);
  p = multiply_add(p, r, 1.6666538e-01f);
  p = multiply_add(p, r, 0.5f);
  return {static_cast<int32_t>(as_bits(shifted) - as_bits(TO_INTEGER)), multiply_add(p, r * r, r)};
}

// 2**n for a normal result.
inline float power_of_two(int32_t n) { return as_float(static_cast<uint32_t>(n + 127) << 23); }

inline float exp(float x) {
  // The result is 0 below and infinite above.
  const float above = select(x < -104.0f, -104.0f, x);
  const Reduced reduced = reduce(select(above > 89.0f, 89.0f, above));
  // In two steps: 2**n itself may be subnormal or infinite where the result is not.
  const int32_t half = reduced.n >> 1;
  const float scale = power_of_two(half);
  return multiply_add(reduced.rise, scale, scale) * power_of_two(reduced.n - half);
}

// exp(x) - 1
inline float expm1(float x) {
  // The result is -1 below and infinite above.
  const float above = select(x < -20.0f, -20.0f, x);
  const Reduced reduced = reduce(select(above > 89.0f, 89.0f, above));
  const float half_scale = power_of_two(reduced.n - 1);
  return 2.0f * multiply_add(reduced.rise, half_scale, half_scale - 0.5f);
}

inline float tanh(float x) {
  const float twice = 2.0f * libm::fabs(x);
  const float rise = expm1(select(twice > 30.0f, 30.0f, twice));  // 1 beyond
  return __builtin_copysignf(rise / (rise + 2.0f), x);
}

// ---------------------------------------------------------------------------------------------------------- vectors

namespace vectors {

template <float function(float)>
inline Vector<float> each(Vector<float> x) {
  constexpr int size = Vector<float>::size();
  float lanes[size];
  x.store(lanes);
  for (int i = 0; i < size; ++i) lanes[i] = function(lanes[i]);
  return Vector<float>::loadu(lanes);
}

// Whether a mask holds in some lane; and whether there is one in which it does not.
template <class T>
inline bool any(const Vector<T>& mask) { return lanes_of(mask) != 0; }
template <class T>
inline bool not_all(const Vector<T>& mask) {
  return lanes_of(mask) != (uint64_t{1} << Vector<T>::size()) - 1;
}

inline Vector<float> log(Vector<float> x) { return each<rsample::log>(x); }
inline Vector<float> log1p(Vector<float> x) { return each<rsample::log1p>(x); }
inline Vector<float> exp(Vector<float> x) { return each<rsample::exp>(x); }
inline Vector<float> expm1(Vector<float> x) { return each<rsample::expm1>(x); }
inline Vector<float> tanh(Vector<float> x) { return each<rsample::tanh>(x); }

// |magnitude| with the sign of `sign`. The vector library's is a call, which costs a loop its registers.
inline Vector<float> copysign(Vector<float> magnitude, Vector<float> sign) {
  return magnitude.abs() | (sign & Vector<float>(as_float(0x80000000u)));
}

inline Vector<double> log(Vector<double> x) { return x.log(); }
inline Vector<double> log1p(Vector<double> x) { return x.log1p(); }
inline Vector<double> exp(Vector<double> x) { return x.exp(); }
inline Vector<double> expm1(Vector<double> x) { return x.expm1(); }
inline Vector<double> tanh(Vector<double> x) { return x.tanh(); }
inline Vector<double> copysign(Vector<double> magnitude, Vector<double> sign) {
  return magnitude.copysign(sign);
}

}  // namespace vectors
}  // namespace rsample
