#pragma once
// Cells of a grid by index (row * columns + column), and grids cut into connected regions.

#include <vector>

#include "shared/task/random.h"

namespace fulmen::task {

std::vector<int> edge_neighbours(int cell, int rows, int columns);

// Every cell that is -1 joins the region of a random neighbour, one after the other.
void grow_regions(Random& random, std::vector<int>& region, int n);

// A puzzle whose rule counts marked cells of each region has another solution: one cell marked there and not in `gold`
// moves into a neighbouring region, so that two counts of the other solution are wrong and gold's stay. Regions stay
// connected. False when no cell can move.
bool exclude_solution(Random& random, std::vector<int>& region, int n, const std::vector<bool>& gold,
                      const std::vector<bool>& other);

}  // namespace fulmen::task
