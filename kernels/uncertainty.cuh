// Twin of src/kernels/uncertainty.rs: what is told of a pixel by its logits. Numbers lie in memory that the thread owns.
#pragma once
#include "elementary.cuh"

// Code of a pixel with a logit that is not finite.
constexpr u8 NOT_FINITE = 255;

struct Told {
    bool finite;
    int at;
    // Of that class: its logit, and what is told.
    float most, confidence, margin, entropy, mutual;
};

DEVICE bool is_finite(float v) { return (bits_of(v) & 0x7f800000u) != 0x7f800000u; }
DEVICE float inside_one(float v) { return v < 0.0f ? 0.0f : 1.0f < v ? 1.0f : v; }

// The first class of the greatest logit.
DEVICE Told class_of(const float *l, int classes) {
    Told t = {true, 0, l[0], 0.0f, 0.0f, 0.0f, 0.0f};
    for (int k = 0; k < classes; k++) {
        const float v = l[k];
        t.finite = t.finite && is_finite(v);
        if (t.most < v) {
            t.at = k;
            t.most = v;
        }
    }
    return t;
}

DEVICE Told pixel_of(const float *l, int classes) {
    Told t = class_of(l, classes);
    if (!t.finite) return t;
    float s = 0.0f, weighted = 0.0f, second = 0.0f;
    for (int k = 0; k < classes; k++) {
        const float d = l[k] - t.most, e = exp_f32(d);
        s = s + e;
        weighted = weighted + (e > 0.0f ? e * d : 0.0f);
        second = k != t.at && e > second ? e : second;
    }
    t.confidence = 1.0f / s;
    t.margin = (1.0f - second) / s;
    t.entropy = inside_one(classes > 1 ? (ln_f32(s) - weighted / s) / ln_f32(float(classes)) : 0.0f);
    return t;
}

// Of passes one behind the other; the mean p of each class takes the place of the first pass' logits.
DEVICE Told pixel_of_passes(float *l, int classes, int passes) {
    float within = 0.0f;
    for (int pass = 0; pass < passes; pass++) {
        const float *of = l + pass * classes;
        const Told t = pixel_of(of, classes);
        if (!t.finite) return t;
        within = within + t.entropy;
        for (int k = 0; k < classes; k++) {
            const float p = exp_f32(of[k] - t.most) * t.confidence;
            l[k] = (pass ? l[k] : 0.0f) + p;
        }
    }
    const float n = float(passes);
    for (int k = 0; k < classes; k++) l[k] = l[k] / n;
    Told t = {true, 0, l[0], 0.0f, 0.0f, 0.0f, 0.0f};
    float second = 0.0f, sum = 0.0f;
    for (int k = 1; k < classes; k++) {
        const float p = l[k];
        if (t.most < p) {
            second = t.most;
            t.most = p;
            t.at = k;
        } else {
            second = second < p ? p : second;
        }
    }
    for (int k = 0; k < classes; k++) sum = sum + (l[k] > 0.0f ? l[k] * ln_f32(l[k]) : 0.0f);
    t.entropy = classes > 1 ? inside_one(-sum / ln_f32(float(classes))) : 0.0f;
    t.confidence = t.most;
    t.margin = t.most - second;
    t.mutual = inside_one(t.entropy - within / n);
    return t;
}

// Map 0 is the class, then confidence, margin, entropy, mutual.
DEVICE u8 code_of(const Told &t, int map) {
    if (map == 0) return u8(t.finite ? t.at : NOT_FINITE);
    const float v = map == 1 ? t.confidence : map == 2 ? t.margin : map == 3 ? t.entropy : t.mutual;
    return u8(int(255.0f * v + 0.5f));
}
