// Vectors of float and double on the CPU: ATen's, or ours with the same bits.
//
// A compiler reads ATen's headers for two seconds, longer than it takes to compile most of what draws. So where the
// build says how wide vectors are (RSAMPLE_VECTOR_BYTES: 32 for AVX2 with FMA, 64 for AVX-512) and the compiler is gcc,
// the few operations that are needed are here, by the same instructions. Transcendental functions are Sleef's, which
// torch has. standard.h goes before this.

#if defined(RSAMPLE_VECTOR_BYTES) && defined(__GNUC__) && !defined(__clang__)
#define RSAMPLE_OWN_VECTORS
#else
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>
#endif

#ifndef RSAMPLE_OWN_VECTORS

namespace rsample {

template <class T>
using Vector = at::vec::Vectorized<T>;

using at::vec::clamp;
using at::vec::fmadd;
using at::vec::maximum;
using at::vec::minimum;

// All lanes, combined by a function of two vectors.
template <class T, class Function>
inline T reduced(const Function& function, const Vector<T>& x) {
  return at::vec::vec_reduce_all<T>(function, x);
}

// The lanes of a mask, all ones or all zeros each, as bits.
template <class T>
inline uint32_t lanes_of(const Vector<T>& mask) {
#if defined(CPU_CAPABILITY_AVX512)
  if constexpr (sizeof(T) == 4) return _mm512_movepi32_mask(_mm512_castps_si512(mask));
  else return _mm512_movepi64_mask(_mm512_castpd_si512(mask));
#elif defined(CPU_CAPABILITY_AVX2)
  if constexpr (sizeof(T) == 4) return _mm256_movemask_ps(mask);
  else return _mm256_movemask_pd(mask);
#else
  constexpr int size = Vector<T>::size();
  unsigned char bytes[size * sizeof(T)];
  mask.store(bytes);
  uint32_t lanes = 0;
  for (int i = 0; i < size; ++i) lanes |= static_cast<uint32_t>(bytes[i * sizeof(T)] != 0) << i;
  return lanes;
#endif
}

}  // namespace rsample

#else

