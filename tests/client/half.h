/* IEEE half precision, from and to float. */
#ifndef CLIENT_HALF_H
#define CLIENT_HALF_H

#include <math.h>
#include <stdint.h>

static inline float half_to_float(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const float magnitude = exponent == 31 ? (fraction != 0 ? NAN : INFINITY) : exponent == 0 ? ldexpf((float)fraction, -24) : ldexpf((float)(fraction + 1024), exponent - 25);
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

/* Rounds to nearest even; finite values in the range of half only. */
static inline uint16_t float_to_half(float value) {
  const uint16_t sign = signbit(value) ? 0x8000 : 0;
  const float magnitude = fabsf(value);
  if (magnitude < ldexpf(1.0f, -14)) return (uint16_t)(sign | (uint16_t)nearbyintf(ldexpf(magnitude, 24)));
  int exponent = 0;
  const float mantissa = frexpf(magnitude, &exponent); /* 0.5 ... 1 */
  const uint32_t fraction = (uint32_t)nearbyintf(ldexpf(mantissa, 11)); /* 1024 ... 2048, which carries into the exponent */
  return (uint16_t)(sign | (uint16_t)((uint32_t)(exponent + 13) * 1024 + fraction));
}

#endif
