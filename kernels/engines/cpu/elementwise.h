// Elementwise draws on the CPU: one loop for every formula, forward and backward.
//
// elementwise.py puts elementary.h and noise.h before this and the formula, made of its torch code, behind it, and
// compiles the whole for one distribution and one compute dtype T. Only parameters and results touch memory. Or
// interpreter.h follows: a formula that is a list of operations, of a noise that is known at run time.

namespace rsample {

// ------------------------------------------------------------------------------------------------------------ loop

// What becomes of an output: written for every element, summed over all of them, or not wanted.
enum Mode : int64_t { DENSE = 0, SUM = 1, UNUSED = 2 };

template <class T>
struct Input {
  const T* data;
  int64_t dense;  // one element for each of the draw's, or one for all
};

struct Output {
  void* data;  // T for each element (DENSE), one double (SUM), or null (UNUSED)
  int64_t mode;
};

// Where the blocks of a draw stand that is part of a larger sample: their numbers less the first are those of a walk
// over `rank` dimensions, outermost first, of which the last has stride 1.
struct Window {
  int64_t rank;
  const int64_t* sizes;
  const int64_t* strides;

  // The numbers of blocks block .. block + count of the draw.
  void number(uint64_t offset, int64_t block, int64_t count, uint64_t* numbers) const {
    for (int64_t done = 0; done < count;) {
      int64_t outer = (block + done) / sizes[rank - 1], at = (block + done) % sizes[rank - 1];
      const int64_t run = min(count - done, sizes[rank - 1] - at);
      for (int64_t d = rank - 2; d >= 0; outer /= sizes[d--]) at += outer % sizes[d] * strides[d];
      for (int64_t i = 0; i < run; ++i) numbers[done + i] = offset + static_cast<uint64_t>(at + i);
      done += run;
    }
  }
};

// Elements that a function that cpp_code.py has printed takes at a time.
template <class Function, class T>
constexpr int STEP = Function::VECTORS * Vector<T>::size();

// Applies it to the first `count` elements of tiles, and to those beyond that are taken with them.
template <class Function, class T>
inline void each_step(int count, const T* noise, const T* const* in, T* const* out) {
  static_assert(TILE<T> % STEP<Function, T> == 0);
  for (int j = 0; j < count; j += STEP<Function, T>) {
    Function::template apply<Vector<T>>(noise, in, out, j);
  }
}

// Such a function as a formula.
template <int PARAMETERS_AT, class Function>
struct Printed {
  static constexpr int MOST_INPUTS = Function::INPUTS, MOST_OUTPUTS = Function::OUTPUTS;
  static constexpr int inputs() { return Function::INPUTS; }
  static constexpr int outputs() { return Function::OUTPUTS; }
  static constexpr int parameters_at() { return PARAMETERS_AT; }

  // The outputs of the first `count` elements of a tile.
  template <class T>
  void tile(const T* noise, const T* const* in, T* const* out, int count) const {
    each_step<Function>(count, noise, in, out);
  }
};

// One whose elements take one of several functions: of the results of `Before` the first says which.
template <int PARAMETERS_AT, class Before, class After, class... Cases>
struct Chosen {
  static constexpr int MOST_INPUTS = Before::INPUTS, MOST_OUTPUTS = After::OUTPUTS;
  static constexpr int inputs() { return Before::INPUTS; }
  static constexpr int outputs() { return After::OUTPUTS; }
  static constexpr int parameters_at() { return PARAMETERS_AT; }

  template <class T>
  void tile(const T* noise, const T* const* in, T* const* out, int count) const {
    constexpr int CASES = sizeof...(Cases), RESULTS = (Cases::OUTPUTS + ...) / CASES;  // all have as many
    alignas(64) T kept[Before::OUTPUTS][TILE<T>], results[RESULTS][TILE<T>];
    T* keeps[Before::OUTPUTS];
    for (int i = 0; i < Before::OUTPUTS; ++i) keeps[i] = kept[i];
    each_step<Before>(count, noise, in, keeps);

    int elements[CASES][TILE<T>], counts[CASES] = {}, number = 0;
    for (int i = 0; i < count; ++i) {
      const int own = static_cast<int>(kept[0][i]);
      elements[own][counts[own]++] = i;
    }
    ((apply<Cases, T>(kept, elements[number], counts[number], results), ++number), ...);

    const T* reads[After::INPUTS];
    for (int i = 0; i < After::INPUTS; ++i) reads[i] = i < RESULTS ? results[i] : kept[After::reads(i - RESULTS)];
    each_step<After>(count, noise, reads, out);
  }

