/** Matrix-vector products with weights of 1 to 4 bits, and the repaired 8-bit linear: `import { kernels } from 'lutra'`. docs/kernels.md explains them. */
export { type Format, isFormat } from './format.js';
export { type Choice, type Kernel, list } from './list.js';
export { type PackOptions, pack } from './pack.js';
export { dequantize, type GemvOptions, gemv } from './product.js';
export { type ShadowLinear, type ShadowOptions, type ShadowRange, type ShadowResult, shadowLinear } from './shadow.js';
export { Weight } from './weight.js';
