// A law that is a list of operations, each applied to a tile in the first-level cache before the next: small draws of all
// laws by one library. The bits are those of the loop that the same list is printed to, as an operation is the same
// expression in both and the build contracts nothing.
//
// interpreter.py puts elementwise.h before this, and behind it `operate`, which it prints from the table of elementary.py.

namespace rsample {

constexpr int MOST_VALUES = 4, MOST_CONSTANTS = 256, MOST_REGISTERS = 128;

enum Jump : int32_t { UNLESS_ANY = -1, UNLESS_NOT_ALL = -2 };

// An operation on tiles: what it writes, and what it reads, by the numbers of tiles. Or a jump, that leaves out `b` steps
// by the mask `a`: what they would write counts in no element then.
struct Step {
  int32_t operation, to, a, b, c, unused;
};

// As interpreter.py lays it out. Tiles are numbered: values of the noise, inputs, constants, registers.
struct Program {
  int64_t values, inputs, outputs, constants, registers, parameters_at, steps;
  int64_t noise, second;  // numbers of noises; the second -1 where there is one
  const void* constant_tiles;  // T each
  const Step* step;
  const int64_t* results;  // the tile of each output
};

template <class T, class Function>
inline void each(T* to, const T* a, const T* b, const T* c, int count, Function function) {
  using V = Vector<T>;
  for (int j = 0; j < count; j += V::size()) {
    function(V::loadu(a + j), V::loadu(b + j), V::loadu(c + j)).store(to + j);
  }
}

// Whether a mask holds, or does not hold, for one of some elements.
template <class T>
inline bool is_somewhere(const T* mask, bool holds, int count) {
  using V = Vector<T>;
  for (int j = 0; j < count; j += V::size()) {
    const V lanes = V::loadu(mask + j);
    if (holds ? vectors::any(lanes) : vectors::not_all(lanes)) return true;
  }
  return false;
}

template <class T>
void operate(int operation, T* to, const T* a, const T* b, const T* c, int count);

template <class T>
struct Interpreted {
  static constexpr int MOST_INPUTS = 12, MOST_OUTPUTS = 4;
  static constexpr int MOST_TILES = MOST_VALUES + MOST_INPUTS + MOST_CONSTANTS + MOST_REGISTERS;
  const Program& program;

  int inputs() const { return program.inputs; }
  int outputs() const { return program.outputs; }
  int parameters_at() const { return program.parameters_at; }

  __attribute__((noinline)) void tile(const T* noise, const T* const* in, T* const* out, int count) const {
    alignas(64) T registers[MOST_REGISTERS][TILE<T>];
    const T* tiles[MOST_TILES];
    int number = 0;
    for (int i = 0; i < program.values; ++i) tiles[number++] = noise + i * TILE<T>;
    for (int i = 0; i < program.inputs; ++i) tiles[number++] = in[i];
    for (int i = 0; i < program.constants; ++i) {
      tiles[number++] = static_cast<const T*>(program.constant_tiles) + i * TILE<T>;
    }
    for (int i = 0; i < program.registers; ++i) tiles[number + i] = registers[i];
    for (const Step* s = program.step; s < program.step + program.steps; ++s) {
      if (s->operation < 0) {
        if (!is_somewhere(tiles[s->a], s->operation == UNLESS_ANY, count)) s += s->b;
        continue;
      }
      operate<T>(s->operation, registers[s->to], tiles[s->a], tiles[s->b], tiles[s->c], count);
    }
    for (int k = 0; k < program.outputs; ++k) copy_n(tiles[program.results[k]], count, out[k]);
  }
};

// Noise whose function is known at run time, and such noise that loops.
template <class T>
struct AnyNoise {
  static constexpr int NOISES = 2;
  void (*fill)(const uint32_t* words, int bits, T* noise);
  void (*fill_second)(const uint32_t* words, int bits, T* noise) = nullptr;
  bool has_second() const { return fill_second; }
};

template <class T>
struct AnyLoopNoise {
  static constexpr int VALUES = MOST_VALUES;
  void (*fill)(uint64_t seed, const uint64_t* blocks, const T* const* parameters, int n, T* noise);
};

}  // namespace rsample
