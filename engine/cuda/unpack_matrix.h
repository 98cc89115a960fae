// Packed weights back to plain rows.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "engine/cuda/launch_queue.h"
#include "engine/cuda/packed_matrix.h"

namespace kvpareto::cuda {

// Panels [first_panel, first_panel + panels) as bf16 rows of blocks * 64 columns; rows past the
// matrix are zero.
void LaunchUnpackPanels(const PackedMatrix& w, int first_panel, int panels, uint16_t* to,
                        LaunchQueue& queue);

// y row i = row ids[i] - first_row of the matrix, for the ids that are in it. y [num_ids, w.cols].
void LaunchEmbed(const PackedMatrix& w, const int32_t* ids, int num_ids, int first_row, float* y,
                 LaunchQueue& queue);

// x [rows, cols] as bf16 rows of `padded` columns, zero past cols.
void LaunchPadBf16(const float* x, int rows, int cols, int padded, uint16_t* to,
                   LaunchQueue& queue);

}  // namespace kvpareto::cuda