namespace rsample {

typedef float Floats __attribute__((vector_size(RSAMPLE_VECTOR_BYTES)));
typedef double Doubles __attribute__((vector_size(RSAMPLE_VECTOR_BYTES)));
typedef int Integers __attribute__((vector_size(RSAMPLE_VECTOR_BYTES)));
typedef long long LongIntegers __attribute__((vector_size(RSAMPLE_VECTOR_BYTES)));

namespace native {

#if RSAMPLE_VECTOR_BYTES == 64
constexpr Integers LANE = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
constexpr int CURRENT = 4, FLOOR = 1;  // rounding
inline Floats fused(Floats a, Floats b, Floats c) { return __builtin_ia32_vfmaddps512_mask(a, b, c, -1, CURRENT); }
inline Doubles fused(Doubles a, Doubles b, Doubles c) { return __builtin_ia32_vfmaddpd512_mask(a, b, c, -1, CURRENT); }
inline Floats root(Floats x) { return __builtin_ia32_sqrtps512_mask(x, x, -1, CURRENT); }
inline Doubles root(Doubles x) { return __builtin_ia32_sqrtpd512_mask(x, x, -1, CURRENT); }
inline Floats floor(Floats x) { return __builtin_ia32_rndscaleps_mask(x, FLOOR, x, -1, CURRENT); }
inline Doubles floor(Doubles x) { return __builtin_ia32_rndscalepd_mask(x, FLOOR, x, -1, CURRENT); }
inline LongIntegers product_of_low_halves(Integers a, Integers b) {
  return __builtin_ia32_pmuludq512_mask(a, b, LongIntegers{}, -1);
}
inline uint32_t signs(Floats x) { return static_cast<uint16_t>(__builtin_ia32_cvtd2mask512((Integers)x)); }
inline uint32_t signs(Doubles x) { return static_cast<uint8_t>(__builtin_ia32_cvtq2mask512((LongIntegers)x)); }
template <class Lanes, class T>
inline Lanes first(const T* from, int64_t count) {
  Lanes lanes = {};
  std::memcpy(&lanes, from, count * sizeof(T));
  return lanes;
}
#else
constexpr Integers LANE = {0, 1, 2, 3, 4, 5, 6, 7};
constexpr int FLOOR = 9;
inline Floats fused(Floats a, Floats b, Floats c) { return __builtin_ia32_vfmaddps256(a, b, c); }
inline Doubles fused(Doubles a, Doubles b, Doubles c) { return __builtin_ia32_vfmaddpd256(a, b, c); }
inline Floats root(Floats x) { return __builtin_ia32_sqrtps256(x); }
inline Doubles root(Doubles x) { return __builtin_ia32_sqrtpd256(x); }
inline Floats floor(Floats x) { return __builtin_ia32_roundps256(x, FLOOR); }
inline Doubles floor(Doubles x) { return __builtin_ia32_roundpd256(x, FLOOR); }
inline LongIntegers product_of_low_halves(Integers a, Integers b) { return __builtin_ia32_pmuludq256(a, b); }
inline uint32_t signs(Floats x) { return __builtin_ia32_movmskps256(x); }
inline uint32_t signs(Doubles x) { return __builtin_ia32_movmskpd256(x); }
// By a mask: a vector that is read from where its numbers were just put waits for them.
template <class Lanes, class T>
inline Lanes first(const T* from, int64_t count) {
  if constexpr (sizeof(T) == 4) {
    return __builtin_ia32_maskloadps256(reinterpret_cast<const Floats*>(from), LANE < static_cast<int>(count));
  } else {
    const LongIntegers lane = {0, 1, 2, 3};
    return __builtin_ia32_maskloadpd256(reinterpret_cast<const Doubles*>(from), lane < static_cast<long long>(count));
  }
}
#endif

}  // namespace native

// Sleef's functions, of the accuracy that ATen takes.
#if RSAMPLE_VECTOR_BYTES == 64
#define RSAMPLE_FLOATS "f16"
#define RSAMPLE_DOUBLES "d8"
#else
#define RSAMPLE_FLOATS "f8"
#define RSAMPLE_DOUBLES "d4"
#endif

namespace sleef {

Floats sin(Floats) __asm__("Sleef_sin" RSAMPLE_FLOATS "_u35");
Floats cos(Floats) __asm__("Sleef_cos" RSAMPLE_FLOATS "_u35");
Floats tan(Floats) __asm__("Sleef_tan" RSAMPLE_FLOATS "_u10");
Floats atan(Floats) __asm__("Sleef_atan" RSAMPLE_FLOATS "_u10");
Floats exp(Floats) __asm__("Sleef_exp" RSAMPLE_FLOATS "_u10");
Floats pow(Floats, Floats) __asm__("Sleef_pow" RSAMPLE_FLOATS "_u10");
Doubles sin(Doubles) __asm__("Sleef_sin" RSAMPLE_DOUBLES "_u10");
Doubles cos(Doubles) __asm__("Sleef_cos" RSAMPLE_DOUBLES "_u10");
Doubles tan(Doubles) __asm__("Sleef_tan" RSAMPLE_DOUBLES "_u10");
Doubles atan(Doubles) __asm__("Sleef_atan" RSAMPLE_DOUBLES "_u10");
Doubles exp(Doubles) __asm__("Sleef_exp" RSAMPLE_DOUBLES "_u10");
Doubles expm1(Doubles) __asm__("Sleef_expm1" RSAMPLE_DOUBLES "_u10");
Doubles log(Doubles) __asm__("Sleef_log" RSAMPLE_DOUBLES "_u10");
Doubles log1p(Doubles) __asm__("Sleef_log1p" RSAMPLE_DOUBLES "_u10");
Doubles tanh(Doubles) __asm__("Sleef_tanh" RSAMPLE_DOUBLES "_u10");
Doubles erf(Doubles) __asm__("Sleef_erf" RSAMPLE_DOUBLES "_u10");
Doubles pow(Doubles, Doubles) __asm__("Sleef_pow" RSAMPLE_DOUBLES "_u10");

}  // namespace sleef

template <class T>
class Vector {
 public:
  using Lanes = std::conditional_t<sizeof(T) == 4, Floats, Doubles>;
  using Bits = decltype(Lanes{} < Lanes{});  // integers
  using Integer = std::remove_reference_t<decltype(Bits{}[0])>;
  using value_type = T;