 private:
  // One function, of the elements that are its own.
  template <class Case, class T, class Kept, class Results>
  static void apply(const Kept& kept, const int* elements, int count, Results& results) {
    alignas(64) T inputs[Case::INPUTS][TILE<T>], outputs[Case::OUTPUTS][TILE<T>];
    const T* in[Case::INPUTS];
    T* out[Case::OUTPUTS];
    for (int k = 0; k < Case::INPUTS; ++k) {
      in[k] = inputs[k];
      const T* given = kept[Case::reads(k)];
      for (int i = 0; i < count; ++i) inputs[k][i] = given[elements[i]];
      for (int i = count; i % STEP<Case, T>; ++i) inputs[k][i] = inputs[k][0];
    }
    for (int k = 0; k < Case::OUTPUTS; ++k) out[k] = outputs[k];
    each_step<Case>(count, static_cast<const T*>(nullptr), in, out);
    for (int k = 0; k < Case::OUTPUTS; ++k) {
      for (int i = 0; i < count; ++i) results[k][elements[i]] = outputs[k][i];
    }
  }
};

// Runs `formula` over elements first .. first + n of a draw; inputs and outputs begin at element `first`. `window` is
// the number of its dimensions, their sizes and their strides, or null where the draw is a whole sample. Not inlined, as
// the interpreter's functions share it.
//
// Work is cut by element number only, and sums add up in that order, so the threads' number changes no bit.
template <class T, class Noise, class Formula>
__attribute__((noinline)) void run(const Formula& formula, const Noise& source, const Input<T>* inputs,
                                   const Output* outputs, int64_t first, int64_t n, uint64_t seed, uint64_t offset,
                                   int bits, const int64_t* window) {
  using V = Vector<T>;
  constexpr int SIZE = TILE<T>;
  const int INPUTS = formula.inputs(), OUTPUTS = formula.outputs();
  constexpr int NUMBERS = values_of<Noise>() * TILE<T>;  // of noise in a tile
  constexpr int PER_BLOCK = Looping<Noise> ? 1 : 16 / sizeof(T);
  constexpr int BLOCKS = SIZE / PER_BLOCK;  // in a tile
  const int64_t first_block = first / PER_BLOCK;
  const int64_t lead = first % PER_BLOCK;  // elements of the first block that belong to whoever came before
  const int64_t tiles = (lead + n + SIZE - 1) / SIZE, groups = (tiles + GROUP_TILES - 1) / GROUP_TILES;
  Array<double> partial_sums[Formula::MOST_OUTPUTS];
  for (int k = 0; k < OUTPUTS; ++k) {
    if (outputs[k].mode == SUM) partial_sums[k] = Array<double>(groups);
  }

  constexpr int64_t LEAST = Looping<Noise> ? GRAIN_OF_LOOPS : GRAIN;
  parallel_for(0, groups, units(LEAST, GROUP_TILES * SIZE), [&](int64_t group_begin, int64_t group_end) {
    alignas(64) uint64_t blocks[BLOCKS];
    alignas(64) uint32_t words[TILE_WORDS];
    alignas(64) T noise[NUMBERS] = {}, input_tiles[Formula::MOST_INPUTS + 1][SIZE];
    alignas(64) T output_tiles[Formula::MOST_OUTPUTS][SIZE];
    for (int i = 0; i < INPUTS; ++i) {
      if (!inputs[i].dense) fill_n(input_tiles[i], SIZE, *inputs[i].data);
    }
    for (int64_t group = group_begin; group < group_end; ++group) {
      V sums[Formula::MOST_OUTPUTS];
      for (int k = 0; k < OUTPUTS; ++k) sums[k] = V(T(0));
      for (int64_t tile = group * GROUP_TILES; tile < min((group + 1) * GROUP_TILES, tiles); ++tile) {
        // Elements begin .. end of this tile are ours; in memory they start at `at`.
        const int64_t begin = max<int64_t>(lead - tile * SIZE, 0);
        const int64_t end = min<int64_t>(lead + n - tile * SIZE, SIZE);
        const int64_t at = tile * SIZE + begin - lead;
        const bool whole = end - begin == SIZE;
        const T* in[Formula::MOST_INPUTS + 1];
        T* out[Formula::MOST_OUTPUTS];
        for (int i = 0; i < INPUTS; ++i) {
          in[i] = inputs[i].dense && whole ? inputs[i].data + at : input_tiles[i];
          if (inputs[i].dense && !whole) {
            fill_n(input_tiles[i], SIZE, T(1));
            copy_n(inputs[i].data + at, end - begin, input_tiles[i] + begin);
          }
        }
        for (int k = 0; k < OUTPUTS; ++k) {
          out[k] = outputs[k].mode == DENSE && whole ? static_cast<T*>(outputs[k].data) + at : output_tiles[k];
        }

        const int64_t block = first_block + tile * BLOCKS;
        if (window) {
          Window{window[0], window + 1, window + 1 + window[0]}.number(offset, block, BLOCKS, blocks);
        } else if constexpr (Looping<Noise>) {
          for (int i = 0; i < BLOCKS; ++i) blocks[i] = offset + static_cast<uint64_t>(block + i);
        }
        if constexpr (Looping<Noise>) {
          source.fill(seed, blocks, in + formula.parameters_at(), static_cast<int>(end), noise);
        } else {
          const auto make_words = [&](uint32_t stream) {
            if (window) {
              philox4x32_10(seed, blocks, 0, stream, words);
            } else {
              philox4x32_10(seed, offset + static_cast<uint64_t>(block), words, stream);
            }
          };
          make_words(0);
          source.fill(words, bits, noise);
          if constexpr (values_of<Noise>() == 2) {
            if (source.has_second()) {
              make_words(1);
              source.fill_second(words, bits, noise + SIZE);
            }
          }
        }
        formula.tile(noise, in, out, static_cast<int>(end));

        for (int k = 0; k < OUTPUTS; ++k) {
          if (outputs[k].mode == DENSE && !whole) {
            copy_n(output_tiles[k] + begin, end - begin, static_cast<T*>(outputs[k].data) + at);
          } else if (outputs[k].mode == SUM) {
            fill_n(output_tiles[k], begin, T(0));
            fill(output_tiles[k] + end, output_tiles[k] + SIZE, T(0));
            for (int j = 0; j < SIZE; j += V::size()) sums[k] = sums[k] + V::loadu(output_tiles[k] + j);
          }
        }
      }
      for (int k = 0; k < OUTPUTS; ++k) {
        if (outputs[k].mode == SUM) {
          T lanes[V::size()];
          sums[k].store(lanes);
          for (T lane : lanes) partial_sums[k][group] += lane;
        }
      }
    }
  });

  for (int k = 0; k < OUTPUTS; ++k) {
    if (outputs[k].mode != SUM) continue;
    double total = 0;
    for (double sum : partial_sums[k]) total += sum;
    *static_cast<double*>(outputs[k].data) = total;
  }
}

// `run` with its arguments in one array of 8-byte numbers: seed, offset, bits, first, n, how many numbers a window has,
// and then inputs, outputs and window.
template <class T, class Formula, class Noise>
void called(const Formula& formula, const Noise& source, const int64_t* call) {
  const auto* inputs = reinterpret_cast<const Input<T>*>(call + 6);
  const auto* outputs = reinterpret_cast<const Output*>(inputs + formula.inputs());
  const auto* window = reinterpret_cast<const int64_t*>(outputs + formula.outputs());
  run<T>(formula, source, inputs, outputs, call[3], call[4], static_cast<uint64_t>(call[0]),
         static_cast<uint64_t>(call[1]), static_cast<int>(call[2]), call[5] ? window : nullptr);
}

}  // namespace rsample
