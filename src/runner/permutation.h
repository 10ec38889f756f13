// The order in which samples are seen. Our own, so that it does not change with the libtorch
// release.
#pragma once

#include <cstdint>
#include <vector>

namespace cyxwiz::runner {

// A permutation of 0 .. size-1, a pure function of its arguments: the Fisher-Yates shuffle from the
// last place to the first, each swap partner drawn by Lemire's unbiased method from xoshiro256**
// whose state is filled by SplitMix64 from seed and stream. A job uses stream 0 for its validation
// split and stream e for epoch e (from 1), so epoch e's order is known without having run the
// epochs before it.
std::vector<int64_t> Permutation(int64_t size, uint64_t seed, uint64_t stream);

// A permutation of 0 .. size-1 that goes through them nearly in the order of files, for samples
// that are read from these: groups[k] is the first number of the k-th file, groups[0] is 0. The
// files come in a random order; each number in its turn takes a random place in a window of so
// many, and the one that was there comes out. Drawn as above, and so again a pure function of its
// arguments.
std::vector<int64_t> WindowPermutation(const std::vector<int64_t>& groups, int64_t size,
                                       int64_t window, uint64_t seed, uint64_t stream);

}  // namespace cyxwiz::runner