  static constexpr int size() { return sizeof(Lanes) / sizeof(T); }

  Vector() : lanes{} {}
  Vector(T x) : lanes(x - Lanes{}) {}
  Vector(Lanes lanes) : lanes(lanes) {}
  explicit Vector(Bits bits) : lanes((Lanes)bits) {}
  operator Lanes() const { return lanes; }
  Bits bits() const { return (Bits)lanes; }

  static Vector loadu(const void* from) {
    Vector x;
    std::memcpy(&x.lanes, from, sizeof x.lanes);
    return x;
  }
  // The first `count` lanes; zeros behind them.
  static Vector loadu(const void* from, int64_t count) {
    return count < size() ? Vector(native::first<Lanes>(static_cast<const T*>(from), count)) : loadu(from);
  }
  void store(void* to) const { std::memcpy(to, &lanes, sizeof lanes); }
  void store(void* to, int64_t count) const {
    if (count >= size()) return store(to);
    T all[size()];
    store(all);
    std::memcpy(to, all, count * sizeof(T));
  }

  // a, or b where the mask has all bits.
  static Vector blendv(const Vector& a, const Vector& b, const Vector& mask) {
    return Vector(mask.bits() < 0 ? b.lanes : a.lanes);
  }
  // a behind the first `count` lanes, which are b's.
  static Vector set(const Vector& a, const Vector& b, int64_t count) {
    Bits number;
    for (int i = 0; i < size(); ++i) number[i] = i;
    return Vector(number < Bits{} + static_cast<Integer>(count) ? b.lanes : a.lanes);
  }

  Vector abs() const { return Vector(bits() & ~sign()); }
  Vector neg() const { return Vector(bits() ^ sign()); }
  Vector sqrt() const { return native::root(lanes); }
  Vector rsqrt() const { return T(1) / native::root(lanes); }
  Vector reciprocal() const { return T(1) / lanes; }
  Vector floor() const { return native::floor(lanes); }
  Vector copysign(const Vector& other) const { return Vector((bits() & ~sign()) | (other.bits() & sign())); }
  Vector sin() const { return sleef::sin(lanes); }
  Vector cos() const { return sleef::cos(lanes); }
  Vector tan() const { return sleef::tan(lanes); }
  Vector atan() const { return sleef::atan(lanes); }
  Vector exp() const { return sleef::exp(lanes); }
  Vector expm1() const { return sleef::expm1(lanes); }
  Vector log() const { return sleef::log(lanes); }
  Vector log1p() const { return sleef::log1p(lanes); }
  Vector tanh() const { return sleef::tanh(lanes); }
  Vector pow(const Vector& exponent) const { return sleef::pow(lanes, exponent.lanes); }
  Vector erf() const;

