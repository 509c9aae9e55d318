#ifndef NTK_SYSROOT_MATH_H
#define NTK_SYSROOT_MATH_H

#define HUGE_VAL __builtin_huge_val()
#define HUGE_VALF __builtin_huge_valf()
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define M_PI 3.14159265358979323846
#define M_SQRT1_2 0.70710678118654752440
#define fpclassify(x) __builtin_fpclassify(0, 1, 4, 3, 2, x)
#define isfinite(x) __builtin_isfinite(x)
#define isinf(x) __builtin_isinf(x)
#define isnan(x) __builtin_isnan(x)
#define signbit(x) __builtin_signbit(x)

double acos(double x);
float acosf(float x);
double asin(double x);
float asinf(float x);
double atan(double x);
double atan2(double x, double y);
float atan2f(float x, float y);
float atanf(float x);
double cbrt(double x);
double ceil(double x);
float ceilf(float x);
double copysign(double x, double y);
float copysignf(float x, float y);
double cos(double x);
float cosf(float x);
double cosh(double x);
float coshf(float x);
double erf(double x);
float erff(float x);
double exp(double x);
double exp2(double x);
float exp2f(float x);
float expf(float x);
double expm1(double x);
float expm1f(float x);
double fabs(double x);
float fabsf(float x);
double floor(double x);
float floorf(float x);
double fma(double x, double y, double z);
float fmaf(float x, float y, float z);
double fmax(double x, double y);
float fmaxf(float x, float y);
double fmin(double x, double y);
float fminf(float x, float y);
double fmod(double x, double y);
float fmodf(float x, float y);
double frexp(double x, int *exponent);
float frexpf(float x, int *exponent);
double hypot(double x, double y);
double ldexp(double x, int exponent);
float ldexpf(float x, int exponent);
long long llround(double x);
long long llroundf(float x);
double log(double x);
double log10(double x);
float log10f(float x);
double log1p(double x);
float log1pf(float x);
double log2(double x);
float log2f(float x);
float logf(float x);
long lrint(double x);
long lrintf(float x);
long lround(double x);
long lroundf(float x);
double modf(double x, double *whole);
float modff(float x, float *whole);
double nearbyint(double x);
float nearbyintf(float x);
double pow(double x, double y);
float powf(float x, float y);
double rint(double x);
float rintf(float x);
double round(double x);
float roundf(float x);
double scalbn(double x, int exponent);
float scalbnf(float x, int exponent);
double sin(double x);
float sinf(float x);
double sinh(double x);
float sinhf(float x);
double sqrt(double x);
float sqrtf(float x);
double tan(double x);
float tanf(float x);
double tanh(double x);
float tanhf(float x);
double trunc(double x);
float truncf(float x);

#endif
