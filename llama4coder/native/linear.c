/* Products with weights of any format. */
#include "linear.h"

/* out = x @ weight^T (+ bias) (+ residual). k is even for BFLOAT16, a multiple of 32 for INT4. */
void l4c_linear(const linear_args *a) {
    if (a->w->format == BFLOAT16) parallel_for(multiply_bfloat16, a, num_panels(a->w), 1);
    else linear_quantised(a);
}