  friend Vector operator+(const Vector& a, const Vector& b) { return a.lanes + b.lanes; }
  friend Vector operator-(const Vector& a, const Vector& b) { return a.lanes - b.lanes; }
  friend Vector operator*(const Vector& a, const Vector& b) { return a.lanes * b.lanes; }
  friend Vector operator/(const Vector& a, const Vector& b) { return a.lanes / b.lanes; }
  friend Vector operator&(const Vector& a, const Vector& b) { return Vector(a.bits() & b.bits()); }
  friend Vector operator|(const Vector& a, const Vector& b) { return Vector(a.bits() | b.bits()); }
  friend Vector operator<(const Vector& a, const Vector& b) { return Vector(Bits(a.lanes < b.lanes)); }
  friend Vector operator<=(const Vector& a, const Vector& b) { return Vector(Bits(a.lanes <= b.lanes)); }
  friend Vector operator>(const Vector& a, const Vector& b) { return Vector(Bits(a.lanes > b.lanes)); }
  friend Vector operator>=(const Vector& a, const Vector& b) { return Vector(Bits(a.lanes >= b.lanes)); }
  friend Vector operator==(const Vector& a, const Vector& b) { return Vector(Bits(a.lanes == b.lanes)); }
  friend Vector operator!=(const Vector& a, const Vector& b) { return Vector(Bits(a.lanes != b.lanes)); }

 private:
  Lanes lanes;

  static Bits sign() { return (Bits)(T(-0.0) - Lanes{}); }
};

template <class T>
inline Vector<T> fmadd(const Vector<T>& a, const Vector<T>& b, const Vector<T>& c) {
  return native::fused(a, b, c);
}

// NaN where either is.
template <class T>
inline Vector<T> maximum(const Vector<T>& a, const Vector<T>& b) {
  typename Vector<T>::Lanes x = a, y = b;
  return Vector<T>((x > y ? x : y)) | (a != a) | (b != b);
}

template <class T>
inline Vector<T> minimum(const Vector<T>& a, const Vector<T>& b) {
  typename Vector<T>::Lanes x = a, y = b;
  return Vector<T>((x < y ? x : y)) | (a != a) | (b != b);
}

template <class T>
inline Vector<T> clamp(const Vector<T>& a, const Vector<T>& least, const Vector<T>& most) {
  typename Vector<T>::Lanes x = a, low = least, high = most;
  x = low > x ? low : x;
  return high < x ? high : x;
}

template <class T>
inline uint32_t lanes_of(const Vector<T>& mask) {
  return native::signs(mask);
}

// A function of each lane and the one that is STEP away. In a loop over steps gcc would make the order of lanes anew
// each time.
template <int STEP, class Function>
inline Floats with_lanes_away(const Function& function, Floats lanes) {
  return function(Vector<float>(lanes), Vector<float>(__builtin_shuffle(lanes, native::LANE ^ STEP)));
}

template <class T, class Function>
inline T reduced(const Function& function, const Vector<T>& x) {
  constexpr int SIZE = Vector<T>::size();
  typename Vector<T>::Lanes lanes = x;
  if constexpr (sizeof(T) == 4) {
    if constexpr (SIZE == 16) lanes = with_lanes_away<8>(function, lanes);
    lanes = with_lanes_away<4>(function, lanes);
    lanes = with_lanes_away<2>(function, lanes);
    return with_lanes_away<1>(function, lanes)[0];
  } else {
    T total = lanes[0];
    for (int i = 1; i < SIZE; ++i) {
      const typename Vector<T>::Lanes both = function(Vector<T>(total), Vector<T>(lanes[i]));
      total = both[0];
    }
    return total;
  }
}

template <>
inline Vector<double> Vector<double>::erf() const { return sleef::erf(lanes); }
// Abramowitz and Stegun, "Handbook of Mathematical Functions", 7.1.26.
template <>
inline Vector<float> Vector<float>::erf() const {
  const Vector size = abs(), t = Vector(1.0f) / fmadd(Vector(0.3275911f), size, Vector(1.0f));
  Vector r = fmadd(Vector(1.061405429f), t, Vector(-1.453152027f));
  r = fmadd(r, t, Vector(1.421413741f));
  r = fmadd(r, t, Vector(-0.284496736f));
  r = fmadd(r, t, Vector(0.254829592f));
  const Vector power = Vector(sleef::exp((*this * *this).neg().lanes)).neg();
  return Vector(fmadd(power * t, r, Vector(1.0f)).bits() ^ (bits() & sign()));
}

}  // namespace rsample

#endif
